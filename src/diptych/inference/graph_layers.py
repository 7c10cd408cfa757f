"""Layers as nodes of an ONNX graph, in mode eval: one row of LAYERS for each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
from torch import nn

from diptych.errors import ConfigError
from diptych.inference.graph_nodes import Nodes
from diptych.nets.fixed_norm import FixedNorm
from diptych.nets.resnet import ResidualBlock

Form = Callable[..., str]
"""Adds the nodes of a module: from the graph, the module and the name of its input to the name of its output."""


def layer(add: Nodes, module: nn.Module, x: str) -> str:
    """Add a layer. Raises ConfigError where it has no row in LAYERS."""
    return form_of(LAYERS, module)(add, module, x)


def chain(add: Nodes, layers: Iterable[nn.Module], x: str) -> str:
    """Add layers in a row."""
    for each in layers:
        x = layer(add, each, x)
    return x


def form_of(table: Mapping[type[nn.Module], Form], module: nn.Module) -> Form:
    """The row of a module, or of what its class is derived from. Raises ConfigError, naming those that there are."""
    row = next((table[kind] for kind in type(module).__mro__ if kind in table), None)
    if row is None:
        known = ", ".join(kind.__name__ for kind in table)
        advice = "export to torchscript, or translate with --backend torch"
        raise ConfigError(f"{type(module).__name__} has no ONNX form here, known are {known}; {advice}")
    return row


def _conv(add: Nodes, conv: nn.Conv2d | nn.ConvTranspose2d, x: str, operator: str = "Conv", **more: Any) -> str:
    bias = [] if conv.bias is None else [add.constant(conv.bias)]
    pads = [*conv.padding, *conv.padding]
    shape: dict[str, Any] = {"kernel_shape": conv.kernel_size, "strides": conv.stride, "dilations": conv.dilation, "pads": pads}
    return add(operator, x, add.constant(conv.weight), *bias, group=conv.groups, **shape, **more)


def _transposed(add: Nodes, conv: nn.ConvTranspose2d, x: str) -> str:
    return _conv(add, conv, x, "ConvTranspose", output_padding=conv.output_padding)


def _batch_norm(add: Nodes, norm: nn.BatchNorm2d | FixedNorm, x: str) -> str:
    numbers = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    return add("BatchNormalization", x, *map(add.constant, numbers), epsilon=norm.eps)


def _instance_norm(add: Nodes, norm: nn.InstanceNorm2d, x: str) -> str:
    scale, shift = (norm.weight, norm.bias) if norm.affine else (np.ones(norm.num_features), np.zeros(norm.num_features))
    return add("InstanceNormalization", x, add.constant(scale, np.float32), add.constant(shift, np.float32), epsilon=norm.eps)


def _padded(add: Nodes, pad: nn.ReflectionPad2d | nn.ReplicationPad2d, x: str) -> str:
    left, right, top, bottom = pad.padding
    mode = "reflect" if isinstance(pad, nn.ReflectionPad2d) else "edge"
    return add("Pad", x, add.constant([0, 0, top, left, 0, 0, bottom, right]), mode=mode)


def _upsample(add: Nodes, upsample: nn.Upsample, x: str) -> str:
    scale, how = float(cast(float, upsample.scale_factor)), UPSAMPLE[upsample.mode]
    return add("Resize", x, "", add.constant([1, 1, scale, scale], np.float32), **how)


def _linear(add: Nodes, linear: nn.Linear, x: str) -> str:
    y = add("MatMul", x, add.constant(linear.weight.T))
    return y if linear.bias is None else add("Add", y, add.constant(linear.bias))


def _layer_norm(add: Nodes, norm: nn.LayerNorm, x: str) -> str:
    return add("LayerNormalization", x, add.constant(norm.weight), add.constant(norm.bias), axis=-1, epsilon=norm.eps)


def _gelu(add: Nodes, gelu: nn.GELU, x: str) -> str:
    """x / 2 (1 + erf(x / sqrt 2)), which has a node of its own from opset 20 on."""
    erf = add("Erf", add("Mul", x, add.constant(0.5**0.5, np.float32)))
    return add("Mul", add("Mul", x, add.constant(0.5, np.float32)), add("Add", erf, add.constant(1.0, np.float32)))


def _mean(add: Nodes, pool: nn.AvgPool2d, x: str) -> str:
    return add("AveragePool", x, kernel_shape=[pool.kernel_size] * 2, strides=[pool.stride] * 2)


UPSAMPLE = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
}
LAYERS: dict[type[nn.Module], Form] = {
    nn.Sequential: chain,
    ResidualBlock: lambda add, block, x: add("Add", x, layer(add, block.layers, x)),
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _transposed,
    nn.BatchNorm2d: _batch_norm,
    FixedNorm: _batch_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.ReflectionPad2d: _padded,
    nn.ReplicationPad2d: _padded,
    nn.Upsample: _upsample,
    nn.AvgPool2d: _mean,
    nn.PixelShuffle: lambda add, shuffle, x: add("DepthToSpace", x, blocksize=shuffle.upscale_factor, mode="CRD"),
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.ReLU: lambda add, relu, x: add("Relu", x),
    nn.GELU: _gelu,
    nn.LeakyReLU: lambda add, relu, x: add("LeakyRelu", x, alpha=relu.negative_slope),
    nn.Identity: lambda add, identity, x: x,
    nn.Dropout: lambda add, dropout, x: x,  # eval mode
}

"""Write a generator as an ONNX graph that takes and gives native pixels of any batch, height and width.

The graph is written layer by layer and not traced by torch.onnx, for three reasons. Padding any size to the network's multiple
can be part of the graph. Equal snapshots give equal bytes. And it takes milliseconds where the exporter takes ten seconds, so
that the same graph serves `diptych export` and, in memory, the faster backends of `diptych translate`. Whenever a graph is
exported, and in the tests for every generator, what it computes is compared with the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.inference.flat import first_norm
from diptych.nets import ActivatedUNet, ResNet, StegoResNet, UNet
from diptych.nets.blocks import margins, padding_of
from diptych.nets.fixed_norm import FixedNorm
from diptych.nets.resnet import ResidualBlock
from diptych.pixels import Domain

OPSET, IR_VERSION = 17, 8  # are of 2022, so that runtimes of the last years read the file
ONNX_TYPES = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "int16": TensorProto.INT16, "float32": TensorProto.FLOAT}
INPUT, FLOATS, OUTPUT = "pixels", "translated", "translated_pixels"  # FLOATS are in [-1, 1], before they become pixels


class Nodes:
    """The nodes and constants of a graph so far. A call adds a node and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node that has one output, of a chosen or a numbered name."""
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        """Add constant numbers: int64 for shapes and indices, float32 for weights. Returns their name."""
        array = value.detach().cpu().float().numpy() if isinstance(value, Tensor) else np.asarray(value, dtype)
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), f"constant_{len(self.constants)}"))
        return self.constants[-1].name


class Number:
    """Integers (int64) inside a graph. Python's arithmetic on them adds nodes, so that rules for ints hold there too."""

    def __init__(self, add: Nodes, name: str) -> None:
        self.add, self.name = add, name

    def _with(self, operator: str, other: Number | int) -> Number:
        name = other.name if isinstance(other, Number) else self.add.constant(other)
        return Number(self.add, self.add(operator, self.name, name))

    def __add__(self, other: Number | int) -> Number:
        return self._with("Add", other)

    def __sub__(self, other: Number | int) -> Number:
        return self._with("Sub", other)

    def __mul__(self, other: Number | int) -> Number:
        return self._with("Mul", other)

    def __floordiv__(self, other: int) -> Number:
        return self._with("Div", other)  # truncates, which is the same for numbers that are not negative

    def __lt__(self, other: Number) -> Number:
        return self._with("Less", other)

    def __abs__(self) -> Number:
        return Number(self.add, self.add("Abs", self.name))

    def clipped(self, low: int, high: Number) -> Number:
        """The nearest numbers from low to high."""
        return self._with("Max", low)._with("Min", high)


def onnx_graph(net: nn.Module, source: Domain, target: Domain, facts: dict[str, str] | None = None) -> onnx.ModelProto:
    """Write a generator in mode eval as one self-contained model, with ``facts`` as its metadata.

    Its input ``pixels`` (n, c, h, w) has the source's pixel type, its output ``translated_pixels`` the target's. Raises
    ConfigError for a network or a layer that has no row in the tables below.
    """
    add = Nodes()
    shape = add("Shape", INPUT)
    sides = [_Side(Number(add, add("Gather", shape, add.constant(axis))), *padding_of(net)) for axis in (2, 3)]
    x = _encode(add, source)
    mirrored = add("And", *(side.can_mirror.name for side in sides))
    for axis, side in enumerate(sides, 2):
        x = add("Gather", x, add("Where", mirrored, side.mirrored.name, side.replicated.name), axis=axis)
    x = add("Tanh", _row(NETWORKS, net)(add, net, x))
    starts, ends = (
        add("Concat", *(add("Unsqueeze", end.name, add.constant([0])) for end in ends), axis=0)
        for ends in ([side.start for side in sides], [side.end for side in sides])
    )
    add("Slice", x, starts, ends, add.constant([2, 3]), name=FLOATS)
    _decode(add, target)
    graph = helper.make_graph(
        add.nodes,
        "diptych",
        [helper.make_tensor_value_info(INPUT, ONNX_TYPES[source.dtype], ["n", source.bands, "h", "w"])],
        [helper.make_tensor_value_info(OUTPUT, ONNX_TYPES[target.dtype], ["n", target.bands, "h", "w"])],
        add.constants,
    )
    model = helper.make_model(graph, producer_name="diptych", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    helper.set_model_props(model, facts or {})
    return model


def with_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model and give it a second output: the floats in [-1, 1] before they are rounded to pixels."""
    model, shape = onnx.ModelProto.FromString(model.SerializeToString()), ["n", None, "h", "w"]
    model.graph.output.append(helper.make_tensor_value_info(FLOATS, TensorProto.FLOAT, shape))
    return model


class _Side:
    """Height or width: where the image begins and ends in the padded one, and from where each row (or column) of it comes."""

    def __init__(self, size: Number, multiple: int, smallest: int) -> None:
        add = size.add
        self.start, after = cast(tuple[Number, Number], margins(cast(int, size), multiple, smallest))
        self.end = self.start + size
        self.can_mirror = after < size
        padded, last = self.end + after, size - 1
        rows = Number(add, add("Range", add.constant(0), padded.name, add.constant(1))) - self.start
        self.mirrored = last - abs(last - abs(rows))
        self.replicated = rows.clipped(0, last)


def _encode(add: Nodes, domain: Domain) -> str:
    """Add what Domain.encode computes."""
    x = add("Cast", INPUT, to=TensorProto.FLOAT)
    if domain.classes:
        return _one_hot(add, x, domain)
    if domain.masked:
        x = add("Where", add("IsNaN", x), add.constant(domain.low, np.float32), x)
    numbers = (domain.low, domain.high - domain.low, 0.5, 0.5)
    for operator, number in zip(("Sub", "Div", "Sub", "Div"), numbers, strict=True):
        x = add(operator, x, add.constant(number, np.float32))
    return add("Clip", x, add.constant(-1.0, np.float32), add.constant(1.0, np.float32)) if domain.clips else x


def _one_hot(add: Nodes, x: str, domain: Domain) -> str:
    """Add one channel a class: 1 for the class whose value is nearest and -1 for all others."""
    values = np.asarray(domain.classes, np.float32).T[:, None, :, None, None]  # by band, (1, k, 1, 1)
    apart = ""
    for band, of_classes in enumerate(values):
        one = add("Slice", x, *(add.constant([number]) for number in (band, band + 1, 1)))
        offset = add("Sub", one, add.constant(of_classes, np.float32))
        square = add("Mul", offset, offset)
        apart = add("Add", apart, square) if apart else square
    best = add("ArgMin", apart, axis=1, keepdims=0)
    return add("OneHot", best, add.constant(len(domain.classes)), add.constant([-1.0, 1.0], np.float32), axis=1)


def _decode(add: Nodes, domain: Domain) -> None:
    """Add what Domain.decode computes."""
    if domain.classes:  # the value of the class whose channel is highest, (n, h, w, bands), with its bands in their place
        best = add("ArgMax", FLOATS, axis=1, keepdims=0)
        values = add("Gather", add.constant(domain.classes, np.float32), best)
        add("Cast", add("Transpose", values, perm=[0, 3, 1, 2]), name=OUTPUT, to=ONNX_TYPES[domain.dtype])
        return
    x = add("Clip", FLOATS, add.constant(-1.0, np.float32), add.constant(1.0, np.float32))
    for operator, number in zip(("Add", "Mul", "Add"), (1.0, (domain.high - domain.low) / 2.0, domain.low), strict=True):
        x = add(operator, x, add.constant(number, np.float32))
    x = x if domain.dtype == "float32" else add("Round", x)
    add("Cast", x, name=OUTPUT, to=ONNX_TYPES[domain.dtype])


def _resnet(add: Nodes, net: ResNet, x: str) -> str:
    stem = _layer(add, net.stem, x)
    if norm := first_norm(net):  # what keep_flat computes
        same = add("Equal", *(add(most, x, axes=[2, 3], keepdims=1) for most in ("ReduceMax", "ReduceMin")))
        flat = add("ReduceMin", add("Cast", same, to=TensorProto.INT32), axes=[1], keepdims=1)
        exact = add.constant(0.0, np.float32) if norm.bias is None else add.constant(norm.bias.relu()[:, None, None])
        stem = add("Where", add("Cast", flat, to=TensorProto.BOOL), exact, stem)
    return _chain(add, (net.down, net.blocks, net.up, net.head), stem)


def _stego(add: Nodes, net: StegoResNet, x: str) -> str:
    stages = net.net.stages()
    x = _chain(add, stages[: net.seam], x)
    if net.mask is not None:
        kept = add("Sub", add.constant(1.0, np.float32), add("Sigmoid", _layer(add, net.mask, x)))
        x = add("Mul", x, kept)
    return _chain(add, stages[net.seam :], x)


def _unet(add: Nodes, net: UNet, x: str) -> str:
    encoded = [x := _layer(add, down, x) for down in net.downs]
    encoded.pop()
    for up in net.ups:
        x, skip = _layer(add, up, x), encoded.pop()
        x = add("Concat", skip, x, axis=1) if net.skips else x
    return _layer(add, net.head, x)


def _activated_unet(add: Nodes, net: ActivatedUNet, x: str) -> str:
    encoded = [x := _layer(add, down, x) for down in net.downs]
    encoded.pop()
    for up in net.ups:
        x = add("Concat", _layer(add, up, x), encoded.pop(), axis=1)
    x = _layer(add, net.head, x)
    if net.resize_head:  # without its last row and column
        x = add("Slice", x, *(add.constant(numbers) for numbers in ([0, 0], [-1, -1], [2, 3])))
    return x


def _layer(add: Nodes, layer: nn.Module, x: str) -> str:
    return _row(LAYERS, layer)(add, layer, x)


def _chain(add: Nodes, layers: Iterable[nn.Module], x: str) -> str:
    for layer in layers:
        x = _layer(add, layer, x)
    return x


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


def _mean(add: Nodes, pool: nn.AvgPool2d, x: str) -> str:
    return add("AveragePool", x, kernel_shape=[pool.kernel_size] * 2, strides=[pool.stride] * 2)


def _row(table: dict[type[nn.Module], Callable[..., str]], module: nn.Module) -> Callable[..., str]:
    row = next((table[kind] for kind in type(module).__mro__ if kind in table), None)
    if row is None:
        known = ", ".join(kind.__name__ for kind in table)
        advice = "export to torchscript, or translate with --backend torch"
        raise ConfigError(f"{type(module).__name__} has no ONNX form here, known are {known}; {advice}")
    return row


UPSAMPLE = {
    "nearest": {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
}
NETWORKS: dict[type[nn.Module], Callable[..., str]] = {
    ResNet: _resnet,
    UNet: _unet,
    ActivatedUNet: _activated_unet,
    StegoResNet: _stego,
}
LAYERS: dict[type[nn.Module], Callable[..., str]] = {
    nn.Sequential: _chain,
    ResidualBlock: lambda add, block, x: add("Add", x, _layer(add, block.layers, x)),
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
    nn.ReLU: lambda add, relu, x: add("Relu", x),
    nn.LeakyReLU: lambda add, relu, x: add("LeakyRelu", x, alpha=relu.negative_slope),
    nn.Identity: lambda add, identity, x: x,
    nn.Dropout: lambda add, dropout, x: x,  # eval mode
}

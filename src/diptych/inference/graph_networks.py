"""Generators as ONNX graphs: one row of NETWORKS for each, from the padded image in [-1, 1] to its translation."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto
from torch import nn

from diptych.inference.flat import first_norm
from diptych.inference.graph_color import lightness, rgb
from diptych.inference.graph_layers import Form, chain, form_of, layer
from diptych.inference.graph_nodes import Nodes
from diptych.inference.graph_vit import vit_modnet
from diptych.nets import ActivatedUNet, GlobalGenerator, LocalEnhancer, ResNet, StegoResNet, UNet, VitModnet
from diptych.nets.colorizer import Colorizer


def network(add: Nodes, net: nn.Module, x: str) -> str:
    """Add a generator for images of a size that it needs not pad. Raises ConfigError where it has no row in NETWORKS."""
    return form_of(NETWORKS, net)(add, net, x)


def _resnet(add: Nodes, net: ResNet | GlobalGenerator, x: str) -> str:
    stem = layer(add, net.stem, x)
    if norm := first_norm(net):  # what keep_flat computes
        same = add("Equal", *(add(most, x, axes=[2, 3], keepdims=1) for most in ("ReduceMax", "ReduceMin")))
        flat = add("ReduceMin", add("Cast", same, to=TensorProto.INT32), axes=[1], keepdims=1)
        exact = add.constant(0.0, np.float32) if norm.bias is None else add.constant(norm.bias.relu()[:, None, None])
        stem = add("Where", add("Cast", flat, to=TensorProto.BOOL), exact, stem)
    return add("Tanh", chain(add, (net.down, net.blocks, net.up, net.head), stem))


def _stego(add: Nodes, net: StegoResNet, x: str) -> str:
    stages = net.net.stages()
    x = chain(add, stages[: net.seam], x)
    if net.mask is not None:
        kept = add("Sub", add.constant(1.0, np.float32), add("Sigmoid", layer(add, net.mask, x)))
        x = add("Mul", x, kept)
    return add("Tanh", chain(add, stages[net.seam :], x))


def _unet(add: Nodes, net: UNet, x: str) -> str:
    encoded = [x := layer(add, down, x) for down in net.downs]
    encoded.pop()
    for up in net.ups:
        x, skip = layer(add, up, x), encoded.pop()
        x = add("Concat", skip, x, axis=1) if net.skips else x
    return add("Tanh", layer(add, net.head, x))


def _activated_unet(add: Nodes, net: ActivatedUNet, x: str) -> str:
    encoded = [x := layer(add, down, x) for down in net.downs]
    encoded.pop()
    for up in net.ups:
        x = add("Concat", layer(add, up, x), encoded.pop(), axis=1)
    x = layer(add, net.head, x)
    if net.resize_head:  # without its last row and column
        x = add("Slice", x, *(add.constant(numbers) for numbers in ([0, 0], [-1, -1], [2, 3])))
    return add("Tanh", x)


def _enhancer(add: Nodes, net: LocalEnhancer, x: str) -> str:
    pyramid = [x]
    for _ in net.enhancers:  # diptych.nets.pix2pixhd.halved
        shape: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        pyramid.append(add("AveragePool", pyramid[-1], count_include_pad=0, **shape))
    coarse = net.coarse
    features = chain(add, (coarse.stem, coarse.down, coarse.blocks, coarse.up), pyramid.pop())
    for enhancer in net.enhancers:
        own = layer(add, enhancer.down, pyramid.pop())  # type: ignore[arg-type]
        features = chain(add, (enhancer.blocks, enhancer.up), add("Add", own, features))  # type: ignore[arg-type]
    return add("Tanh", layer(add, net.head, features))


def _colorizer(add: Nodes, net: Colorizer, x: str) -> str:
    of_x = lightness(add, x, gray=net.spec["in_channels"] == 1)
    return rgb(add, of_x, _unet(add, net.unet, of_x))


NETWORKS: dict[type[nn.Module], Form] = {
    ResNet: _resnet,
    UNet: _unet,
    ActivatedUNet: _activated_unet,
    StegoResNet: _stego,
    GlobalGenerator: _resnet,
    LocalEnhancer: _enhancer,
    VitModnet: vit_modnet,
    Colorizer: _colorizer,
}

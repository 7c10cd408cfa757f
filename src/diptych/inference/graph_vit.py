"""UVCGANv2's generator as an ONNX graph: its transformer takes as many tokens as the image has places."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from diptych.inference.graph_layers import layer
from diptych.inference.graph_nodes import Nodes, Number
from diptych.nets.vit_modnet import SLOPE, DecoderLevel, ModulatedConv, TransformerBlock, VitModnet


def vit_modnet(add: Nodes, net: VitModnet, x: str) -> str:
    """Add the generator, from images whose sides are multiples of its downsampling."""
    skips = []
    if net.released:  # from [-1, 1] to [0, 1]
        half = add.constant(0.5, np.float32)
        x = layer(add, net.stem, add("Add", add("Mul", x, half), half))
    for level, down in zip(net.levels, net.downs, strict=True):
        skips.append(layer(add, level, x))
        x = layer(add, down, skips[-1])
    x, style = _attend(add, net, x)
    for up in net.ups:
        assert isinstance(up, DecoderLevel)
        x = add("Concat", layer(add, up.up, x), skips.pop(), axis=1)
        for conv in (up.first, up.second):
            x = add("LeakyRelu", _modulated(add, conv, x, style), alpha=SLOPE)
    return add("Tanh", add("Mul", layer(add, net.head, x), add.constant(0.5, np.float32)))


def _attend(add: Nodes, net: VitModnet, x: str) -> tuple[str, str]:
    """The map behind the transformer, and the style token."""
    shape = add("Shape", x)
    each = add("Concat", add("Gather", shape, add.constant([0])), add.constant([1, 1]), axis=0)  # (n, 1, 1): to every image
    pixels = add("Transpose", add("Reshape", x, add.constant([0, 0, -1])), perm=[0, 2, 1])
    tokens = add("Concat", add("Expand", _positions(add, net, shape), each), pixels, axis=2)
    tokens = add("Concat", layer(add, net.to_tokens, tokens), add("Expand", add.constant(net.style), each), axis=1)
    for block in net.blocks:
        assert isinstance(block, TransformerBlock)
        tokens = _block(add, block, tokens)
    of_pixels = add("Slice", tokens, add.constant([0]), add.constant([-1]), add.constant([1]))
    image = add("Transpose", layer(add, net.from_tokens, of_pixels), perm=[0, 2, 1])
    return add("Reshape", image, shape), add("Gather", tokens, add.constant(-1), axis=1)


def _positions(add: Nodes, net: VitModnet, shape: str) -> str:
    """sin(Linear(row, column)), (1, places, features): the linear layer is a sum over rows and columns."""
    weight, total = net.to_position.weight, add.constant(net.to_position.bias)
    for axis, apart in enumerate(([1, 2], [0, 2])):
        size = Number(add, add("Gather", shape, add.constant(2 + axis)))
        count = add("Cast", add("Range", add.constant(0), size.name, add.constant(1)), to=TensorProto.FLOAT)
        last = add("Cast", add("Max", (size - 1).name, add.constant(1)), to=TensorProto.FLOAT)
        places = add("Sub", add("Div", add("Add", count, count), last), add.constant(1.0, np.float32))  # from -1 to 1
        along = add("Mul", add("Unsqueeze", places, add.constant(apart)), add.constant(weight[:, axis]))
        total = add("Add", total, along)
    return add("Reshape", add("Sin", total), add.constant([1, -1, len(weight)]))


def _block(add: Nodes, block: TransformerBlock, x: str) -> str:
    scale, features = add.constant(block.scale), block.to_out.in_features
    size = features // block.heads
    split = add("Reshape", layer(add, block.to_qkv, layer(add, block.norms[0], x)), add.constant([0, 0, 3, block.heads, size]))
    split = add("Transpose", split, perm=[2, 0, 3, 1, 4])  # (3, n, heads, tokens, size)
    q, k, v = (add("Gather", split, add.constant(place), axis=0) for place in range(3))
    alike = add("MatMul", add("Mul", q, add.constant(size**-0.5, np.float32)), add("Transpose", k, perm=[0, 1, 3, 2]))
    attended = add("Transpose", add("MatMul", add("Softmax", alike, axis=-1), v), perm=[0, 2, 1, 3])
    attended = add("Reshape", attended, add.constant([0, 0, features]))
    x = add("Add", x, add("Mul", scale, layer(add, block.to_out, attended)))
    return add("Add", x, add("Mul", scale, layer(add, block.feed_forward, layer(add, block.norms[1], x))))


def _modulated(add: Nodes, module: ModulatedConv, x: str, style: str) -> str:
    axes, weight = add.constant([2, 3]), module.conv.weight
    change = add("Mul", layer(add, module.to_scale, style), add.constant(module.strength))
    scale = add("Add", change, add.constant(1.0, np.float32))  # (n, c)
    power = add.constant(weight.square().sum((2, 3)).T)
    norm = add("Sqrt", add("Add", add("MatMul", add("Mul", scale, scale), power), add.constant(1e-6, np.float32)))
    modulated, norm = add("Mul", x, add("Unsqueeze", scale, axes)), add("Unsqueeze", norm, axes)
    if module.scale_bias:
        return add("Div", layer(add, module.conv, modulated), norm)
    y = add("Div", add("Conv", modulated, add.constant(weight), pads=[1, 1, 1, 1]), norm)
    assert module.conv.bias is not None
    return add("Add", y, add.constant(module.conv.bias[:, None, None]))

"""Write a generator as an ONNX graph that takes and gives native pixels of any batch, height and width.

The graph is written layer by layer and not traced by torch.onnx, for three reasons. Padding any size to the network's multiple
can be part of the graph. Equal snapshots give equal bytes. And it takes milliseconds where the exporter takes ten seconds, so
that the same graph serves `diptych export` and, in memory, the faster backends of `diptych translate`. Whenever a graph is
exported, and in the tests for every generator, what it computes is compared with the network.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from diptych.inference.graph_networks import network
from diptych.inference.graph_nodes import Nodes, Number
from diptych.nets.blocks import margins, padding_of
from diptych.pixels import Domain

OPSET, IR_VERSION = 17, 8  # are of 2022, so that runtimes of the last years read the file
ONNX_TYPES = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "int16": TensorProto.INT16, "float32": TensorProto.FLOAT}
INPUT, FLOATS, OUTPUT = "pixels", "translated", "translated_pixels"  # FLOATS are in [-1, 1], before they become pixels


def onnx_graph(net: nn.Module, source: Domain, target: Domain, facts: dict[str, str] | None = None) -> onnx.ModelProto:
    """Write a generator in mode eval as one self-contained model, with ``facts`` as its metadata.

    Its input ``pixels`` (n, c, h, w) has the source's pixel type, its output ``translated_pixels`` the target's. Raises
    ConfigError for a network or a layer that has no ONNX form (diptych.inference.graph_networks, graph_layers).
    """
    add = Nodes()
    shape = add("Shape", INPUT)
    sides = [_Side(Number(add, add("Gather", shape, add.constant(axis))), *padding_of(net)) for axis in (2, 3)]
    x = _encode(add, source)
    mirrored = add("And", *(side.can_mirror.name for side in sides))
    for axis, side in enumerate(sides, 2):
        x = add("Gather", x, add("Where", mirrored, side.mirrored.name, side.replicated.name), axis=axis)
    x = network(add, net, x)
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

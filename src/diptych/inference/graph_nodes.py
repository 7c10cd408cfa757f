"""What an ONNX graph is written with: its nodes and constants, and integers inside it that follow Python's arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor


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

"""How a window of a layer's output is computed from a window of its input, exactly as in the whole image.

A window is a range of rows and a range of columns. Each operation says which window of its input it needs, margins included, and
computes from that; what lies beyond the border of the image is padded as the layer itself would. A whole map is a window, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.inference.dropout import PositionDropout
from diptych.nets.modes import SeededDropout

Span = tuple[int, int]
"""Rows or columns from a first one to the one after the last."""

Window = tuple[Span, Span]
"""A range of rows and a range of columns."""

Size = tuple[int, int]
"""Height and width of a whole map."""


def whole(size: Size) -> Window:
    """The window that is all of a map."""
    return (0, size[0]), (0, size[1])


def area(window: Window) -> int:
    """The number of positions in a window."""
    (top, bottom), (left, right) = window
    return (bottom - top) * (right - left)


class Operation(ABC):
    """A layer or function that can be applied to windows."""

    heavy = False
    """Whether computing the output again costs more than reading it from memory."""

    def channels(self, *inputs: int) -> int:
        """The channels of the output, from those of each input."""
        return inputs[0]

    def length(self, axis: int, size: int) -> int:
        """The rows (axis 0) or columns (axis 1) of the output, from those of the inputs."""
        return size

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """The rows (axis 0) or columns (axis 1) of an input of ``size`` rows or columns that a span of the output needs."""
        return span

    @abstractmethod
    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Compute a window of the output from the window of each input that it needs; ``size`` is that of the whole inputs."""

    def work(self, positions: int) -> int:
        """The multiplications in so many positions of the output."""
        return 0


@final
@dataclass(frozen=True)
class Pointwise(Operation):
    """A function of the inputs' values at one position."""

    function: Callable[..., Tensor]
    heavy: bool = False

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Call the function."""
        return self.function(*inputs)


@final
@dataclass(frozen=True)
class Joined(Operation):
    """The channels of all inputs."""

    def channels(self, *inputs: int) -> int:
        """All of them."""
        return sum(inputs)

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Put the channels one after another."""
        return torch.cat(list(inputs), 1)


@final
@dataclass(frozen=True)
class Dropped(Operation):
    """Dropout. Only dropout by position can be applied to windows."""

    layer: PositionDropout | SeededDropout

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Drop what the layer drops at these places of the whole image."""
        assert isinstance(self.layer, PositionDropout), "the caller refuses dropout that is drawn for the whole image"
        return self.layer.at(inputs[0], window[0][0], window[1][0])


@final
@dataclass(frozen=True)
class Normalised(Operation):
    """A norm with the statistics of the whole image, which the caller measures first (see `staged.py`)."""

    layer: nn.InstanceNorm2d | nn.BatchNorm2d

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Refuse: this needs statistics, which ``normalise`` takes."""
        raise AssertionError("the caller normalises with the statistics that it measured")

    def normalise(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Normalise a window by the mean and the biased variance of every channel, in at least float32; it may be overwritten."""
        if x.shape[2:].numel() == 1:
            return self.layer(x)  # which refuses it
        exact = torch.promote_types(x.dtype, torch.float32)
        scale = torch.rsqrt(variance + self.layer.eps)
        if self.layer.weight is not None:
            scale = scale * self.layer.weight.to(scale.dtype)
        y = x.to(exact).sub_(_by_channel(mean, exact)).mul_(_by_channel(scale, exact))
        if self.layer.bias is not None:
            y.add_(_by_channel(self.layer.bias, exact))
        return y.to(x.dtype)


def _by_channel(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype)[:, None, None]


@final
@dataclass(frozen=True)
class Convolved(Operation):
    """A convolution with zero padding."""

    layer: nn.Conv2d
    heavy = True

    def channels(self, *inputs: int) -> int:
        """The layer's own."""
        return self.layer.out_channels

    def length(self, axis: int, size: int) -> int:
        """The number of places where the kernel fits."""
        padding, reach = -self._start(axis, 0), self._reach(axis)
        return (size + 2 * padding - reach) // self.layer.stride[axis] + 1

    def _reach(self, axis: int) -> int:
        return self.layer.dilation[axis] * (self.layer.kernel_size[axis] - 1) + 1

    def _start(self, axis: int, position: int) -> int:
        layer = self.layer
        assert not isinstance(layer.padding, str)
        return position * layer.stride[axis] - layer.padding[axis]

    def _reached(self, axis: int, span: Span) -> Span:
        """The rows or columns of the input that a span needs, also beyond the border."""
        return self._start(axis, span[0]), self._start(axis, span[1] - 1) + self._reach(axis)

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """Clip to the border what the kernel reaches."""
        start, stop = self._reached(axis, span)
        return min(max(0, start), size - 1), max(1, min(size, stop))

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Pad with zeros only beyond the border of the image."""
        (x,), layer = inputs, self.layer
        if x.shape[2:] == size:
            return _cut(layer(x), window, (0, 0))
        beyond = []
        for axis in (1, 0):
            start, stop = self._reached(axis, window[axis])
            beyond += [max(0, -start), max(0, stop - size[axis])]
        padded = F.pad(x, beyond) if any(beyond) else x  # since padding by nothing copies
        return F.conv2d(padded, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)

    def work(self, positions: int) -> int:
        """One multiplication for each weight."""
        return positions * self.layer.weight.numel()


@final
@dataclass(frozen=True)
class TransposedConvolved(Operation):
    """A transposed convolution."""

    layer: nn.ConvTranspose2d
    heavy = True

    def channels(self, *inputs: int) -> int:
        """The layer's own."""
        return self.layer.out_channels

    def length(self, axis: int, size: int) -> int:
        """The rows or columns that the kernels reach, without the padding."""
        kernel, stride, padding = self._numbers(axis)
        return (size - 1) * stride + kernel - 2 * padding + self.layer.output_padding[axis]

    def _numbers(self, axis: int) -> tuple[int, int, int]:
        layer = self.layer
        assert not isinstance(layer.padding, str)
        return layer.kernel_size[axis], layer.stride[axis], layer.padding[axis]

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """The positions whose kernels reach into the span."""
        kernel, stride, padding = self._numbers(axis)
        first, last = -(-(span[0] + padding - kernel + 1) // stride), (span[1] - 1 + padding) // stride
        return min(max(0, first), size - 1), max(1, min(size, last + 1))

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Compute all that the positions reach, and cut the window out of it."""
        (x,), layer = inputs, self.layer
        if x.shape[2:] == size:
            return _cut(layer(x), window, (0, 0))
        y = F.conv_transpose2d(x, layer.weight, layer.bias, layer.stride, 0, 0, layer.groups, layer.dilation)
        first = (self.needs(axis, window[axis], size[axis])[0] * layer.stride[axis] for axis in (0, 1))
        top, left = (start - self._numbers(axis)[2] for axis, start in enumerate(first))
        return _cut(y, window, (top, left))

    def work(self, positions: int) -> int:
        """One multiplication for each weight and position of the input."""
        return positions * self.layer.weight.numel() // (self.layer.stride[0] * self.layer.stride[1])


@final
@dataclass(frozen=True)
class Enlarged(Operation):
    """A layer that makes a square of pixels of each pixel, such as nearest-neighbour upsampling or a pixel shuffle.

    A pixel also reaches ``reach`` pixels of the output beyond its square, as in bilinear upsampling.
    """

    layer: nn.Module
    factor: int
    fewer: int = 1
    reach: int = 0

    def channels(self, *inputs: int) -> int:
        """A pixel shuffle makes pixels of channels."""
        return inputs[0] // self.fewer

    def length(self, axis: int, size: int) -> int:
        """Every pixel becomes a square of pixels."""
        return size * self.factor

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """The pixels that reach into the span."""
        start, stop = (span[0] - self.reach) // self.factor, -(-(span[1] + self.reach) // self.factor)
        return max(0, start), min(size, stop)

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Enlarge, and cut the window out of the squares."""
        top, left = (self.needs(axis, span, size[axis])[0] * self.factor for axis, span in enumerate(window))
        return _cut(self.layer(inputs[0]), window, (top, left))


@final
@dataclass(frozen=True)
class Averaged(Operation):
    """Means over squares of pixels, without padding."""

    layer: nn.AvgPool2d

    def _numbers(self) -> tuple[int, int]:
        assert isinstance(self.layer.kernel_size, int)
        assert isinstance(self.layer.stride, int)
        return self.layer.kernel_size, self.layer.stride

    def length(self, axis: int, size: int) -> int:
        """The number of places where a square fits."""
        side, stride = self._numbers()
        return (size - side) // stride + 1

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """All of the squares."""
        side, stride = self._numbers()
        return span[0] * stride, (span[1] - 1) * stride + side

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """The input has the squares of the window and no others."""
        return self.layer(inputs[0])


@final
@dataclass(frozen=True)
class Padded(Operation):
    """Mirroring or replicating the border; ``before`` and ``after`` are the rows and columns that are added."""

    before: tuple[int, int]
    after: tuple[int, int]
    mirrored: bool

    def length(self, axis: int, size: int) -> int:
        """With what is added."""
        return self.before[axis] + size + self.after[axis]

    def _indices(self, axis: int, span: Span, size: int) -> Tensor:
        """Which rows or columns of the image stand at the positions of a span."""
        places = torch.arange(span[0] - self.before[axis], span[1] - self.before[axis])
        if not self.mirrored:
            return places.clamp(0, size - 1)
        return size - 1 - (size - 1 - places.abs()).abs()

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """The rows or columns from the first to the last that stand in the span."""
        indices = self._indices(axis, span, size)
        return int(indices.min()), int(indices.max()) + 1

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """Take rows and columns by their indices, where the window reaches beyond the border."""
        pixels = inputs[0].permute(0, 2, 3, 1)  # selecting is fast where channels lie innermost
        for axis, span in enumerate(window):
            if span[0] < self.before[axis] or span[1] > self.before[axis] + size[axis]:
                indices = self._indices(axis, span, size[axis])
                pixels = pixels.index_select(axis + 1, (indices - indices.min()).to(pixels.device))
        return pixels.permute(0, 3, 1, 2)


@final
@dataclass(frozen=True)
class Cropped(Operation):
    """A part of a map."""

    part: Window

    def length(self, axis: int, size: int) -> int:
        """That of the part."""
        return self.part[axis][1] - self.part[axis][0]

    def needs(self, axis: int, span: Span, size: int) -> Span:
        """The span, moved to where the part begins."""
        return span[0] + self.part[axis][0], span[1] + self.part[axis][0]

    def apply(self, inputs: Sequence[Tensor], window: Window, size: Size) -> Tensor:
        """The input is the window already."""
        return inputs[0]


def _cut(y: Tensor, window: Window, corner: tuple[int, int]) -> Tensor:
    """Take a window out of a part of a map whose first row and column are given."""
    for axis, (start, stop) in enumerate(window):
        y = y.narrow(axis + 2, start - corner[axis], stop - start)
    return y

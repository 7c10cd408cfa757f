"""Which native values of 16-bit and float images become -1 and 1, and which images stretch that range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol, cast

import numpy as np

from diptych.errors import ConfigError

TAIL = 0.001  # share of an image's values at each end that the robust range leaves out: hot and dead pixels
FAR = 3.0  # an image that reaches further than this many widths beyond the median image is left out as a whole
LONELY = 10.0  # a value that is further from all others than this many times their range means something else
ValueRange = Literal["full", "robust"] | tuple[float, float]


class Values(Protocol):
    """The values of one image: lowest and highest, and the same without the tails (see ``without_tails``)."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def inner(self) -> tuple[float, float]: ...


def parse_range(text: str) -> ValueRange:
    """Understand the setting data.range: ``full``, ``robust``, or two numbers ``LOW,HIGH``. Raises ConfigError."""
    if text in ("full", "robust"):
        return cast(Literal["full", "robust"], text)
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise ConfigError(f"data.range must be full, robust, or LOW,HIGH with LOW below HIGH such as 0,4095, found {text!r}")
    return low, high


def without_tails(pixels: np.ndarray) -> tuple[float, float]:
    """The lowest and highest value without 0.1 % of the values at each end; an image without any others keeps its own."""
    tail = int(TAIL * pixels.size)
    if tail:
        ordered = np.partition(pixels.ravel(), (tail, pixels.size - 1 - tail))
        low, high = float(ordered[tail]), float(ordered[-1 - tail])
        if low < high:
            return low, high
    return float(pixels.min()), float(pixels.max())


def lonely_value(pixels: np.ndarray) -> float | None:
    """The lowest or highest value of an image where it lies far from all others, as one does that means no data.

    Far is more than 10 times the range of all others. None where there is no such value.
    """
    for value in (pixels.min(), pixels.max()):
        others = pixels[pixels != value]
        if others.size:
            low, high = float(others.min()), float(others.max())
            if low < high and max(low - float(value), float(value) - high) > LONELY * (high - low):
                return float(value)
    return None


def full_range(images: Sequence[Values]) -> tuple[float, float]:
    """The lowest and the highest value of all images."""
    return min(image.low for image in images), max(image.high for image in images)


def robust_range(images: Sequence[Values]) -> tuple[float, float]:
    """The range of all images without the tails of each, and without images whose values are far from those of most.

    An image is far when, without its tails, it reaches more than 3 widths of the median image beyond the median image.
    Where that leaves a single value, the range is the full one.
    """
    ranges = np.array([image.inner for image in images])
    low, high = np.median(ranges, axis=0)
    reach = FAR * (high - low)
    near = (ranges[:, 0] >= low - reach) & (ranges[:, 1] <= high + reach)
    if not near.any():
        return full_range(images)
    low, high = float(ranges[near, 0].min()), float(ranges[near, 1].max())
    return (low, high) if low < high else full_range(images)


def stretching(images: Sequence[Values]) -> list[bool]:
    """For each image whether it has values that lie further beyond the robust range than that is wide."""
    if not images:
        return []
    low, high = robust_range(images)
    width = high - low
    return [image.low < low - width or image.high > high + width for image in images]

"""A forecast of the memory and time of training steps of any size, linear in batch x crop^2 between measured sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from diptych.training.planning.footprint import Footprint

Quantity = Literal["peak", "saving", "seconds"]
LARGEST_SIZE = 4096  # upper limit of the search, in images per batch and pixels per crop side


@dataclass(frozen=True)
class Forecast:
    """Interpolates linearly between footprints of different load, and extrapolates from the last two.

    Activations grow with the number and the padded area of a step's images, which is the load. Image pools grow with the area
    alone and are counted separately. Weights, gradients, Adam's moments and averaged weights do not grow.
    """

    footprints: Sequence[Footprint]

    def peak(self, batch: int, crop: int) -> int:
        """The most bytes that a process needs, in its steps or while it saves, with ``batch`` images at once."""
        lines = max(self._at(batch, crop, "peak"), self._at(batch, crop, "saving"))
        return round(lines + self._pools_per_pixel * crop**2)

    def seconds(self, batch: int, crop: int) -> float:
        """The duration of one training step."""
        return self._at(batch, crop, "seconds")

    def largest_batch(self, crop: int, room: float) -> int:
        """The most images at once that fit into ``room`` bytes; 0 when not even one does."""
        return _largest_that_fits(lambda batch: self.peak(batch, crop) <= room, 1)

    def largest_crop(self, batch: int, room: float) -> int:
        """The largest crop that fits into ``room`` bytes and needs no padding; 0 when none does."""
        multiple = self.footprints[-1].multiple
        return multiple * _largest_that_fits(lambda count: self.peak(batch, count * multiple) <= room, multiple)

    @property
    def fixed(self) -> int:
        """Roughly the bytes that a process needs without any image."""
        return self.footprints[0].fixed

    @property
    def largest_load(self) -> int:
        """The largest load that was measured."""
        return max(self.load(footprint.batch, footprint.crop) for footprint in self.footprints)

    @property
    def _pools_per_pixel(self) -> float:
        last = self.footprints[-1]
        return last.pools / last.crop**2

    def load(self, batch: int, crop: int) -> int:
        """The number of pixels that the networks compute, with padding."""
        multiple = self.footprints[-1].multiple
        return batch * (math.ceil(crop / multiple) * multiple) ** 2

    def _at(self, batch: int, crop: int, quantity: Quantity) -> float:
        points = self._points(quantity)
        x = self.load(batch, crop)
        segments = list(pairwise(points))
        (x0, y0), (x1, y1) = next((segment for segment in segments if x <= segment[1][0]), segments[-1])
        return y0 + (x - x0) * max(0.0, y1 - y0) / (x1 - x0)

    def _points(self, quantity: Quantity) -> list[tuple[int, float]]:
        """The load and quantity of each footprint; with a single footprint, also an estimate for a step without images."""
        pools = 0 if quantity == "seconds" else 1
        points = [(self.load(f.batch, f.crop), getattr(f, quantity) - pools * f.pools) for f in self.footprints]
        if len(points) == 1:
            (only,) = self.footprints
            activations = only.peak - only.fixed
            points.append((0, 0.0 if quantity == "seconds" else points[0][1] - activations))
        return sorted(points)


def _largest_that_fits(fits: Callable[[int], bool], step: int) -> int:
    """The largest count that fits, by bisection, where count * step is at most LARGEST_SIZE; 0 when not even 1 fits."""
    low, high = 0, LARGEST_SIZE // step + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

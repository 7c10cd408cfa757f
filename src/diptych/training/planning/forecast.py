"""Memory and time of training steps of any size, from measured footprints: lines through batch x crop^2."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from diptych.training.planning.footprint import Footprint

Quantity = Literal["peak", "saving", "seconds"]
LARGEST_SIZE = 4096  # images a batch and pixels a crop: beyond it nobody asks


@dataclass(frozen=True)
class Forecast:
    """Straight lines between the footprints, which must differ in load, and on through the outer two beyond them.

    What grows with the images of a step are activations: with their number and area, as the networks pad them. Image pools grow
    with the area alone, and are counted apart. What does not grow is weights, gradients, Adam's moments and averages.
    """

    footprints: Sequence[Footprint]

    def peak(self, batch: int, crop: int) -> int:
        """Bytes that a process needs at most, in its steps or while it saves; ``batch`` images at once."""
        lines = max(self._at(batch, crop, "peak"), self._at(batch, crop, "saving"))
        return round(lines + self._pools_per_pixel * crop**2)

    def seconds(self, batch: int, crop: int) -> float:
        """Of one training step."""
        return self._at(batch, crop, "seconds")

    def largest_batch(self, crop: int, room: float) -> int:
        """The most images at once that need no more than ``room`` bytes; 0 when not even one fits."""
        return _largest_that_fits(lambda batch: self.peak(batch, crop) <= room, 1)

    def largest_crop(self, batch: int, room: float) -> int:
        """The largest crop, of those that networks need not pad, that fits; 0 when none does."""
        multiple = self.footprints[-1].multiple
        return multiple * _largest_that_fits(lambda count: self.peak(batch, count * multiple) <= room, multiple)

    @property
    def fixed(self) -> int:
        """Bytes of a step of no images, about."""
        return self.footprints[0].fixed

    @property
    def largest_load(self) -> int:
        """The greatest load that was measured."""
        return max(self.load(footprint.batch, footprint.crop) for footprint in self.footprints)

    @property
    def _pools_per_pixel(self) -> float:
        last = self.footprints[-1]
        return last.pools / last.crop**2

    def load(self, batch: int, crop: int) -> int:
        """Pixels that the networks compute."""
        multiple = self.footprints[-1].multiple
        return batch * (math.ceil(crop / multiple) * multiple) ** 2

    def _at(self, batch: int, crop: int, quantity: Quantity) -> float:
        points = self._points(quantity)
        x = self.load(batch, crop)
        segments = list(pairwise(points))
        (x0, y0), (x1, y1) = next((segment for segment in segments if x <= segment[1][0]), segments[-1])
        return y0 + (x - x0) * max(0.0, y1 - y0) / (x1 - x0)

    def _points(self, quantity: Quantity) -> list[tuple[int, float]]:
        """Load and quantity of the footprints, and what a step of no images would need where there is but one of them."""
        pools = 0 if quantity == "seconds" else 1
        points = [(self.load(f.batch, f.crop), getattr(f, quantity) - pools * f.pools) for f in self.footprints]
        if len(points) == 1:
            (alone,) = self.footprints
            activations = alone.peak - alone.fixed
            points.append((0, 0.0 if quantity == "seconds" else points[0][1] - activations))
        return sorted(points)


def _largest_that_fits(fits: Callable[[int], bool], step: int) -> int:
    """The last of 1, 2 ... that fits, as long as it times ``step`` is no more than LARGEST_SIZE."""
    low, high = 0, LARGEST_SIZE // step + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low

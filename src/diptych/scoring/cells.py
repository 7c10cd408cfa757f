"""One number of a table over several trainings: its mean, its interval over seeds and images, and the difference of two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.metrics.estimate import decimals, student_quantile
from diptych.metrics.two_level import Variance, difference_estimate, half_width, spread_of_means


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean over seeds, its interval, and the seeds' own values.

    ``of_seeds`` and ``of_images`` are the parts of its variance with their degrees of freedom. ``images`` are the
    scores of every image, seed by seed, where the metric has such.
    """

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    of_seeds: Variance
    of_images: Variance
    images: tuple[tuple[float, ...], ...] = ()

    def __str__(self) -> str:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):  # as of a single image
            return f"{self.value:.{decimals(self.value, self.value, self.value, 3)}f} (no interval)"
        digits = decimals(self.value, self.low, self.high, 1 if abs(self.value) >= 10 else 2 if abs(self.value) >= 1 else 3)
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def cell(evaluations: Sequence[Mapping[str, Any]], metric: str, direction: str, of: str = "model") -> Cell | None:
    """One metric over all seeds; None where it was not measured. With one seed the interval is over images alone."""
    wanted = metric, direction, of
    found = [
        result["estimate"]
        for evaluation in evaluations
        for result in evaluation["results"]
        if (result["metric"], result["direction"], result["of"]) == wanted
    ]
    if not found:
        return None
    values = tuple(float(estimate["value"]) for estimate in found)
    mean, n = float(np.mean(values)), min(int(estimate["n"]) for estimate in found)
    of_seeds = spread_of_means(values)
    errors = [(float(estimate["high"]) - float(estimate["low"])) / 2 / student_quantile(max(1, n - 1)) for estimate in found]
    of_images = Variance(float(np.mean(np.square(errors))), max(1, n - 1))
    half = half_width([of_seeds, of_images])
    return Cell(mean, mean - half, mean + half, values, of_seeds, of_images, _image_scores(evaluations, metric, direction, of))


def _image_scores(
    evaluations: Sequence[Mapping[str, Any]], metric: str, direction: str, of: str
) -> tuple[tuple[float, ...], ...]:
    scores = [[row.get(metric) for row in evaluation.get("images", {}).get(direction, ())] for evaluation in evaluations]
    if of != "model" or not scores[0] or any(value is None for row in scores for value in row):
        return ()
    return tuple(tuple(map(float, row)) for row in scores)


def difference(x: Cell, y: Cell) -> tuple[float, float]:
    """The difference of two cells and half its 95 % interval. Where images have scores, they are compared one by one."""
    if x.images and y.images and len(x.images[0]) == len(y.images[0]):
        found, _ = difference_estimate(np.array(x.images), np.array(y.images))
        return found.value, (found.high - found.low) / 2
    return x.value - y.value, half_width([x.of_seeds, y.of_seeds, x.of_images, y.of_images])

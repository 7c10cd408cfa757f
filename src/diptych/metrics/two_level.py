"""Means over trainings and images: how far other trainings on other images would move them.

A score varies with the seed of its training and with the test images, which all trainings share. The variance of a mean is
estimated as that of the trainings' means over their number, plus that of the images' means over theirs, which more trainings do
not make smaller. What varies with both counts in both parts, so that intervals are rather too wide than too narrow;
`python -m benchmarks.coverage` measures how often they hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diptych.metrics.estimate import MIN_FOR_INTERVAL, Estimate, student_p_value, student_quantile


class Variance(NamedTuple):
    """A part of the variance of a mean, and its degrees of freedom; 0 of both where it cannot be estimated."""

    value: float
    freedom: int


def spread_of_means(values: Sequence[float] | np.ndarray) -> Variance:
    """The variance of a mean of independent values; nothing of a single one."""
    numbers = np.asarray(values, dtype=np.float64)
    return Variance(float(np.var(numbers, ddof=1)) / len(numbers), len(numbers) - 1) if len(numbers) > 1 else Variance(0.0, 0)


def freedom_of(parts: Sequence[Variance]) -> int:
    """The degrees of freedom of a sum of independent parts, rounded down (Satterthwaite 1946), at least 1."""
    total = sum(part.value for part in parts)
    if not (total > 0 and math.isfinite(total)):
        return 1
    return max(1, math.floor(total**2 / sum(part.value**2 / part.freedom for part in parts if part.value) + 1e-9))


def half_width(parts: Sequence[Variance]) -> float:
    """Half a 95 % interval from independent parts of a variance."""
    total = sum(part.value for part in parts)
    if not (total > 0 and math.isfinite(total)):
        return math.nan if math.isnan(total) else math.sqrt(total)
    return student_quantile(freedom_of(parts)) * math.sqrt(total)


def p_value(value: float, parts: Sequence[Variance]) -> float:
    """How often a value as far from 0 comes from these variances alone; 1 for 0, NaN where a variance is not known."""
    total = sum(part.value for part in parts)
    if math.isnan(total) or not value:
        return math.nan if math.isnan(total) else 1.0
    return student_p_value(value / math.sqrt(total), freedom_of(parts)) if total else 0.0


def estimate_of(value: float, parts: Sequence[Variance], n: int) -> Estimate:
    """The estimate of a mean over n images with these parts of its variance."""
    half = half_width(parts)
    return Estimate(value, value - half, value + half, n)


def trainings_of(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> list[Variance]:
    """The variances over trainings of two systems' means, from the value of each training.

    Where only one was trained more than once, its trainings stand for how far those of the other would vary.
    """
    found = [spread_of_means(one), spread_of_means(other)]
    for i, values in enumerate((one, other)):
        if len(values) == 1 and found[1 - i].freedom:
            known = found[1 - i]
            found[i] = Variance(known.value * (known.freedom + 1), known.freedom)
    return found


def difference_estimate(one: Float[np.ndarray, "s n"], other: Float[np.ndarray, "t n"]) -> tuple[Estimate, float]:
    """The mean of s trainings less that of t others on the same n images, and the p-value of Student's test that it is 0.

    Images are compared one by one. With one training each, nothing is said of other trainings.
    """
    apart = one.mean(axis=0) - other.mean(axis=0)
    over_images = spread_of_means(apart) if len(apart) >= MIN_FOR_INTERVAL else Variance(math.nan, 1)
    parts = [*trainings_of(one.mean(axis=1), other.mean(axis=1)), over_images]
    value = float(apart.mean())
    return estimate_of(value, parts, len(apart)), p_value(value, parts)

"""Estimate a number together with its uncertainty: 95 % intervals from the images themselves, reproducible to the digit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from diptych.errors import DataError

COVERAGE = 0.95
NORMAL_QUANTILE = 1.959963984540054  # the quantile at (1 + COVERAGE) / 2
BLOCK = 2**20  # random indices that are held in memory at a time


@dataclass(frozen=True)
class Estimate:
    """Holds a number with its 95 % interval, and the number of images that it was computed from.

    ``low`` and ``high`` are NaN where the images say nothing about the uncertainty (a single one): no interval is
    better than a false one.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}], n={self.n}"


def decimals(value: float, low: float, high: float, least: int) -> int:
    """How many digits after the point carry: two of the interval's half width, or of the value without one; at least ``least``.

    At most 6. An estimate of .00031 from .0001 to .0005 has 5, so that it is not printed as 0.000.
    """
    half = (high - low) / 2
    scale = half if half > 0 and math.isfinite(half) else abs(value)
    return max(least, min(6, 1 - math.floor(math.log10(scale)))) if scale > 0 and math.isfinite(scale) else least


def mean_estimate(values: Sequence[float] | np.ndarray | Tensor, *, seed: int = 0, resamples: int = 1000) -> Estimate:
    """Average one number per image over the images, with its percentile bootstrap interval (Efron 1979, 1981).

    The images are drawn again with replacement ``resamples`` times; the interval runs from the 2.5 % to the 97.5 %
    quantile of the means (order statistics, rounded outwards). One image has no interval (NaN).
    An infinite value, such as the PSNR of equal images, counts as infinite: the mean is then infinite, and the low end
    is infinite as well once nearly every draw holds such an image. Nothing is capped or left out in silence.
    Raises DataError when there is no value, one is not a number, or both infinities occur.
    """
    numbers = np.asarray(values, dtype=np.float64)
    assert numbers.ndim == 1, f"one number per image, found an array of shape {numbers.shape}"
    n = len(numbers)
    if n == 0:
        raise DataError("no images to average over; give at least one")
    if (missing := np.isnan(numbers)).any():
        raise DataError(f"image {int(missing.argmax())} of {n} has a score that is not a number (NaN); look at its output")
    if np.isposinf(numbers).any() and np.isneginf(numbers).any():
        raise DataError(f"the scores of {n} images hold both infinities, so they have no mean; look at the outputs")
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // n)
    blocks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    means = np.concatenate([numbers[random.integers(0, n, (size, n))].mean(axis=1) for size in blocks])
    return percentile_interval(float(numbers.mean()), means, n)


def bootstrap(statistic: Callable[[np.ndarray], float], n: int, *, seed: int = 0, resamples: int = 1000) -> Estimate:
    """Estimate any statistic of n images with its percentile bootstrap interval.

    ``statistic`` takes an array of n indices of images, with repetitions, and is called ``resamples`` + 1 times.
    Raises DataError when n is 0 or a result is NaN.
    """
    if n == 0:
        raise DataError("no images to measure; give at least one")
    random = np.random.default_rng(seed)
    value = float(statistic(np.arange(n)))
    if n == 1:
        return percentile_interval(value, np.array([value]), n)
    drawn = np.array([statistic(random.integers(0, n, n)) for _ in range(resamples)], dtype=np.float64)
    if np.isnan([value, *drawn]).any():
        raise DataError(f"a score over {n} images is not a number (NaN) for some draw of them; it needs more images")
    return percentile_interval(value, drawn, n)


def resample(random: np.random.Generator, n: int, resamples: int) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """Count how often each of n images is drawn, in ``resamples`` draws with replacement; the first draw has each image once."""
    yield np.ones(n)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, n, n), minlength=n).astype(np.float64)


def percentile_interval(value: float, drawn: np.ndarray, n: int) -> Estimate:
    """Make an estimate with the 95 % percentile interval of resampled values, which may be infinite."""
    if n < 2:
        return Estimate(value, float("nan"), float("nan"), n)
    ordered, last = np.sort(drawn), len(drawn) - 1
    low, high = np.floor(last * (1 - COVERAGE) / 2), np.ceil(last * (1 + COVERAGE) / 2)
    return Estimate(value, float(ordered[int(low)]), float(ordered[int(high)]), n)


def normal_interval(value: float, deviation: float, n: int, *, least: float = -np.inf, most: float = np.inf) -> Estimate:
    """Make an estimate of value +- 1.96 standard errors, cut at the lowest and highest value that the statistic can have."""
    if n < 2:
        return Estimate(value, float("nan"), float("nan"), n)
    half = NORMAL_QUANTILE * deviation
    return Estimate(value, max(least, value - half), min(most, value + half), n)

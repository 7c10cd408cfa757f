"""Estimate a number together with its uncertainty: 95 % intervals from the images themselves, reproducible to the digit.

Means and other smooth statistics get value +- t standard errors, with the quantile t of Student's distribution. From a few images
on, such intervals hold the truth nearly as often as they say; the percentiles of a bootstrap do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from diptych.errors import DataError

COVERAGE = 0.95
NORMAL_QUANTILE = 1.959963984540054  # of (1 + COVERAGE) / 2
MIN_FOR_INTERVAL = 3  # images; of fewer no interval is given
# Half the width of a 95 % interval of a mean in standard errors, by degrees of freedom (Student 1908), 1 and up.
STUDENT = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814)


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


def student_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution: a table up to 10 degrees of freedom, then its expansion, right to 1e-4.

    Abramowitz and Stegun (1964), eq. 26.7.5.
    """
    assert freedom >= 1, f"degrees of freedom are at least 1, found {freedom}"
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    z = NORMAL_QUANTILE
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def student_p_value(t: float, freedom: int) -> float:
    """How often Student's distribution is as far from 0 as t, on either side (Abramowitz and Stegun 1964, 26.7.3-4)."""
    assert freedom >= 1, f"degrees of freedom are at least 1, found {freedom}"
    if not math.isfinite(t):
        return math.nan if math.isnan(t) else 0.0
    angle = math.atan(abs(t) / math.sqrt(freedom))
    odd, square = freedom % 2, math.cos(angle) ** 2
    term = math.sin(angle) * (math.cos(angle) if odd else 1.0)
    within = 0.0
    for k in range(1 + odd, freedom, 2):
        within += term
        term *= square * k / (k + 1)
    return max(0.0, 1 - (2 / math.pi * (angle + within) if odd else within))


def mean_estimate(values: Sequence[float] | np.ndarray | Tensor) -> Estimate:
    """The mean of one number per image, with Student's 95 % interval: mean +- t s / sqrt(n), n - 1 degrees of freedom.

    Fewer than MIN_FOR_INTERVAL images have no interval (NaN). An infinite value, such as the PSNR of equal images, counts as
    infinite: the mean is then infinite, and has no interval unless all are. Nothing is capped or left out in silence.
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
    mean = float(numbers.mean())
    if np.isinf(numbers).any():
        end = mean if np.isinf(numbers).all() and n >= MIN_FOR_INTERVAL else math.nan
        return Estimate(mean, end, end, n)
    return student_interval(mean, float(numbers.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan, n)


def random_signs(n: int, seed: int, permutations: int) -> np.ndarray:
    """Signs (permutations, n), -1 or 1 at random: which outputs of n images change places."""
    return np.random.default_rng(seed).choice((-1.0, 1.0), (permutations, n))


def sign_flip_p_value(differences: np.ndarray, *, seed: int = 0, permutations: int = 1000) -> float:
    """How often the mean of differences of pairs is as far from 0 when each changes its sign at random; two-sided.

    p = (1 + as far or farther) / (1 + permutations), as in Phipson and Smyth (2010).
    """
    signs = random_signs(len(differences), seed, permutations)
    observed = abs(float(differences.mean()))
    drawn = np.abs(signs @ differences) / len(differences)
    return float((1 + (drawn >= observed * (1 - 1e-12)).sum()) / (1 + permutations))


def jackknife_estimate(statistic: Callable[[np.ndarray], float], n: int) -> Estimate:
    """Any smooth statistic of n images, with Student's interval by the standard error of the jackknife (Tukey 1958).

    The standard error comes from the statistic without each image in turn; for a mean it is exactly s / sqrt(n). ``statistic``
    takes an array of indices of images, and is called n + 1 times. Raises DataError when n is 0 or a result is NaN.
    """
    if n == 0:
        raise DataError("no images to measure; give at least one")
    every = np.arange(n)
    value = float(statistic(every))
    if n < MIN_FOR_INTERVAL:
        return Estimate(value, math.nan, math.nan, n)
    without = np.array([statistic(np.delete(every, i)) for i in every], dtype=np.float64)
    if np.isnan([value, *without]).any():
        raise DataError(f"a score over {n} images is not a number (NaN) without one of them; it needs more images")
    return student_interval(value, jackknife_error(without), n)


def jackknife_error(without: np.ndarray) -> float:
    """The standard error of a statistic from its values without each image in turn."""
    n = len(without)
    return math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))


def wilson_estimate(hits: np.ndarray | Tensor) -> Estimate:
    """A share of images with its 95 % score interval (Wilson 1927).

    No bootstrap, because drawing again from five successes in five gives an interval without width. Raises DataError when there
    are no images.
    """
    hits = np.asarray(hits, dtype=np.float64)
    if not (n := len(hits)):
        raise DataError("no images to take a rate of; give at least one")
    share, z2 = float(hits.mean()), NORMAL_QUANTILE**2
    centre, half = share + z2 / (2 * n), NORMAL_QUANTILE * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return Estimate(share, min(max(low, 0.0), share), max(min(high, 1.0), share), n)  # at 0 and 1 they meet, but for rounding


def resample(random: np.random.Generator, n: int, resamples: int) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """Count how often each of n images is drawn, in ``resamples`` draws with replacement; the first draw has each image once."""
    yield np.ones(n)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, n, n), minlength=n).astype(np.float64)


def percentile_interval(value: float, drawn: np.ndarray, n: int) -> Estimate:
    """The estimate with the 95 % percentile interval of resampled values."""
    if n < MIN_FOR_INTERVAL:
        return Estimate(value, math.nan, math.nan, n)
    ordered, last = np.sort(drawn), len(drawn) - 1
    low, high = np.floor(last * (1 - COVERAGE) / 2), np.ceil(last * (1 + COVERAGE) / 2)
    return Estimate(value, float(ordered[int(low)]), float(ordered[int(high)]), n)


def student_interval(value: float, error: float, n: int, *, least: float = -np.inf, most: float = np.inf) -> Estimate:
    """The estimate with value +- t standard errors, n - 1 degrees of freedom, cut at the least and most possible value."""
    if n < MIN_FOR_INTERVAL:
        return Estimate(value, math.nan, math.nan, n)
    half = student_quantile(n - 1) * error
    return Estimate(value, max(least, value - half), min(most, value + half), n)

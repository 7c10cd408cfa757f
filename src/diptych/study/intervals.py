"""Numbers over participants, with their uncertainty: intervals, the papers' standard error, and tests of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from diptych.study.planning import QUANTILE

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` participants with its 95 % interval; its ends are NaN where one participant says nothing of it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Two methods: the difference of their shares, and p of a permutation test over participants, plain and after Holm."""

    one: str
    other: str
    difference: float
    p: float
    p_holm: float


def interval(shares: np.ndarray, *, seed: int = 0) -> Interval:
    """The mean over participants with its 95 % interval: the expanded percentile bootstrap (Hesterberg 2015, section 3.3).

    One participant has no interval.
    """
    n, mean = len(shares), float(shares.mean())
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    return Interval(mean, *expanded(shares[rng.integers(0, n, (RESAMPLES, n))].mean(axis=1), n), n)


def expanded(draws: np.ndarray, n: int) -> tuple[float, float]:
    """The ends of the expanded percentile interval of bootstrap draws over ``n`` participants.

    The plain percentile interval is too narrow for few participants, by what a normal interval is narrower than Student's and by
    the bias of the standard deviation; its quantiles are moved outwards to make up for both.
    """
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student(n - 1))
    low, high = np.quantile(draws, [tail, 1 - tail], method="closest_observation")
    return float(low), float(high)


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by the expansion of Abramowitz and Stegun (26.7.5); within 4 % from 2 degrees on."""
    z, v = QUANTILE, degrees
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / v**power for power, term in enumerate(terms, 1))


def published_error(wrong: np.ndarray, number: np.ndarray, *, seed: int = 0) -> float:
    """The standard error as the papers computed it: participants drawn again with replacement, and each one's trials as well.

    Drawing n yes-or-no answers again with replacement is one draw from a binomial distribution.
    """
    if len(wrong) < 2:
        return math.nan
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(wrong), (RESAMPLES, len(wrong)))
    again = rng.binomial(number[drawn], (wrong / number)[drawn])
    return float((again.sum(axis=1) / number[drawn].sum(axis=1)).std())


def compare_groups(one: str, other: str, shares: Mapping[str, np.ndarray]) -> Comparison:
    """Permutation test: how often random groups of these participants differ at least as much as the two methods."""
    a, b = shares[one], shares[other]
    difference = float(a.mean() - b.mean())
    together, rng = np.concatenate([a, b]), np.random.default_rng(0)
    mixed = rng.permuted(np.tile(together, (RESAMPLES, 1)), axis=1)
    random = mixed[:, : len(a)].mean(axis=1) - mixed[:, len(a) :].mean(axis=1)
    return _compared(one, other, difference, random)


def compare_within(one: str, other: str, differences: np.ndarray) -> Comparison:
    """Permutation test where everybody judged both: signs of the participants' ``differences``, from -1 to 1, are drawn anew."""
    signs = np.random.default_rng(0).choice((-1, 1), (RESAMPLES, len(differences)))
    return _compared(one, other, float(differences.mean()), (signs * differences).mean(axis=1))


def _compared(one: str, other: str, difference: float, random: np.ndarray) -> Comparison:
    p = (1 + int((abs(random) >= abs(difference) - 1e-12).sum())) / (1 + RESAMPLES)
    return Comparison(one, other, difference, p, p)


def holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with p adjusted for their number (Holm 1979)."""
    adjusted, least = {}, 0.0
    for rank, c in enumerate(sorted(comparisons, key=lambda c: c.p)):
        least = max(least, min(1.0, (len(comparisons) - rank) * c.p))
        adjusted[c.one, c.other] = least
    return tuple(replace(c, p_holm=adjusted[c.one, c.other]) for c in comparisons)

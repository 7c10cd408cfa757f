"""The ranking of methods that were compared in pairs: the model of Bradley and Terry (1952) and tests of each pair.

The strengths p of the methods are positive and add up to 1; i is preferred to j with probability p_i / (p_i + p_j). They are
fitted here and not by the package choix, as the interval needs thousands of fits, which are one computation with NumPy; a test
compares the two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from diptych.study.intervals import RESAMPLES, Comparison, Interval, compare_within, expanded, holm


def bradley_terry(wins: np.ndarray, *, steps: int = 10_000, tolerance: float = 1e-9) -> np.ndarray:
    """The most likely strengths (..., k), from how often i was preferred to j (..., k, k).

    By the iteration of Hunter (2004, eq. 3), which climbs to the maximum of the likelihood. A method that never won has strength
    0; without any comparison all are equal.
    """
    k = wins.shape[-1]
    met, won = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    strengths = np.full(wins.shape[:-1], 1 / k)
    for _ in range(steps):
        both = strengths[..., :, None] + strengths[..., None, :]
        faced = np.divide(met, both, out=np.zeros_like(both), where=both > 0).sum(-1)
        fresh = np.divide(won, faced, out=np.zeros_like(strengths), where=faced > 0)
        total = fresh.sum(-1, keepdims=True)
        fresh = np.divide(fresh, total, out=np.full_like(fresh, 1 / k), where=total > 0)
        moved = float(np.abs(fresh - strengths).max())
        strengths = fresh
        if moved < tolerance:
            break
    return strengths


def strengths_of(wins: np.ndarray) -> list[Interval]:
    """The strength of each method with its 95 % bootstrap interval over participants, from wins (participants, k, k)."""
    n, k, _ = wins.shape
    values = bradley_terry(wins.sum(0).astype(float))
    if n < 2:
        return [Interval(float(value), math.nan, math.nan, n) for value in values]
    times = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)  # how often each participant is drawn
    again = (times @ wins.reshape(n, k * k)).reshape(RESAMPLES, k, k).astype(float)
    draws = bradley_terry(again, steps=300, tolerance=1e-6)  # enough for the three decimals that are printed
    return [Interval(float(value), *expanded(draws[:, i], n), n) for i, value in enumerate(values)]


def compare_pairs(methods: Sequence[str], wins: np.ndarray) -> tuple[Comparison, ...]:
    """A test of each pair over the participants who compared it: the mean share of wins minus that of losses."""
    found = []
    for (i, one), (j, other) in itertools.combinations(enumerate(methods), 2):
        met = wins[:, i, j] + wins[:, j, i]
        if (judged := met > 0).any():
            differences = (wins[:, i, j] - wins[:, j, i])[judged] / met[judged]
            found.append(compare_within(one, other, differences))
    return holm(found)

"""MIND, the Monge inception distance: how far one set of features must be moved to become the other (arXiv 2605.06797)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from diptych.metrics.distribution import checked_features
from diptych.metrics.estimate import Estimate, student_interval

NUM_DIRECTIONS = 1000
BLOCK = 100  # directions at a time


def mind(x: Float[np.ndarray | Tensor, "n d"], y: Float[np.ndarray | Tensor, "m d"], *, seed: int = 0) -> float:
    """The mean over 1,000 seeded random unit directions of the squared Wasserstein-2 distance between projected features.

    In one dimension the optimal way to move one set to the other pairs both in their order. Sets of different sizes are moved in
    parts: quantile by quantile. At least 0, and like FID larger for small sets: two draws of one distribution are apart.
    Raises DataError when a set has fewer than two images or a feature is not finite.
    """
    return _mind(*checked_features(x, y), seed)[0]


def mind_estimate(
    x: Float[np.ndarray | Tensor, "n d"], y: Float[np.ndarray | Tensor, "m d"], *, paired: bool = False, seed: int = 0
) -> Estimate:
    """``mind`` with a 95 % interval: +- t standard errors of the infinitesimal jackknife, at least 0.

    As that of FID it is an interval of sets *of this size*. ``paired``: x[i] is of the same scene as y[i], and both are drawn
    together. n is the number of images of the smaller set. Raises DataError as in ``mind``, and for pairs that differ in number.
    """
    x, y = checked_features(x, y, paired)
    distance, slopes_x, slopes_y = _mind(x, y, seed)
    slopes = [slopes_x + slopes_y] if paired else [slopes_x, slopes_y]
    error = np.sqrt(sum(side.var(ddof=1) / len(side) for side in slopes))
    return student_interval(distance, float(error), min(len(x), len(y)), least=0.0)


def _mind(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, np.ndarray, np.ndarray]:
    """The distance, and its slope at the weight of each image of x and of y: the potentials of optimal transport."""
    random = np.random.default_rng(seed)
    total, slopes_x, slopes_y = 0.0, np.zeros(len(x)), np.zeros(len(y))
    # Quantiles: between two neighbours of the ends, one image of x goes to one image of y.
    ends = np.union1d(np.arange(1, len(x) + 1) * len(y), np.arange(1, len(y) + 1) * len(x))
    weights = np.diff(ends, prepend=0) / (len(x) * len(y))
    from_x, to_y = (ends - 1) // len(y), (ends - 1) // len(x)
    for _ in range(0, NUM_DIRECTIONS, BLOCK):
        directions = random.normal(size=(BLOCK, x.shape[1]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        along_x, along_y = directions @ x.T, directions @ y.T
        order_x, order_y = along_x.argsort(axis=1), along_y.argsort(axis=1)
        sorted_x, sorted_y = np.take_along_axis(along_x, order_x, 1), np.take_along_axis(along_y, order_y, 1)
        total += float(((sorted_x[:, from_x] - sorted_y[:, to_y]) ** 2 @ weights).sum())
        slopes_x += _potentials(sorted_x, sorted_y, order_x)
        slopes_y += _potentials(sorted_y, sorted_x, order_y)
    return total / NUM_DIRECTIONS, slopes_x / NUM_DIRECTIONS, slopes_y / NUM_DIRECTIONS


def _potentials(from_: np.ndarray, to: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The Kantorovich potential at each image, summed over directions: its slope is 2 (t - where t is moved to)."""
    n, m = from_.shape[1], to.shape[1]
    at = (np.arange(1, n) * m / n).clip(0.5, m - 0.5)  # between two neighbours of n, the quantile in images of m
    moved = (to[:, np.ceil(at).astype(int) - 1] + to[:, np.minimum(np.floor(at).astype(int), m - 1)]) / 2
    steps = np.diff(from_**2, axis=1) - 2 * moved * np.diff(from_, axis=1)
    potential = np.concatenate([np.zeros((len(from_), 1)), steps.cumsum(axis=1)], axis=1)
    placed = np.zeros_like(potential)
    np.put_along_axis(placed, order, potential, axis=1)
    found: np.ndarray = (placed - placed.mean(axis=1, keepdims=True)).sum(axis=0)
    return found

"""Precision and recall of a set of outputs, and how near training images are: what the nearest neighbours of features tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor

from diptych.errors import DataError
from diptych.metrics.distribution import checked_features
from diptych.metrics.estimate import Estimate, wilson_estimate

NEIGHBOURS = 3  # as published
BLOCK = 1024  # rows of a matrix of distances that are held in memory at a time


def precision_recall(
    made: Float[np.ndarray | Tensor, "n d"], real: Float[np.ndarray | Tensor, "m d"], neighbours: int = NEIGHBOURS
) -> tuple[Estimate, Estimate]:
    """Improved precision and recall (Kynkaanniemi et al. 2019), with Wilson's interval over the images that are judged.

    Precision is the share of outputs that lie within the reach of a real image: no farther than its third nearest real
    neighbour. Recall is the share of real images within the reach of an output. The interval holds the other set fixed.
    Raises DataError when a set has no more images than neighbours, or a feature is not finite.
    """
    made, real = checked_features(made, real)
    if (fewest := min(len(made), len(real))) <= neighbours:
        raise DataError(f"precision and recall need more than {neighbours} images a side, found {fewest}; give more images")
    return wilson_estimate(_within_reach(made, real, neighbours)), wilson_estimate(_within_reach(real, made, neighbours))


def _within_reach(points: np.ndarray, others: np.ndarray, neighbours: int) -> np.ndarray:
    """Which points are no farther from some other than that one's neighbour of this number among the others."""
    nearest = (np.partition(rows, neighbours, axis=1) for rows in _squares(others, others))
    reach = np.concatenate([rows[:, neighbours].copy() for rows in nearest])  # a view would keep all distances in memory
    return np.concatenate([(rows <= reach).any(axis=1) for rows in _squares(points, others)])


def nearest_distances(points: Float[np.ndarray | Tensor, "n d"], known: Float[np.ndarray | Tensor, "m d"]) -> np.ndarray:
    """The Euclidean distance (n,) of each point from the nearest known one."""
    points, known = (np.asarray(features, dtype=np.float64) for features in (points, known))
    return np.sqrt(np.concatenate([rows.min(axis=1) for rows in _squares(points, known)]))


def _squares(x: np.ndarray, y: np.ndarray) -> Iterator[Float[np.ndarray, "_ m"]]:
    """Squared distances of x and y, a block of rows at a time; those of equal rows are 0 but for rounding."""
    mean = y.mean(axis=0)  # distances do not change, but rounding is less
    x, y = x - mean, y - mean
    lengths = (y * y).sum(axis=1)
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK]
        yield ((rows * rows).sum(axis=1)[:, None] + lengths - 2 * rows @ y.T).clip(0)

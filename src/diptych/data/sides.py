"""Tell which pairs have A and B exchanged, by what kind of image each side shows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

LEAST_PAIRS = 24  # fewer do not tell the kinds of the sides apart from chance
EVIDENCE = 4.0  # of a pair, in nats, for one way round over the other; less is not clear
TOLD_APART = 0.95  # the share of pairs that must be clear before any is called exchanged
MINORITY = 1 / 3  # the share of pairs that may be exchanged: where more seem to be, the sides differ in something else
FOLDS = 8
RIDGE = 0.03  # variance added to every trait, where the deviation of all images is 1: gray images have no variance of colour


def side_traits(small: UInt8[np.ndarray, "64 64 3"]) -> Float[np.ndarray, " 12"]:
    """Describe what tells a kind of image, such as photographs, from another: colours, contrast, edges, plainness."""
    rgb = small[::2, ::2].astype(np.float32) / 255
    gray, colour = rgb.mean(2), rgb.max(2) - rgb.min(2)
    steps = np.abs(np.diff(gray, axis=0)[:, :-1]) + np.abs(np.diff(gray, axis=1)[:-1])
    more = (colour.mean(), colour.std(), steps.mean(), (steps < 0.02).mean(), (gray > 0.95).mean(), (gray < 0.05).mean())
    return np.array([*rgb.mean((0, 1)), *rgb.std((0, 1)), *more], np.float32)


def exchanged(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """Find the pairs that are the other way round than most, by the traits of their images.

    The traits of each side are modelled by a normal distribution (quadratic discriminant analysis, Hastie et al. 2009, 4.3),
    estimated from the other pairs, with those turned back that look exchanged, until none changes. Judging each image by its
    kind, and not the difference within the pair, keeps apart what looks alike: in pairs where A is too dark or too bright and B
    is right, the difference has either sign, but a dark A is still none of the B. Where the sides cannot be told apart no pair
    is named.
    """
    both = np.concatenate([a, b]).astype(np.float64)
    if len(a) < LEAST_PAIRS:
        return np.zeros(len(a), bool)
    a, b = ((side - both.mean(0)) / (both.std(0) + 1e-3) for side in (a, b))
    turned = np.zeros(len(a), bool)
    for _ in range(10):
        evidence = _evidence(a, b, turned)
        if (turned == (evidence < 0)).all():
            break
        turned = evidence < 0
    if (np.abs(evidence) > EVIDENCE).mean() < TOLD_APART or turned.mean() > MINORITY:
        return np.zeros(len(a), bool)
    found: np.ndarray = evidence < -EVIDENCE
    return found


def _evidence(a: np.ndarray, b: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """For each pair the logarithm of how much likelier it is as it stands than exchanged, by the other pairs."""
    as_a, as_b = np.where(turned[:, None], b, a), np.where(turned[:, None], a, b)
    evidence = np.empty(len(a))
    for fold in range(FOLDS):
        held_out = np.arange(len(a)) % FOLDS == fold
        kind_a, kind_b = _normal(as_a[~held_out]), _normal(as_b[~held_out])
        of_a, of_b = (_log_density(side[held_out], *kind_a) - _log_density(side[held_out], *kind_b) for side in (a, b))
        evidence[held_out] = of_a - of_b
    return evidence


def _normal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and Cholesky factor of the covariance, which is shrunk to its diagonal where there are few values."""
    number, traits = values.shape
    covariance = np.cov(values.T)
    shrink = traits / (number + traits)
    covariance = (1 - shrink) * covariance + shrink * np.diag(np.diag(covariance)) + RIDGE * np.eye(traits)
    return values.mean(0), np.linalg.cholesky(covariance)


def _log_density(values: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The logarithm of a normal density, but for a constant."""
    distances: np.ndarray = np.linalg.solve(factor, (values - mean).T)
    density: np.ndarray = -0.5 * (distances**2).sum(0) - np.log(np.diag(factor)).sum()
    return density

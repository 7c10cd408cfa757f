"""Two systems compared by scores of whole sets, KID and FCN-scores: both outputs of an image are exchanged, drawn or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float, Real

from diptych.metrics.distribution import checked_features, cubic_kernel, drawn_apart, mmd
from diptych.metrics.estimate import MIN_FOR_INTERVAL, jackknife_error
from diptych.metrics.segmentation import SegmentationScores, scores
from diptych.metrics.two_level import Variance

DRAWS = 200  # of the bootstrap of KID


class SetScore(Protocol):
    """A score of a set of images, from what is kept of each image.

    ``value`` is that of the whole set. ``changes`` are values of the set when images are drawn again or left out, in the same
    way for all sets of equal number. ``exchanged`` are differences from another set: the observed one, and those after the two
    outputs of images are exchanged at random.
    """

    @property
    def n(self) -> int: ...
    def value(self) -> float: ...
    def changes(self) -> Float[np.ndarray, " r"]: ...
    def variance(self, changes: Float[np.ndarray, " r"]) -> Variance: ...
    def exchanged(self, other: SetScore, signs: Float[np.ndarray, "p n"]) -> Float[np.ndarray, " p"]: ...


@dataclass(frozen=True)
class KidScore:
    """KID of outputs, from their features and those of real images; ``paired`` as in diptych.metrics.distribution.kid."""

    made: Float[np.ndarray, "n d"]
    real: Float[np.ndarray, "m d"]
    paired: bool

    @property
    def n(self) -> int:
        """The number of outputs."""
        return len(self.made)

    def value(self) -> float:
        """KID."""
        ones = np.ones((1, self.n)), np.ones((1, len(self.real)))
        return float(mmd(*checked_features(self.made, self.real, self.paired), *ones, self.paired)[0])

    def changes(self) -> Float[np.ndarray, " r"]:
        """KID of sets that are drawn again, with the same draws for all sets of as many images."""
        random = np.random.default_rng(0)
        drawn = np.stack(list(drawn_apart(random, self.n, DRAWS)))[1:]
        of_real = drawn if self.paired else np.stack(list(drawn_apart(random, len(self.real), DRAWS)))[1:]
        return mmd(*checked_features(self.made, self.real, self.paired), drawn, of_real, self.paired)

    def variance(self, changes: Float[np.ndarray, " r"]) -> Variance:
        """The variance of drawn values."""
        return Variance(float(np.var(changes, ddof=1)), self.n - 1)

    def exchanged(self, other: SetScore, signs: Float[np.ndarray, "p n"]) -> Float[np.ndarray, " p"]:
        """Differences of KID after outputs with sign -1 are exchanged."""
        assert isinstance(other, KidScore), "one kind of score"
        return signs @ kid_exchange_scores(self.made, other.made, self.real, self.paired) / self.n


@dataclass(frozen=True)
class FcnScore:
    """An FCN-score (pixel, per_class or iou) of outputs, from the counts of each image (diptych.metrics.segmentation)."""

    counts: Real[np.ndarray, "n k columns"]
    which: str

    @property
    def n(self) -> int:
        """The number of outputs."""
        return len(self.counts)

    def value(self) -> float:
        """The score of all pixels."""
        return self._pooled(self.counts.sum(axis=0))

    def changes(self) -> Float[np.ndarray, " n"]:
        """The score without each image in turn."""
        total = self.counts.sum(axis=0)
        return np.array([self._pooled(total - counts) for counts in self.counts])

    def variance(self, changes: Float[np.ndarray, " n"]) -> Variance:
        """The variance by the jackknife."""
        return Variance(jackknife_error(changes) ** 2, self.n - 1)

    def exchanged(self, other: SetScore, signs: Float[np.ndarray, "p n"]) -> Float[np.ndarray, " p"]:
        """Differences of the score after outputs with sign -1 are exchanged."""
        assert isinstance(other, FcnScore), "one kind of score"
        both = self.counts.sum(axis=0) + other.counts.sum(axis=0)
        kept, own, others = (signs > 0).astype(np.float64), self.counts.reshape(self.n, -1), other.counts.reshape(self.n, -1)
        first = (kept @ own + (1 - kept) @ others).reshape(len(signs), *both.shape)
        return np.array([self._pooled(counts) - self._pooled(both - counts) for counts in first])

    def _pooled(self, counts: np.ndarray) -> float:
        found: SegmentationScores = scores(counts)
        return float(getattr(found, self.which))


def kid_exchange_scores(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"], paired: bool
) -> Float[np.ndarray, " n"]:
    """One number for each image: their mean is KID(x, real) - KID(y, real), and exchanging x_i and y_i changes the sign of s_i.

    s_i = sum over j != i of (k(x_i, x_j) - k(y_i, y_j) + k(x_i, y_j) - k(y_i, x_j)) / (n - 1)
          - 2 mean over r of (k(x_i, r) - k(y_i, r)).
    For any exchange of outputs the difference of KID is the mean of the signed numbers, so that a test by exchanging outputs is
    the test by signs of a mean. ``paired`` leaves out r_i, as KID of pairs does.
    """
    x, real = checked_features(x, real, paired)
    y, real = checked_features(y, real, paired)
    n, m = len(x), len(real)
    among = cubic_kernel(x, x) - cubic_kernel(y, y) + cubic_kernel(x, y) - cubic_kernel(y, x)
    across = cubic_kernel(x, real) - cubic_kernel(y, real)
    if paired:
        np.fill_diagonal(across, 0.0)
        m -= 1
    np.fill_diagonal(among, 0.0)
    found: np.ndarray = among.sum(axis=1) / (n - 1) - 2 * across.sum(axis=1) / m
    return found


def images_variance(one: Sequence[SetScore], other: Sequence[SetScore]) -> Variance:
    """The variance over images of the mean of some trainings less that of others; NaN of too few images."""
    if one[0].n < MIN_FOR_INTERVAL:
        return Variance(float("nan"), 1)
    apart = np.mean([score.changes() for score in one], axis=0) - np.mean([score.changes() for score in other], axis=0)
    return one[0].variance(apart)

"""Whether maps of uncertainty are right: how well they rank the true error, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diptych.metrics.estimate import Estimate, mean_estimate

TENTHS = 10
POOLED = 4096  # pixels of each image that the table of tenths is made from
FEWEST = 3  # images between which ranks are compared


@dataclass(frozen=True)
class Calibration:
    """How well one kind of map ranks the true error.

    ``within`` is Spearman's rank correlation over the pixels of an image, the mean over ``images`` with its 95 % interval; images
    whose map or error is constant have none and are left out. ``among`` is that of the means of whole images, NaN for fewer
    than three. ``tenths`` are the mean value of the map and the mean error of each tenth of pixels, from the least value on.
    """

    images: int
    within: Estimate | None
    among: float
    tenths: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        within = "no rank correlation within images, as the map is constant"
        if self.within:
            low, high = self.within.low, self.within.high
            between = f" ({low:.2f} to {high:.2f})" if np.isfinite([low, high]).all() else ""
            within = f"{self.within.value:.2f}{between} within images"
        return within + (f", {self.among:.2f} among {self.images} images" if np.isfinite(self.among) else "")

    def as_json(self) -> dict[str, Any]:
        """The values for JSON, which has no NaN; None where there is no number."""
        within = self.within and {name: _or_none(value) for name, value in asdict(self.within).items()}
        return {"images": self.images, "within": within, "among": _or_none(self.among), "tenths": self.tenths}


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def calibration(pairs: Iterable[tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]]) -> Calibration:
    """Compare maps with true errors, image by image; pixels where either is NaN are left out."""
    within, means, pooled = [], [], []
    for number, (found, error) in enumerate(pairs):
        known = np.isfinite(found) & np.isfinite(error)
        x, y = found[known], error[known]
        if not len(x):
            continue
        if np.isfinite(each := rank_correlation(x, y)):
            within.append(each)
        means.append((float(x.mean()), float(y.mean())))
        chosen = np.random.default_rng(number).permutation(len(x))[:POOLED]
        pooled.append((x[chosen], y[chosen]))
    among = rank_correlation(*map(np.asarray, zip(*means, strict=True))) if len(means) >= FEWEST else float("nan")
    return Calibration(len(means), mean_estimate(within) if within else None, among, _tenths(pooled))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of two lists of numbers, equal ones sharing their mean rank; NaN where one is constant."""
    ranks = [_ranks(np.asarray(values).ravel()) for values in (x, y)]
    if min(float(np.ptp(rank)) for rank in ranks) == 0.0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Float[np.ndarray, " n"] | Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _tenths(pooled: list[tuple[np.ndarray, np.ndarray]]) -> tuple[tuple[float, float], ...]:
    if not pooled:
        return ()
    x, y = (np.concatenate(values) for values in zip(*pooled, strict=True))
    parts = np.array_split(np.argsort(x, kind="stable"), TENTHS)
    return tuple((float(x[part].mean()), float(y[part].mean())) for part in parts if len(part))

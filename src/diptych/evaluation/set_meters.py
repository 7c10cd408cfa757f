"""Meters of two sets of images: FID and KID of features, and what the sets have in common in colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.meters import Row
from diptych.evaluation.results import Of
from diptych.evaluation.subject import ImageBatch, Subject, rgb8
from diptych.metrics.colour import intersection_estimates, lab_histograms
from diptych.metrics.distribution import FID_ENOUGH, fid_estimate, kid_estimate, kid_p_value
from diptych.metrics.features import Extractor


class FeatureMeter:
    """FID and KID of the outputs, and of the unchanged inputs, against the real images, in the features of one network."""

    def __init__(
        self,
        metrics: Sequence[str],
        extractor: Extractor,
        subject: Subject,
        cache: FeatureCache,
        *,
        seed: int = 0,
        resamples: int = 1000,
    ) -> None:
        self.metrics, self.extractor, self.subject, self.cache = metrics, extractor, subject, cache
        self.seed, self.resamples = seed, resamples
        self.features: dict[Of, list[Tensor]] = {"model": [], "copy": [], "truth": []}

    def see(self, batch: ImageBatch) -> None:
        """Take the features of a batch."""
        self._add("model", rgb8(self.subject.target, batch.y))
        if batch.x is not None and self.subject.source.kind != "multiband":
            self._add("copy", rgb8(self.subject.source, batch.x))

    def real(self, images: Tensor) -> None:
        """Take the features of real images."""
        self._add("truth", rgb8(self.subject.target, images))

    def rows(self) -> Iterator[Row]:
        """Distances between the sets."""
        found = {of: torch.cat(parts).double().numpy() for of, parts in self.features.items() if parts}
        for metric in self.metrics:
            for of in ("model", "copy"):
                if of in found:
                    yield self._row(metric, of, found[of], found["truth"])

    def image_scores(self) -> dict[str, list[float]]:
        """Nothing: a distance of sets has no scores by image."""
        return {}

    def _row(self, metric: str, of: Of, made: np.ndarray, real: np.ndarray) -> Row:
        paired = self.subject.paired
        if metric == "fid":
            fewest = min(len(made), len(real))
            return Row(
                "fid",
                of,
                fid_estimate(made, real, paired=self.subject.paired),
                f"biased, N={fewest:,}" if fewest < FID_ENOUGH else "",
            )
        paired = self.subject.paired
        estimate = kid_estimate(made, real, paired=paired, seed=self.seed, resamples=self.resamples)
        p = kid_p_value(made, real, paired=paired, seed=self.seed, permutations=self.resamples)
        return Row("kid", of, estimate, f"p = {p:.2g}", p)

    def _add(self, of: Of, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.features[of].append(self.cache.features(self.extractor, images))


class LabMeter:
    """Similarity of colours: intersection of the histograms of L, a and b over two sets (Isola et al. 2017, section 4.2)."""

    def __init__(self, metrics: Sequence[str], subject: Subject) -> None:
        self.metrics, self.subject = metrics, subject
        self.counts: dict[Of, list[np.ndarray]] = {"model": [], "copy": [], "truth": []}

    def see(self, batch: ImageBatch) -> None:
        """Count the colours of a batch."""
        self._add("model", rgb8(self.subject.target, batch.y))
        if batch.x is not None and self.subject.source.kind == "rgb":
            self._add("copy", rgb8(self.subject.source, batch.x))

    def real(self, images: Tensor) -> None:
        """Count the colours of real images."""
        self._add("truth", rgb8(self.subject.target, images))

    def rows(self) -> Iterator[Row]:
        """The intersection of outputs, and of unchanged inputs, with the real images."""
        truth = np.concatenate(self.counts["truth"])
        for of in ("model", "copy"):
            if counts := self.counts[of]:
                found = intersection_estimates(np.concatenate(counts), truth, paired=self.subject.paired)
                for metric in self.metrics:
                    yield Row(metric, of, {f"lab_{name.lower()}": estimate for name, estimate in found.items()}[metric])

    def image_scores(self) -> dict[str, list[float]]:
        """Nothing: a distance of sets has no scores by image."""
        return {}

    def _add(self, of: Of, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.counts[of].append(lab_histograms(images))

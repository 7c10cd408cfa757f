"""Meters of two sets of images: distances of their features, how near training images are, and the colours they have in common.

The row ``truth`` of each is the floor: real images against the real images that outputs are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.kept import KeptRows
from diptych.evaluation.meters import Row
from diptych.evaluation.results import Of
from diptych.evaluation.subject import ImageBatch, Subject, rgb8
from diptych.metrics.colour import intersection_estimates, lab_histograms
from diptych.metrics.distribution import FID_ENOUGH, fid_estimate, kid_estimate, kid_p_value
from diptych.metrics.estimate import MIN_FOR_INTERVAL, Estimate, mean_estimate
from diptych.metrics.features import Extractor
from diptych.metrics.manifold import NEIGHBOURS, nearest_distances, precision_recall
from diptych.metrics.mind import mind_estimate
from diptych.metrics.set_differences import KidScore, SetScore
from diptych.metrics.two_level import p_value, spread_of_means
from diptych.sheets import spread

TRAINED = "trained"
"""The key of training images among what a meter of sets keeps."""


class FeatureMeter:
    """Distances of the outputs, and of the unchanged inputs, from the real images, in the features of one network.

    ``nearest`` is the distance of each output from the nearest training image, beside that of real images that were not trained
    on: outputs that are nearer may be copies of what was learnt by heart.
    """

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
        self.kept = {of: KeptRows() for of in ("model", "copy", "truth", TRAINED)}

    def see(self, batch: ImageBatch) -> None:
        """Take the features of a batch."""
        self._add("model", rgb8(self.subject.target, batch.y))
        if batch.x is not None and self.subject.source.kind != "multiband":
            self._add("copy", rgb8(self.subject.source, batch.x))

    def real(self, images: Tensor) -> None:
        """Take the features of real images."""
        self._add("truth", rgb8(self.subject.target, images))

    def trained(self, images: Tensor) -> None:
        """Take the features of training images of the target side."""
        self._add(TRAINED, rgb8(self.subject.target, images))

    def rows(self) -> Iterator[Row]:
        """Distances between the sets, and the floor."""
        found = self.joined
        real = found["truth"]
        for metric in self.metrics:
            if metric == "nearest":
                yield from self._nearest(found)
                continue
            for of in ("model", "copy"):
                if of in found:
                    yield self._row(metric, of, found[of], real, self.subject.paired)
            one, other, how = floor_sets(real, found.get(TRAINED), len(found["model"]), self.seed)
            if len(one) > NEIGHBOURS and len(other) > NEIGHBOURS:
                row = self._row(metric, "truth", one, other, False)
                yield row._replace(note=", ".join(filter(None, (how, row.note))))

    def image_scores(self) -> dict[str, list[float]]:
        """The distance of each output from the nearest training image; other distances are of sets."""
        if "nearest" not in self.metrics:
            return {}
        found = self.joined
        return {"nearest": nearest_distances(found["model"], found[TRAINED]).tolist()}

    def sets(self) -> dict[str, SetScore]:
        """What another system's KID is compared with."""
        found = self.joined
        return {"kid": KidScore(found["model"], found["truth"], self.subject.paired)} if "kid" in self.metrics else {}

    @cached_property
    def joined(self) -> dict[str, Float[np.ndarray, "n d"]]:
        """The features of each set in double precision, in place of what was kept, which is let go of."""
        return {of: kept.take().astype(np.float64) for of, kept in self.kept.items() if len(kept)}

    def _row(self, metric: str, of: Of, made: np.ndarray, real: np.ndarray, paired: bool) -> Row:
        fewest = min(len(made), len(real))
        if metric == "fid":
            note = f"biased, N={fewest:,}" if fewest < FID_ENOUGH else ""
            return Row("fid", of, fid_estimate(made, real, paired=paired), note)
        if metric == "mind":
            found = mind_estimate(made, real, paired=paired, seed=self.seed)
            return Row("mind", of, found, f"root {math.sqrt(found.value):.3g}, N={fewest:,}")
        if metric in ("precision", "recall"):
            return Row(metric, of, precision_recall(made, real)[metric == "recall"])
        estimate = kid_estimate(made, real, paired=paired, seed=self.seed, resamples=self.resamples)
        p = kid_p_value(made, real, paired=paired, seed=self.seed, permutations=self.resamples)
        return Row("kid", of, estimate, f"p = {p:.2g}", p)

    def _nearest(self, found: Mapping[str, np.ndarray]) -> Iterator[Row]:
        outputs, reals = (nearest_distances(found[of], found[TRAINED]) for of in ("model", "truth"))
        yield Row("nearest", "model", mean_estimate(outputs), memorised(outputs, reals))
        yield Row("nearest", "truth", mean_estimate(reals), "real images not trained on")

    def _add(self, of: str, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.kept[of].add(self.cache.features(self.extractor, images).numpy())


def floor_sets(real: np.ndarray, trained: np.ndarray | None, num: int, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Two sets of real images whose distance is the least that can be expected, and a remark that says which they are.

    As many training images as there are outputs, evenly chosen, against the real images that outputs are compared with; where no
    training images are known, two halves of the latter at random.
    """
    if trained is not None:
        chosen = np.array(spread(range(len(trained)), num))
        return trained[chosen], real, f"{len(chosen):,} training images"
    order = np.random.default_rng(seed).permutation(len(real))
    half = len(real) // 2
    return real[order[:half]], real[order[half:]], f"halves of {len(real):,} real images"


def memorised(outputs: np.ndarray, reals: np.ndarray) -> str:
    """A remark where outputs are nearer to training images than real images are, by Welch's test at 5 %; else nothing."""
    if min(len(outputs), len(reals)) < MIN_FOR_INTERVAL:
        return ""
    apart = float(outputs.mean() - reals.mean())
    p = p_value(apart, [spread_of_means(outputs), spread_of_means(reals)])
    return f"nearer to training images than real ones are (p = {p:.2g}): memorised?" if apart < 0 and p <= 0.05 else ""


class LabMeter:
    """Similarity of colours: intersection of the histograms of L, a and b over two sets (Isola et al. 2017, section 4.2)."""

    def __init__(self, metrics: Sequence[str], subject: Subject, seed: int = 0) -> None:
        self.metrics, self.subject, self.seed = metrics, subject, seed
        self.kept = {of: KeptRows() for of in ("model", "copy", "truth", TRAINED)}

    def see(self, batch: ImageBatch) -> None:
        """Count the colours of a batch."""
        self._add("model", rgb8(self.subject.target, batch.y))
        if batch.x is not None and self.subject.source.kind == "rgb":
            self._add("copy", rgb8(self.subject.source, batch.x))

    def real(self, images: Tensor) -> None:
        """Count the colours of real images."""
        self._add("truth", rgb8(self.subject.target, images))

    def trained(self, images: Tensor) -> None:
        """Count the colours of training images of the target side."""
        self._add(TRAINED, rgb8(self.subject.target, images))

    def rows(self) -> Iterator[Row]:
        """The intersection of outputs, of unchanged inputs, and of other real images, with the real images."""
        found = {of: kept.joined() for of, kept in self.kept.items() if len(kept)}
        real = found["truth"]
        for of in ("model", "copy"):
            if of in found:
                yield from self._rows(of, intersection_estimates(found[of], real, paired=self.subject.paired), "")
        one, other, how = floor_sets(real, found.get(TRAINED), len(found["model"]), self.seed)
        if len(one) and len(other):
            yield from self._rows("truth", intersection_estimates(one, other, paired=False), how)

    def image_scores(self) -> dict[str, list[float]]:
        """Nothing: a distance of sets has no scores by image."""
        return {}

    def _rows(self, of: Of, found: Mapping[str, Estimate], note: str) -> Iterator[Row]:
        for channel, estimate in found.items():
            if f"lab_{channel.lower()}" in self.metrics:
                yield Row(f"lab_{channel.lower()}", of, estimate, note)

    def _add(self, of: str, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.kept[of].add(lab_histograms(images))

"""Meters: each sees every batch once and gives its numbers at the end. There is one meter for each kind of measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from diptych.data.augment import to_tensor
from diptych.data.datasets import read_as
from diptych.data.splits import Ref
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.results import Of
from diptych.evaluation.subject import ImageBatch, Subject, Translate, rgb8
from diptych.metrics.colour import intersection_estimates, lab_histograms
from diptych.metrics.distribution import FID_ENOUGH, fid_estimate, kid_estimate, kid_p_value
from diptych.metrics.estimate import Estimate, mean_estimate
from diptych.metrics.features import Extractor
from diptych.metrics.judges import Judge, target_rate
from diptych.metrics.segmentation import Palette, confusion, fcn_estimates
from diptych.metrics.style import StyleDistance, gram
from diptych.nets.backbones import full_precision
from diptych.pixels import Domain

Compare = Callable[[Tensor, Tensor], Tensor]
"""Two batches in [-1, 1] to one number for each pair of images."""


class Row(NamedTuple):
    """One number of a meter: whose it is, a remark such as ``biased, N=106``, and the p-value of a test where there is one."""

    metric: str
    of: Of
    estimate: Estimate
    note: str = ""
    p: float | None = None


class Meter(Protocol):
    """What every meter does.

    ``see`` gets all batches of outputs, and ``real`` all batches of real images of the target side, as native pixels. Without
    pairs the real images come first. ``rows`` are the numbers; ``image_scores`` are those of each image, by metric.
    """

    def see(self, batch: ImageBatch) -> None: ...
    def real(self, images: Tensor) -> None: ...
    def rows(self) -> Iterator[Row]: ...
    def image_scores(self) -> dict[str, list[float]]: ...


class PairMeter:
    """A distance between output and truth, beside the distances of the unchanged input and of one flat colour."""

    def __init__(
        self,
        metric: str,
        compare: Compare,
        *,
        mean: Float[Tensor, " c"] | None = None,
    ) -> None:
        self.metric, self.compare, self.mean = metric, compare, mean
        self.values: dict[Of, list[float]] = {"model": [], "copy": [], "mean": []}

    def see(self, batch: ImageBatch) -> None:
        """Compare a batch."""
        guesses: dict[Of, Tensor] = {"model": batch.fake}
        if batch.x is not None and batch.given.shape == batch.truth.shape:
            guesses["copy"] = batch.given
        if self.mean is not None:
            guesses["mean"] = self.mean.to(batch.truth)[None, :, None, None].expand_as(batch.truth)
        with torch.no_grad():
            for of, guess in guesses.items():
                self.values[of] += self.compare(guess, batch.truth).tolist()

    def real(self, images: Tensor) -> None:
        """Do nothing: the truth of pairs is in the batches."""

    def rows(self) -> Iterator[Row]:
        """Means over the images."""
        for of, values in self.values.items():
            if values:
                total = len(self.values["model"])
                note = f"{len(values)} of {total} images" if len(values) < total else ""
                yield Row(self.metric, of, mean_estimate(values), note)

    def image_scores(self) -> dict[str, list[float]]:
        """The score of each output."""
        return {self.metric: self.values["model"]}


class StyleMeter:
    """Style distance without pairs: of each output from the mean Gram matrices of all real images.

    They stand for the average style of the target domain, as Zhu et al. (2017, section 5.2) gave it to Gatys et al.
    """

    def __init__(self, style: StyleDistance, subject: Subject) -> None:
        self.style, self.subject = style, subject
        self.sums: list[Tensor] = []
        self.num_real = 0
        self.values: dict[Of, list[float]] = {"model": [], "copy": []}

    def real(self, images: Tensor) -> None:
        """Add the Gram matrices of real images."""
        found = [matrix.sum(0) for matrix in self._grams(self.subject.target.encode(images))]
        self.sums = [one + other for one, other in zip(self.sums, found, strict=True)] if self.sums else found
        self.num_real += len(images)

    def see(self, batch: ImageBatch) -> None:
        """Compare a batch with the mean of the real images."""
        guesses: dict[Of, Tensor] = {"model": batch.fake}
        if batch.x is not None and self.subject.source.kind != "multiband":
            guesses["copy"] = batch.given
        for of, guess in guesses.items():
            differences = zip(self._grams(guess), self.sums, strict=True)
            taps = [(found - total / self.num_real).square().sum(dim=(1, 2)) for found, total in differences]
            self.values[of] += torch.stack(taps).sum(0).tolist()

    def rows(self) -> Iterator[Row]:
        """Means over the images."""
        for of, values in self.values.items():
            if values:
                yield Row("style", of, mean_estimate(values))

    def image_scores(self) -> dict[str, list[float]]:
        """The score of each output."""
        return {"style": self.values["model"]}

    def _grams(self, x: Tensor) -> list[Tensor]:
        with torch.no_grad(), full_precision(x.device):
            return [gram(tap) for tap in self.style.net(x)]


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


class CycleMeter:
    """Cycle error: mean |F(G(x)) - x| in [-1, 1]. The image between the two translations is rounded to native pixels."""

    def __init__(self, back: Translate) -> None:
        self.back = back
        self.values: list[float] = []

    def see(self, batch: ImageBatch) -> None:
        """Translate a batch back."""
        returned = batch.subject.source.encode(self.back(batch.y.cpu()).to(batch.given.device))
        self.values += (returned - batch.given).abs().mean(dim=(1, 2, 3)).tolist()

    def real(self, images: Tensor) -> None:
        """Do nothing: the cycle needs no real images of the other side."""

    def rows(self) -> Iterator[Row]:
        """The mean over the images."""
        yield Row("cycle", "model", mean_estimate(self.values))

    def image_scores(self) -> dict[str, list[float]]:
        """The cycle error of each image."""
        return {"cycle": self.values}


class LabelMeter:
    """FCN-score: the classes found in the output against the correct ones (Isola et al. 2017; Zhu et al. 2017).

    From labels to photos, a segmenter finds classes in the output, and the colours of the input are the correct ones; with
    pairs, the same segmenter's score on the real photos is the row ``truth``. From photos to labels, the colours of output
    and truth are compared, and no segmenter is needed. Label maps become classes before they are resized.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        palette: Palette,
        segmenter: Judge | None,
    ) -> None:
        self.metrics, self.palette, self.segmenter = metrics, palette, segmenter
        self.counts: dict[Of, list[np.ndarray]] = {"model": [], "truth": []}

    def see(self, batch: ImageBatch) -> None:
        """Count the classes of a batch."""
        source, target = batch.subject.source, batch.subject.target
        if self.segmenter is None:
            assert batch.t is not None, "photos to labels needs pairs"
            right = self._classes(batch, batch.subject.targets, target, batch.t)
            self._add("model", self.palette.labels(rgb8(target, batch.y)), right)
            return
        assert batch.x is not None, "labels to photos needs the labels"
        right = self._classes(batch, batch.subject.inputs, source, batch.x)
        self._add("model", self.segmenter(rgb8(target, batch.y)), right)
        if batch.t is not None:
            self._add("truth", self.segmenter(rgb8(target, batch.t)), right)

    def real(self, images: Tensor) -> None:
        """Do nothing: without its labels a real photo cannot be scored."""

    def rows(self) -> Iterator[Row]:
        """The three scores of the outputs, and of real photos."""
        for of, counts in self.counts.items():
            if counts:
                estimates = fcn_estimates(np.concatenate(counts))
                for metric in self.metrics:
                    yield Row(metric, of, estimates[metric.removeprefix("fcn_")])

    def image_scores(self) -> dict[str, list[float]]:
        """Nothing: classes are counted over all images together."""
        return {}

    def _classes(self, batch: ImageBatch, refs: Sequence[Ref], domain: Domain, seen: Tensor) -> Tensor:
        """The classes of label maps, found at their own size and brought to that of ``seen`` without mixing colours."""
        config = batch.subject.config
        if config is None or config.resize == "none":
            return self.palette.labels(rgb8(domain, seen))
        every = []
        for ref in refs[batch.first : batch.first + len(seen)]:
            own = self.palette.labels(rgb8(domain, to_tensor(read_as(ref, domain))[None].to(seen.device)))
            resized = F.interpolate(own[None].double(), size=seen.shape[2:], mode="nearest-exact")  # exact for whole numbers
            every.append(resized[0].long())
        return torch.cat(every)

    def _add(self, of: Of, predicted: Tensor, right: Tensor) -> None:
        self.counts[of].append(confusion(predicted, right, self.palette.num_classes).cpu().numpy())


class ClassMeter:
    """Target rate: the share of outputs, real images and inputs that an independent classifier assigns to the target class."""

    def __init__(self, classifier: Judge, target: int, subject: Subject) -> None:
        self.classifier, self.target, self.subject = classifier, target, subject
        self.classes: dict[Of, list[Tensor]] = {"model": [], "copy": [], "truth": []}

    def see(self, batch: ImageBatch) -> None:
        """Classify a batch."""
        self._add("model", rgb8(self.subject.target, batch.y))
        if batch.x is not None:
            self._add("copy", rgb8(self.subject.source, batch.x))

    def real(self, images: Tensor) -> None:
        """Classify real images."""
        self._add("truth", rgb8(self.subject.target, images))

    def rows(self) -> Iterator[Row]:
        """The three rates."""
        for of, classes in self.classes.items():
            if classes:
                yield Row("target_rate", of, target_rate(torch.cat(classes).numpy(), self.target))

    def image_scores(self) -> dict[str, list[float]]:
        """Whether each output passes."""
        return {"target_rate": (torch.cat(self.classes["model"]) == self.target).double().tolist()}

    def _add(self, of: Of, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.classes[of].append(self.classifier(images).cpu())


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

"""Meters of classes: those of pixels (FCN-score) and those of images (target rate)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from diptych.data.augment import to_tensor
from diptych.data.datasets import read_as
from diptych.data.splits import Ref
from diptych.evaluation.meters import Row
from diptych.evaluation.results import Of
from diptych.evaluation.subject import ImageBatch, Subject, rgb8
from diptych.metrics.judges import Judge, target_rate
from diptych.metrics.segmentation import Palette, confusion, fcn_estimates
from diptych.metrics.set_differences import FcnScore, SetScore
from diptych.pixels import Domain


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

    def sets(self) -> dict[str, SetScore]:
        """What another system's scores are compared with."""
        counts = np.concatenate(self.counts["model"])
        which = {"fcn_pixel": "pixel", "fcn_class": "per_class", "fcn_iou": "iou"}
        return {metric: FcnScore(counts, which[metric]) for metric in self.metrics}

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

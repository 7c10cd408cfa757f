"""Meters of classes: those of pixels (FCN-score) and those of images (target rate)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from diptych.data.augment import to_tensor
from diptych.data.datasets import read_as
from diptych.data.splits import Ref
from diptych.errors import DataError
from diptych.evaluation.kept import KeptRows
from diptych.evaluation.meters import Row
from diptych.evaluation.results import Of
from diptych.evaluation.subject import ImageBatch, Subject, real_images, rgb8
from diptych.metrics.judges import Judge, target_rate
from diptych.metrics.probe import SIDES, better_probe, is_probe
from diptych.metrics.segmentation import Palette, class_table, confusion, fcn_estimates
from diptych.metrics.set_differences import FcnScore, SetScore
from diptych.pixels import Domain
from diptych.sheets import spread

SCORED, NATIVE = "fcn_", "fcn_native_"  # how metrics begin, at the size that was scored and at that of the label maps
COUNTED: tuple[Of, ...] = ("model", "truth")  # whose classes are counted: those of outputs, and of real photos
LEAST_RIGHT = 0.9  # of the real images of both sides that a classifier must tell apart
MAX_TO_TRY = 200  # images of each side


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
        self.kept = {prefix + of: KeptRows() for prefix in (SCORED, NATIVE) for of in COUNTED}
        self.at_native = any(metric.startswith(NATIVE) for metric in metrics)

    def see(self, batch: ImageBatch) -> None:
        """Count the classes of a batch."""
        source, target = batch.subject.source, batch.subject.target
        if self.segmenter is None:
            assert batch.t is not None, "photos to labels needs pairs"
            right = self._classes(batch, batch.subject.targets, target, batch.t)
            self._add("model", self.palette.labels(rgb8(target, batch.y)), right)
            self._see_native("model", batch, batch.subject.targets, target, batch.y)
            return
        assert batch.x is not None, "labels to photos needs the labels"
        right = self._classes(batch, batch.subject.inputs, source, batch.x)
        seen: dict[Of, Tensor | None] = {"model": batch.y, "truth": batch.t}
        for of, photos in seen.items():
            if photos is not None:
                self._add(of, self.segmenter(rgb8(target, photos)), right)
                self._see_native(of, batch, batch.subject.inputs, source, photos)

    def real(self, images: Tensor) -> None:
        """Do nothing: without its labels a real photo cannot be scored."""

    def rows(self) -> Iterator[Row]:
        """The three scores of the outputs, and of real photos, at the size that was scored and at that of the label maps."""
        for prefix in (SCORED, NATIVE):
            for of in COUNTED:
                counts = self.kept[prefix + of]
                estimates = fcn_estimates(counts.joined()) if len(counts) else {}
                for name, estimate in estimates.items():
                    if prefix + name in self.metrics:
                        yield Row(prefix + name, of, estimate)

    def image_scores(self) -> dict[str, list[float]]:
        """Nothing: classes are counted over all images together."""
        return {}

    def sets(self) -> dict[str, SetScore]:
        """What another system's scores are compared with."""
        which = {"pixel": "pixel", "class": "per_class", "iou": "iou"}
        return {
            prefix + name: FcnScore(self.kept[f"{prefix}model"].joined(), score)
            for prefix in (SCORED, NATIVE)
            for name, score in which.items()
            if prefix + name in self.metrics
        }

    def classes(self) -> list[dict[str, Any]]:
        """Each class that occurs in the truth: its colour, its share of pixels, and how well it is found in the outputs."""
        rows = class_table(self.kept[f"{SCORED}model"].joined())
        colours = self.palette.colours.tolist()
        return [row | {"colour": colours[row["class"]]} for row in rows]

    def _see_native(self, of: Of, batch: ImageBatch, refs: Sequence[Ref], domain: Domain, made: Tensor) -> None:
        """Count classes at the size of the label maps: outputs are enlarged, photos smoothly and classes by the nearest pixel."""
        if not self.at_native:
            return
        target = batch.subject.target
        for i, ref in enumerate(refs[batch.first : batch.first + len(made)]):
            right = self.palette.labels(rgb8(domain, to_tensor(read_as(ref, domain))[None].to(made.device)))
            size, image = right.shape[1:], rgb8(target, made[i : i + 1])
            if self.segmenter:
                photo = F.interpolate(image.float(), size=size, mode="bicubic", antialias=True)
                found = self.segmenter(photo.round().clamp(0, 255).to(torch.uint8))
            else:
                found = F.interpolate(self.palette.labels(image)[None].double(), size=size, mode="nearest-exact")[0].long()
            self.kept[NATIVE + of].add(confusion(found, right, self.palette.num_classes).cpu().numpy())

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
        self.kept[SCORED + of].add(confusion(predicted, right, self.palette.num_classes).cpu().numpy())


def refuse_blind_judge(subject: Subject, classifier: Judge, target: int) -> None:
    """Raise DataError for a classifier that cannot tell the real images of the two sides apart, which must judge no output.

    Up to MAX_TO_TRY images of each side are tried, evenly chosen; the mean share of both sides that it gets right must be at
    least LEAST_RIGHT. Where there are no inputs, it cannot be tried.
    """
    if not subject.inputs:
        return
    rates = []
    for refs, domain in ((subject.targets, subject.target), (subject.inputs, subject.source)):
        images = real_images(subject, 16, torch.device("cpu"), spread(refs, MAX_TO_TRY), domain)
        found = torch.cat([classifier(rgb8(domain, batch)).cpu() for batch in images])
        rates.append(float((found == target).double().mean()))
    right = (rates[0] + 1 - rates[1]) / 2
    if right < LEAST_RIGHT:
        found_class, otherwise = f"class {target}", "give another classifier, or --classifier probe"
        if is_probe(classifier):
            found_class, otherwise = f"side {SIDES[target]}", better_probe(classifier)
        raise DataError(
            f"{classifier.name}: finds {found_class} in {rates[0]:.0%} of the real images and in {rates[1]:.0%} of the inputs, "
            f"so it tells the two sides apart in {right:.0%} of cases, less than {LEAST_RIGHT:.0%}; "
            f"its rates would mean little: {otherwise}"
        )


class ClassMeter:
    """Target rate: the share of outputs, real images and inputs that an independent classifier assigns to the target class."""

    def __init__(self, classifier: Judge, target: int, subject: Subject) -> None:
        self.classifier, self.target, self.subject = classifier, target, subject
        self.kept: dict[Of, KeptRows] = {"model": KeptRows(), "copy": KeptRows(), "truth": KeptRows()}

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
        for of, classes in self.kept.items():
            if len(classes):
                yield Row("target_rate", of, target_rate(classes.joined(), self.target))

    def image_scores(self) -> dict[str, list[float]]:
        """Whether each output passes."""
        return {"target_rate": (self.kept["model"].joined() == self.target).astype(float).tolist()}

    def _add(self, of: Of, images: UInt8[Tensor, "n 3 h w"]) -> None:
        self.kept[of].add(self.classifier(images).cpu().numpy())

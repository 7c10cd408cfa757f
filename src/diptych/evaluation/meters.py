"""Meters: each sees every batch once and gives its numbers at the end. Here are those that score image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diptych.evaluation.kept import KeptRows
from diptych.evaluation.results import Of
from diptych.evaluation.subject import ImageBatch, Subject, Translate
from diptych.metrics.estimate import Estimate, mean_estimate, sign_flip_p_value
from diptych.metrics.style import StyleDistance, gram
from diptych.nets.backbones import full_precision

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
    pairs the real images come first. ``rows`` are the numbers; ``image_scores`` are those of each image, by metric. Both come
    from ``kept`` alone: what the meter keeps of every image, in their order, by whose images they are.
    """

    @property
    def kept(self) -> Mapping[Any, KeptRows]: ...
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
        self.kept: dict[Of, KeptRows] = {"model": KeptRows(), "copy": KeptRows(), "mean": KeptRows()}

    def see(self, batch: ImageBatch) -> None:
        """Compare a batch."""
        guesses: dict[Of, Tensor] = {"model": batch.fake}
        if batch.x is not None and batch.given.shape == batch.truth.shape:
            guesses["copy"] = batch.given
        if self.mean is not None:
            guesses["mean"] = self.mean.to(batch.truth)[None, :, None, None].expand_as(batch.truth)
        with torch.no_grad():
            for of, guess in guesses.items():
                _keep(self.kept[of], self.compare(guess, batch.truth))

    def real(self, images: Tensor) -> None:
        """Do nothing: the truth of pairs is in the batches."""

    def rows(self) -> Iterator[Row]:
        """Means over the images; p of a baseline is that of a test of whether the outputs are as good, image by image."""
        outputs = self.kept["model"].joined()
        for of, kept in self.kept.items():
            if len(kept):
                values, total = kept.joined(), len(outputs)
                note = f"{len(values)} of {total} images" if len(values) < total else ""
                same = of != "model" and len(values) == total and np.isfinite([values, outputs]).all()
                p = sign_flip_p_value(outputs - values) if same else None
                yield Row(self.metric, of, mean_estimate(values), note, p)

    def image_scores(self) -> dict[str, list[float]]:
        """The score of each output."""
        return {self.metric: self.kept["model"].joined().tolist()}


class StyleMeter:
    """Style distance without pairs: of each output from the mean Gram matrices of all real images.

    They stand for the average style of the target domain, as Zhu et al. (2017, section 5.2) gave it to Gatys et al.
    """

    def __init__(self, style: StyleDistance, subject: Subject) -> None:
        self.style, self.subject = style, subject
        self.sums: list[Tensor] = []
        self.num_real = 0
        self.kept: dict[Of, KeptRows] = {"model": KeptRows(), "copy": KeptRows()}

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
            _keep(self.kept[of], torch.stack(taps).sum(0))

    def rows(self) -> Iterator[Row]:
        """Means over the images."""
        for of, kept in self.kept.items():
            if len(kept):
                yield Row("style", of, mean_estimate(kept.joined()))

    def image_scores(self) -> dict[str, list[float]]:
        """The score of each output."""
        return {"style": self.kept["model"].joined().tolist()}

    def _grams(self, x: Tensor) -> list[Tensor]:
        with torch.no_grad(), full_precision(x.device):
            return [gram(tap) for tap in self.style.net(x)]


class StructureMeter:
    """Structure distance between input and output; the unchanged input has 0."""

    def __init__(self, compare: Compare) -> None:
        self.compare = compare
        self.kept = {"model": KeptRows()}

    def see(self, batch: ImageBatch) -> None:
        """Compare a batch with its inputs."""
        with torch.no_grad():
            _keep(self.kept["model"], self.compare(batch.given, batch.fake))

    def real(self, images: Tensor) -> None:
        """Do nothing: outputs are compared with their inputs."""

    def rows(self) -> Iterator[Row]:
        """The mean over the images."""
        yield Row("structure", "model", mean_estimate(self.kept["model"].joined()))

    def image_scores(self) -> dict[str, list[float]]:
        """The distance of each output from its input."""
        return {"structure": self.kept["model"].joined().tolist()}


class CycleMeter:
    """Cycle error: mean |F(G(x)) - x| in [-1, 1]. The image between the two translations is rounded to native pixels."""

    def __init__(self, back: Translate) -> None:
        self.back = back
        self.kept = {"model": KeptRows()}

    def see(self, batch: ImageBatch) -> None:
        """Translate a batch back."""
        returned = batch.subject.source.encode(self.back(batch.y.cpu()).to(batch.given.device))
        _keep(self.kept["model"], (returned - batch.given).abs().mean(dim=(1, 2, 3)))

    def real(self, images: Tensor) -> None:
        """Do nothing: the cycle needs no real images of the other side."""

    def rows(self) -> Iterator[Row]:
        """The mean over the images."""
        yield Row("cycle", "model", mean_estimate(self.kept["model"].joined()))

    def image_scores(self) -> dict[str, list[float]]:
        """The cycle error of each image."""
        return {"cycle": self.kept["model"].joined().tolist()}


def _keep(rows: KeptRows, scores: Float[Tensor, " n"]) -> None:
    """Keep one number for each image in double precision, in which they are averaged."""
    rows.add(scores.double().cpu().numpy())

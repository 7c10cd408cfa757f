"""The results of an evaluation: every number with its interval, its unit, and the protocol that produced it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from diptych.metrics.estimate import Estimate
from diptych.metrics.image import MS_SSIM_SMALLEST, SSIM_SMALLEST
from diptych.metrics.set_differences import SetScore
from diptych.nets.backbones import VGG16, AlexNet

Of = Literal["model", "copy", "mean", "truth"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A metric: its title for people, its unit, which way is better, and what it ``looks`` at.

    ``pairs`` compares output and truth, image by image. ``style`` does the same, or without pairs compares each output with all
    real images. ``structure`` compares output and input. ``sets`` compares all outputs with all real images. ``smallest`` is the
    least side of an image in pixels.
    """

    title: str
    unit: str
    better: Better
    looks: Literal["pairs", "style", "structure", "sets", "cycle", "labels", "classes"]
    smallest: int = 1


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR", "dB", "higher", "pairs"),
    "ssim": Metric("SSIM", "", "higher", "pairs", SSIM_SMALLEST),
    "ms_ssim": Metric("MS-SSIM", "", "higher", "pairs", MS_SSIM_SMALLEST),
    "l1": Metric("L1", "of [-1, 1]", "lower", "pairs"),
    "lpips_alex": Metric("LPIPS (AlexNet)", "", "lower", "pairs", AlexNet.smallest),
    "lpips_vgg": Metric("LPIPS (VGG16)", "", "lower", "pairs", VGG16.smallest),
    "style": Metric("Style distance", "", "lower", "style", VGG16.smallest),
    "structure": Metric("Structure distance", "", "lower", "structure", VGG16.smallest),
    "fid": Metric("FID", "", "lower", "sets"),
    "kid": Metric("KID", "", "lower", "sets"),
    "mind": Metric("MIND", "", "lower", "sets"),
    "precision": Metric("Precision", "", "higher", "sets"),
    "recall": Metric("Recall", "", "higher", "sets"),
    "nearest": Metric("Distance to the nearest training image", "", "higher", "sets"),
    "lab_l": Metric("Histogram intersection, L", "", "higher", "sets"),
    "lab_a": Metric("Histogram intersection, a", "", "higher", "sets"),
    "lab_b": Metric("Histogram intersection, b", "", "higher", "sets"),
    "cycle": Metric("Cycle error", "of [-1, 1]", "lower", "cycle"),
    "fcn_pixel": Metric("FCN-score, per pixel", "", "higher", "labels"),
    "fcn_class": Metric("FCN-score, per class", "", "higher", "labels"),
    "fcn_iou": Metric("FCN-score, class IoU", "", "higher", "labels"),
    "target_rate": Metric("Target rate", "", "higher", "classes"),
}


@dataclass(frozen=True)
class Result:
    """One number.

    ``of`` says what was measured: ``model`` the outputs, ``copy`` the unchanged inputs, ``mean`` one flat colour, the mean of the
    training targets, ``truth`` real images put through the same measurement: of a distance of sets the floor, as they are other
    real images. ``protocol`` is a key of Evaluation.protocols: numbers of two evaluations may be compared when their protocols
    are equal. ``p`` is that of a permutation test, if there is one: for KID of whether outputs and real images are draws of one
    distribution, for a baseline of pairs of whether the outputs are as good as it.
    """

    metric: str
    direction: str
    of: Of
    estimate: Estimate
    unit: str
    better: Better
    protocol: str
    note: str = ""
    p: float | None = None


@dataclass(frozen=True)
class Example:
    """An image worth looking at, with its rank among those of its direction and its score, NaN where there is none.

    ``images`` are image files of input, output and truth, where there are such.
    """

    direction: str
    rank: Literal["best", "median", "worst", "evenly chosen"]
    index: int
    name: str
    metric: str
    score: float
    images: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """All numbers of an evaluation.

    ``left_out`` gives the reason for each metric that was not computed. ``images`` are the scores of every image, by direction.
    ``about`` says what was scored, and on which device. ``sets`` hold, by direction and metric, what a comparison by a score of
    sets needs of every image; they are not part of the JSON.
    """

    results: tuple[Result, ...]
    protocols: Mapping[str, Mapping[str, Any]]
    examples: tuple[Example, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Mapping[str, SetScore]] = field(default_factory=dict)

    def value(self, metric: str, direction: str = "a2b", of: str = "model") -> Estimate | None:
        """One number with its interval; None when it was not computed. ``of`` is as in Result."""
        for result in self.results:
            if (result.metric, result.direction, result.of) == (metric, direction, of):
                return result.estimate
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON. Numbers that JSON lacks become the texts inf, -inf and nan, which float() understands."""
        plain: dict[str, Any] = finite(
            {
                "format": 1,
                "about": dict(self.about),
                "results": [asdict(result) for result in self.results],
                "left_out": dict(self.left_out),
                "protocols": {key: dict(value) for key, value in self.protocols.items()},
                "examples": [
                    {key: value for key, value in vars(example).items() if key != "images"} for example in self.examples
                ],
                "images": {direction: [dict(row) for row in rows] for direction, rows in self.images.items()},
            }
        )
        return plain


def finite(value: Any) -> Any:
    """The same value, in which floats that JSON lacks (inf, -inf, nan) are texts."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

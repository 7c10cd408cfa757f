"""FCN-score: are the classes that a segmenter sees where they should be? (Isola et al. 2017, section 4; Long et al. 2015)

A segmenter looks at a synthesised photo, and what it sees is compared with the label map that the photo was made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, Real, UInt8
from torch import Tensor

from diptych.errors import DataError
from diptych.metrics.estimate import Estimate, jackknife_estimate
from diptych.metrics.palette import IGNORED, NO_CLASS, Palette

__all__ = ["Palette", "SegmentationScores", "Segmenter", "class_accuracy", "class_iou", "confusion", "fcn_estimates", "scores"]

Segmenter = Callable[[UInt8[Tensor, "n 3 h w"]], Int64[Tensor, "n h w"]]
"""The class of each pixel of RGB images; -1 (and 255, where there are fewer classes) is a pixel of no class."""


@dataclass(frozen=True)
class SegmentationScores:
    """Per-pixel accuracy, mean class accuracy and mean class IoU of a set of images, each from 0 to 1."""

    pixel: float
    per_class: float
    iou: float


def confusion(
    predicted: Int64[Tensor, "n h w"], true: Int64[Tensor, "n h w"], num_classes: int
) -> Int64[Tensor, "n {num_classes} {num_classes+1}"]:
    """Count the pixels of each true class (rows) that were taken for each class (columns), for each image alone.

    Pixels whose truth is no class (-1; 255 where there are fewer classes) count nowhere, as in the published evaluation. Those
    that are predicted as no class stand in the last column: to abstain is to be wrong. Raises DataError for any other number
    outside 0 .. num_classes - 1; the published script drops such images without a word.
    """
    columns = num_classes + 1
    true, predicted = _no_class(true, num_classes), _no_class(predicted, num_classes)
    for side, classes in (("the label maps hold", true), ("the segmenter answers", predicted)):
        if classes.numel() and not -1 <= (worst := _farthest(classes)) < num_classes:
            raise DataError(
                f"{side} class {worst}, but there are {num_classes} classes (0 to {num_classes - 1}); "
                "palette and segmenter must number the same classes"
            )
    image = torch.arange(len(true), device=true.device)[:, None, None]
    cell = (image * num_classes + true) * columns + predicted.remainder(columns)  # -1 is the last column
    counts = torch.bincount(cell[true >= 0], minlength=len(true) * num_classes * columns)
    return counts.reshape(len(true), num_classes, columns)


def _no_class(classes: Int64[Tensor, "n h w"], num_classes: int) -> Int64[Tensor, "n h w"]:
    return classes.masked_fill(classes == IGNORED, NO_CLASS) if num_classes <= IGNORED else classes


def _farthest(classes: Tensor) -> int:
    """The smallest class when it is below -1, else the greatest."""
    low, high = (int(number) for number in classes.aminmax())
    return low if low < NO_CLASS else high


def class_accuracy(counts: Real[np.ndarray, "k columns"]) -> Real[np.ndarray, " k"]:
    """Share of each class's pixels that are predicted as this class: n_ii / t_i; NaN for a class that never occurs."""
    with np.errstate(invalid="ignore"):
        return np.diag(counts) / counts.sum(axis=1)


def class_iou(counts: Real[np.ndarray, "k columns"]) -> Real[np.ndarray, " k"]:
    """Intersection over union of each class: n_ii / (t_i + sum_j n_ji - n_ii); NaN for one neither true nor predicted."""
    right = np.diag(counts)
    with np.errstate(invalid="ignore"):
        return right / (counts.sum(axis=1) + counts[:, : len(counts)].sum(axis=0) - right)


def scores(counts: Real[np.ndarray, "k columns"]) -> SegmentationScores:
    """Compute the three scores of a confusion matrix, summed over a whole set as published (Long et al. 2015, section 5).

    A class that never occurs in the truth is left out of the mean accuracy, and one that is neither true nor predicted is left
    out of the mean IoU, as in the code of Long et al.; one that is predicted without being there has an IoU of 0. The script of
    pix2pix and CycleGAN (scripts/eval_cityscapes) adds 1e-12 to the denominators and so counts every absent class as 0; on its
    own data, where all 19 classes occur, both give the same numbers. All three are NaN when no pixel is counted.
    """
    total = counts.sum()
    if not total:
        return SegmentationScores(float("nan"), float("nan"), float("nan"))
    means = [float(np.nanmean(numbers)) for numbers in (class_accuracy(counts), class_iou(counts))]
    return SegmentationScores(float(np.trace(counts) / total), *means)


def fcn_estimates(confusions: Real[np.ndarray, "n k columns"]) -> dict[str, Estimate]:
    """The scores of a set of images by the names pixel, class and iou, with intervals by leaving out each image in turn.

    Counts are pooled over the set, and over the set without each image, before they are divided. ``n`` is the number of images
    with a pixel of some class; the others hold no information. Raises DataError when there is none.
    """
    counted = confusions[confusions.sum(axis=(1, 2)) > 0].astype(np.float64)
    if not len(counted):
        raise DataError(f"no pixel of {len(confusions)} label maps is of any class; check the palette, or the classes it ignores")
    flat = counted.reshape(len(counted), -1)

    def pooled(chosen: np.ndarray) -> SegmentationScores:
        return scores(flat[chosen].sum(axis=0).reshape(counted.shape[1:]))

    def estimate(score: str) -> Estimate:
        return jackknife_estimate(lambda chosen: getattr(pooled(chosen), score), len(flat))

    return {"pixel": estimate("pixel"), "class": estimate("per_class"), "iou": estimate("iou")}

"""Measure whether outputs have the colours of the truth, wherever they are: histogram intersection in Lab, as in pix2pix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from kornia.color import rgb_to_lab
from torch import Tensor

from diptych.errors import DataError
from diptych.metrics.estimate import MIN_FOR_INTERVAL, Estimate, jackknife_error, student_interval

CHANNELS: tuple[Literal["L", "a", "b"], ...] = ("L", "a", "b")
LOWEST = (0, -128, -128)  # the colour of bin 0 of L, a and b
NUM_BINS = 256
BLOCK = 1024  # images whose histograms are intersected at a time


def lab_histograms(images: UInt8[Tensor, "n 3 h w"]) -> Int32[np.ndarray, "n 3 256"]:
    """Count the pixels of each 8-bit sRGB image at each whole number of L (0..100), a and b (-128..127).

    CIE Lab of D65. Numbers are rounded as in 8-bit Lab, so that the a and b of grey lie in the middle of a bin and no
    rounding moves them. The histograms of a set that does not fit in memory come batch by batch: concatenate them.
    """
    lab = rgb_to_lab(images.to(torch.float32) / 255.0).round()
    bins = lab.to(torch.int64) - torch.tensor(LOWEST, device=lab.device)[:, None, None]
    assert bins.min() >= 0 and bins.max() < NUM_BINS, "colours of sRGB lie within the bins of Lab"
    n = len(images)
    row = torch.arange(n * 3, device=lab.device).view(n, 3, 1, 1) * NUM_BINS  # one row of bins for each image and channel
    return (bins + row).flatten().bincount(minlength=n * 3 * NUM_BINS).view(n, 3, NUM_BINS).to(torch.int32).cpu().numpy()


def histogram_intersection(x: Int32[np.ndarray, "n 3 256"], y: Int32[np.ndarray, "m 3 256"]) -> tuple[float, float, float]:
    """Compute the share that the colours of two sets have in common, for L, a and b: 0 (nothing) to 1 (the same histogram).

    x and y are ``lab_histograms``. All pixels of a set go into one histogram of each channel, which sums to 1; the
    intersection is the sum of the smaller of two bins (Isola et al. 2017, section 4.2, figure 7; the paper does not
    state its bins, here they are one unit wide, and wider ones score higher).
    Raises DataError when a set is empty.
    """
    _refuse_empty(x, y)
    lightness, a, b = _intersection(x.sum(axis=0)[None].astype(np.float64), y.sum(axis=0)[None].astype(np.float64))[0].tolist()
    return lightness, a, b


def lab_histogram_intersection(x: UInt8[Tensor, "n 3 h w"], y: UInt8[Tensor, "m 3 p q"]) -> tuple[float, float, float]:
    """``histogram_intersection`` of two sets of 8-bit RGB images that fit in memory."""
    return histogram_intersection(lab_histograms(x), lab_histograms(y))


def intersection_estimates(
    x: Int32[np.ndarray, "n 3 256"], y: Int32[np.ndarray, "m 3 256"], *, paired: bool
) -> dict[str, Estimate]:
    """``histogram_intersection`` of "L", "a" and "b" with 95 % intervals.

    The interval is the value +- t standard errors of the jackknife over images, within 0..1: percentiles of resampled sets, which
    have less in common than the sets themselves, would lie too low. It is of sets of this size; infinitely many images have more
    in common. ``paired``: x[i] is of the same scene as y[i], and they are left out together.
    Raises DataError when a set is empty or paired sets differ in length.
    """
    _refuse_empty(x, y)
    if paired and len(x) != len(y):
        raise DataError(f"paired sets have one image each of every scene, found {len(x)} and {len(y)}; leave out those alone")
    n = min(len(x), len(y))
    all_x, all_y = x.sum(axis=0).astype(np.float64), y.sum(axis=0).astype(np.float64)
    value = _intersection(all_x[None], all_y[None])[0]
    if n < MIN_FOR_INTERVAL:
        errors = np.full(len(CHANNELS), np.nan)
    elif paired:
        blocks = [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
        errors = _jackknife_errors([_intersection(all_x - x[block], all_y - y[block]) for block in blocks])
    else:
        of_x, of_y = (
            _jackknife_errors(
                [_intersection(whole - one[start : start + BLOCK], other[None]) for start in range(0, len(one), BLOCK)]
            )
            for one, whole, other in ((x, all_x, all_y), (y, all_y, all_x))
        )
        errors = np.hypot(of_x, of_y)
    return {
        channel: student_interval(float(score), float(error), n, least=0.0, most=1.0)
        for channel, score, error in zip(CHANNELS, value, errors, strict=True)
    }


def _jackknife_errors(blocks: Sequence[Float[np.ndarray, "_ 3"]]) -> Float[np.ndarray, " 3"]:
    return np.array([jackknife_error(column) for column in np.concatenate(blocks).T])


def _intersection(x: Float[np.ndarray, "_ 3 256"], y: Float[np.ndarray, "_ 3 256"]) -> Float[np.ndarray, "_ 3"]:
    """Intersect each pair of histograms (pixel counts), after each was made to sum to 1."""
    return np.minimum(x / x.sum(axis=-1, keepdims=True), y / y.sum(axis=-1, keepdims=True)).sum(axis=-1)


def _refuse_empty(x: np.ndarray, y: np.ndarray) -> None:
    if not (len(x) and len(y)):
        raise DataError(f"histogram intersection needs two sets of images, found {len(x)} and {len(y)}")

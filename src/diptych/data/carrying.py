"""What a result takes from the file that it was made of: metadata as far as it still holds, and its pixels without data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from diptych.data.metadata import Metadata
from diptych.pixels import FULL_RANGE, Domain


def carried(pixels: np.ndarray, metadata: Metadata, target: Domain, without: np.ndarray | None) -> tuple[np.ndarray, Metadata]:
    """Make of a translation what is written: its pixels (h, w, c) in the type of the target's files, and its metadata.

    ``without`` are the pixels (h, w) that had no data. They get the nodata value of the input where the type holds it, else that
    of the target's training images, else NaN (float32) or the lowest value, without a tag. Where a tag says that a value means
    no data, integer pixels that have data and this very value are moved by 1, so that none of them vanishes. In label maps, no
    value is moved: pixels without data get the nodata value of the input where that is no class, and are a class elsewhere.
    """
    dtype = target.stored or target.dtype
    missing = np.isnan(pixels).any(2) if pixels.dtype == np.float32 else np.zeros(pixels.shape[:2], bool)
    missing = missing if without is None else missing | without
    tagged = metadata.nodata is not None or bool(missing.any())
    if not tagged:
        return pixels.astype(dtype, copy=False), replace(metadata, nodata=None)
    if target.classes:
        return _labelled(pixels, metadata, target, missing)
    candidates = [value for value in (metadata.nodata, target.nodata) if value is not None and _fits(value, dtype)]
    if dtype == "float32":
        value = candidates[0] if candidates else math.nan
        out = np.array(pixels, np.float32)
        out[missing] = value
        return out, replace(metadata, nodata=value)
    low, high = (round(limit) for limit in (target.low, target.high))
    filled = np.where(missing[..., None], low, pixels) if pixels.dtype == np.float32 else pixels
    out = np.array(np.round(filled), dtype)
    if not candidates:
        out[missing] = low
        return out, replace(metadata, nodata=None)
    value = int(candidates[0])
    out[(out == value) & ~missing[..., None]] = value + 1 if value < high else value - 1
    out[missing] = value
    return out, replace(metadata, nodata=float(value))


def _labelled(pixels: np.ndarray, metadata: Metadata, target: Domain, missing: np.ndarray) -> tuple[np.ndarray, Metadata]:
    value = metadata.nodata
    numbers = target.bands == 1 and not target.indices
    if value is None or not numbers or not _fits(value, target.dtype) or (int(value),) in target.classes:
        return pixels, replace(metadata, nodata=None)
    out = pixels.copy()
    out[missing] = int(value)
    return out, metadata


def _fits(value: float, dtype: str) -> bool:
    """Whether a pixel type holds a value; float32 holds what it rounds to."""
    if dtype == "float32":
        return bool(math.isnan(value) or abs(value) <= float(np.finfo(np.float32).max))
    low, high = FULL_RANGE[dtype]  # type: ignore[index]
    return math.isfinite(value) and value == round(value) and low <= value <= high

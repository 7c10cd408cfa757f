"""Pixels without data on their way through a network: refused where the model knows none, and marked in the translation."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from diptych.errors import DataError
from diptych.inference.maps import Source, Target
from diptych.pixels import Domain


def refuse_nan(pixels: np.ndarray, domain: Domain) -> None:
    """Raise DataError for NaN where a model knows no pixels without data."""
    if not domain.masked and pixels.dtype == np.float32 and (bad := int(np.isnan(pixels).sum())):
        raise DataError(f"the image has {bad:,} values that are NaN, and the model was trained without such; replace them")


def put_back(out: Shaped[Tensor, "n d h w"], valid: Bool[Tensor, "n 1 h w"] | None, target: Domain) -> Shaped[Tensor, "n d h w"]:
    """Mark the pixels of a translation that had no data: NaN, or the lowest value of the target where that holds integers.

    Labels stay as they are, as no class means no data.
    """
    if valid is None or target.classes:
        return out
    if target.dtype == "float32":
        return out.where(valid, torch.nan)
    low = torch.tensor(round(target.low), dtype=out.dtype)
    return out.where(valid, low)


def put_back_by_rows(source: Source, out: Target, target: Domain, rows: int = 256) -> None:
    """Mark the pixels of a large translation that had no data, as `put_back` does."""
    for top in range(0, len(source), rows):
        missing = np.isnan(source[top : top + rows, :]).any(2)
        if missing.any():
            part = np.array(out[top : top + rows, :])
            part[missing] = np.nan if target.dtype == "float32" else round(target.low)
            out[top : top + rows, :] = part

"""Baselines that a translator must beat: an empty page, the input itself, and the nearest training example."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "h w c"]
Translated = UInt8[np.ndarray, "h w d"]
Translate = Callable[[np.ndarray], np.ndarray]
"""A function from a picture of native pixels, (h, w, c), to one of the other domain, (h, w, d)."""
POOL_SIZE = 4  # pictures are compared at a quarter of their size, so that a note close to its place still counts


def blank(channels: int, background: int) -> Translate:
    """Return a translator that gives an empty picture for every input."""
    return lambda picture: np.full((*picture.shape[:2], channels), background, np.uint8)


def copy(channels: int) -> Translate:
    """Return a translator that gives the inverted mean of the input's channels in every channel."""
    return lambda picture: np.repeat(255 - picture.mean(2, keepdims=True), channels, 2).astype(np.uint8)


def nearest(inputs: Sequence[Picture], outputs: Sequence[np.ndarray]) -> Translate:
    """Return a translator that gives the output of the training input with the least squared difference."""
    known = torch.stack([_shrunk(picture) for picture in inputs])
    norms = known.square().sum(1)

    def translate(picture: Picture) -> Translated:
        query = _shrunk(picture)
        return outputs[int((norms - 2 * known @ query).argmin())]

    return translate


def _shrunk(picture: Picture) -> torch.Tensor:
    x = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return F.avg_pool2d(x, POOL_SIZE).flatten()

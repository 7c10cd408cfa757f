"""Resize native pixels, arrays (h, w, c), and crop and mirror them as tensors (c, h, w): uint8, uint16 or float32."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample an image with an antialiased bicubic filter, as Pillow does (within 1 of 255 for uint8).

    The filter overshoots beside edges. Pillow clips that to 0..255; uint16 and float32, whose type does not say which values
    an image may have, are clipped to the lowest and highest value of the image itself. Integers are rounded.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    pixels = np.require(pixels, requirements=["C", "W"])  # as torch wants them
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # channels last as they are: a faster kernel, the same bits
    eight_bits = pixels.dtype == np.uint8  # which has a kernel of its own; uint16 goes through float32
    y = F.interpolate(x if eight_bits else x.float(), (height, width), mode="bicubic", antialias=True)
    if not eight_bits:
        y = y.clamp(float(np.nanmin(pixels)), float(np.nanmax(pixels)))  # NaN, which marks pixels without data, spreads
    y = y.round().to(x.dtype) if pixels.dtype in (np.uint16, np.int16) else y
    return np.ascontiguousarray(y[0].numpy().transpose(1, 2, 0))


Resizing = Literal["square", "aspect", "none"]


def resize_for(pixels: np.ndarray, how: Resizing, size: int, *, at_least: int) -> np.ndarray:
    """Bring an image to the size it is trained at: see DataConfig.resize. No side comes out below at_least."""
    return resize(pixels, *resized(pixels.shape[0], pixels.shape[1], how, size, at_least))


def resized(height: int, width: int, how: Resizing, size: int, at_least: int) -> tuple[int, int]:
    """Compute the height and width that resize_for brings an image to."""
    if how == "square":
        return size, size
    scale = size / min(height, width) if how == "aspect" else max(1.0, at_least / min(height, width))
    return max(round(height * scale), at_least), max(round(width * scale), at_least)


def crop(pixels: Shaped[Tensor, "c h w"], size: int, x: float, y: float) -> Shaped[Tensor, "c size size"]:
    """Cut out a size x size window; x and y in [0, 1) choose its place between the left and right, top and bottom edges."""
    height, width = pixels.shape[1:]
    left, top = int(x * (width - size + 1)), int(y * (height - size + 1))
    return pixels[:, top : top + size, left : left + size]


def mirror(pixels: Shaped[Tensor, "c h w"]) -> Shaped[Tensor, "c h w"]:
    """Exchange left and right, on whichever device the pixels are."""
    if pixels.dtype == torch.uint16:  # which torch cannot flip; the bits are moved all the same
        return pixels.view(torch.int16).flip(2).view(torch.uint16)
    return pixels.flip(2)


def mirror_by_one_thread(pixels: Shaped[Tensor, "c h w"]) -> Shaped[Tensor, "c h w"]:
    """Mirror on the CPU by one thread: torch would wake all of its threads for so little, and training needs them."""
    return torch.from_numpy(np.ascontiguousarray(pixels.numpy()[:, :, ::-1]))


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Turn an (h, w, c) array into a contiguous (c, h, w) tensor of the same dtype."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

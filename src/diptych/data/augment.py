"""Resize native pixels, arrays (h, w, c), and crop and mirror them as tensors (c, h, w): uint8, uint16 or float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from diptych.settings import Size, sides


def resize(pixels: np.ndarray, height: int, width: int, *, nearest: bool = False) -> np.ndarray:
    """Resample an image with an antialiased bicubic filter, as Pillow does (within 1 of 255 for uint8).

    The filter overshoots beside edges. Pillow clips that to 0..255; uint16 and float32, whose type does not say which values
    an image may have, are clipped to the lowest and highest value of the image itself. Integers are rounded. ``nearest`` takes
    the pixel at the middle of each new one instead, and mixes none: for labels.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if nearest:
        rows, columns = ((2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip((height, width), pixels.shape, strict=False))
        return np.ascontiguousarray(pixels[rows[:, None], columns])
    pixels = np.require(pixels, requirements=["C", "W"])  # as torch wants them
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # channels last as they are: a faster kernel, the same bits
    eight_bits = pixels.dtype == np.uint8  # which has a kernel of its own; uint16 goes through float32
    y = F.interpolate(x if eight_bits else x.float(), (height, width), mode="bicubic", antialias=True)
    if not eight_bits:
        y = y.clamp(float(np.nanmin(pixels)), float(np.nanmax(pixels)))  # NaN, which marks pixels without data, spreads
    y = y.round().to(x.dtype) if pixels.dtype in (np.uint16, np.int16) else y
    return np.ascontiguousarray(y[0].numpy().transpose(1, 2, 0))


Resizing = Literal["square", "aspect", "none"]


def resize_for(pixels: np.ndarray, how: Resizing, size: Size, *, at_least: Size, nearest: bool = False) -> np.ndarray:
    """Bring an image to the size it is trained at: see DataConfig.resize. No side comes out below at_least."""
    return resize(pixels, *resized(pixels.shape[0], pixels.shape[1], how, size, at_least), nearest=nearest)


def resized(height: int, width: int, how: Resizing, size: Size, at_least: Size) -> tuple[int, int]:
    """Compute the height and width that resize_for brings an image to."""
    (high, wide), (least_high, least_wide) = sides(size), sides(at_least)
    if how == "square":
        return high, wide
    enough = max(1.0, least_high / height, least_wide / width)
    scale = max(high / height, wide / width) if how == "aspect" else enough
    return max(round(height * scale), least_high), max(round(width * scale), least_wide)


def crop(pixels: Shaped[Tensor, "c h w"], size: Size, x: float, y: float) -> Shaped[Tensor, "c high wide"]:
    """Cut out a window of this size; x and y in [0, 1) choose its place between the left and right, top and bottom edges."""
    height, width = pixels.shape[1:]
    high, wide = sides(size)
    left, top = int(x * (width - wide + 1)), int(y * (height - high + 1))
    return pixels[:, top : top + high, left : left + wide]


def mirror(pixels: Shaped[Tensor, "c h w"]) -> Shaped[Tensor, "c h w"]:
    """Exchange left and right, on whichever device the pixels are."""
    return _moved(pixels, lambda bits: bits.flip(2))


def mirror_by_one_thread(pixels: Shaped[Tensor, "c h w"]) -> Shaped[Tensor, "c h w"]:
    """Mirror on the CPU by one thread: torch would wake all of its threads for so little, and training needs them."""
    return torch.from_numpy(np.ascontiguousarray(pixels.numpy()[:, :, ::-1]))


class Change(NamedTuple):
    """How a crop is changed by chance: quarter turns to the left, an angle in degrees, a zoom, and factors of its colours.

    ``colours`` are the factors of brightness, contrast and saturation; None leaves them.
    """

    turns: int = 0
    angle: float = 0.0
    zoom: float = 1.0
    colours: tuple[float, float, float] | None = None


def changed_crop(
    pixels: Shaped[Tensor, "c h w"], size: Size, x: float, y: float, change: Change, nearest: bool
) -> Shaped[Tensor, "c high wide"]:
    """Cut out a window as crop does, with its content turned by an angle and enlarged about its middle, then turned by quarters.

    Bilinear, or ``nearest`` for labels. Beyond its edges the image goes on as in a mirror.
    """
    high, wide = sides(size)[:: -1 if change.turns % 2 else 1]
    if change.angle or change.zoom != 1.0:
        height, width = pixels.shape[1:]
        left, top = int(x * (width - wide + 1)), int(y * (height - high + 1))
        rows = torch.arange(high, device=pixels.device) - (high - 1) / 2
        columns = torch.arange(wide, device=pixels.device) - (wide - 1) / 2
        cosine, sine = (f(math.radians(change.angle)) / change.zoom for f in (math.cos, math.sin))
        over = left + (wide - 1) / 2 + cosine * columns - sine * rows[:, None]
        down = top + (high - 1) / 2 + sine * columns + cosine * rows[:, None]
        grid = torch.stack([(2 * over + 1) / width - 1, (2 * down + 1) / height - 1], -1)
        how = "nearest" if nearest else "bilinear"
        y_float = F.grid_sample(pixels[None].float(), grid[None], mode=how, padding_mode="reflection", align_corners=False)[0]
        pixels = y_float if pixels.dtype == torch.float32 else y_float.round().to(pixels.dtype)
    else:
        pixels = crop(pixels, (high, wide), x, y)
    return _moved(pixels, lambda bits: bits.rot90(change.turns, (1, 2))) if change.turns else pixels


def recolour(
    pixels: Shaped[Tensor, "c h w"], factors: tuple[float, float, float], low: float, high: float
) -> Shaped[Tensor, "c h w"]:
    """Multiply brightness, then contrast about the mean, then saturation about gray, of values from low to high."""
    brightness, contrast, saturation = factors
    unit = (pixels.float() - low) / (high - low) * brightness
    mean = unit.nanmean() if unit.isnan().any() else unit.mean()  # NaN marks pixels without data
    unit = mean + (unit - mean) * contrast
    gray = unit.mean(0, keepdim=True)
    native = (gray + (unit - gray) * saturation).clamp(0.0, 1.0) * (high - low) + low
    return native if pixels.dtype == torch.float32 else native.round().to(pixels.dtype)


def _moved(pixels: Tensor, move: Callable[[Tensor], Tensor]) -> Tensor:
    """Move pixels about; torch has no such function for uint16, whose bits are moved as int16."""
    return move(pixels.view(torch.int16)).view(torch.uint16) if pixels.dtype == torch.uint16 else move(pixels)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Turn an (h, w, c) array into a contiguous (c, h, w) tensor of the same dtype."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

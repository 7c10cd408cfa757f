"""Find copies of an image: exact ones by a digest of the pixels, near ones by a perceptual hash and a second look.

Near copies are resized, encoded again or slightly cropped. The search compares the 64-bit hashes of all pairs, n^2 / 2 xor and
popcount operations in blocks (20,000 images: about a second), and looks again, aligned, only at the nearest of them. Its memory
grows with n.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

SIDE = 64  # pixels of the small picture that is compared
MAX_BITS = 16  # by which hashes of near copies differ: of 64, a copy cropped by 2 % a side has about 5, another image 32
MAX_COLOUR = 0.1  # by which the mean colours of near copies differ, of 0..1
MIN_CONTRAST = 0.012  # the deviation of grays below which there is nothing to compare
SECOND_LOOKS = 20  # for each image on average; where all images are much alike, the farther candidates are not looked at
MIN_CORRELATION = 0.85  # below it, likeness is not reported
ALIGNED_AT_ONCE = 512  # pairs that are aligned at a time
COMPARED_AT_ONCE = 2**21  # pairs whose hashes are compared at a time


@dataclass(frozen=True)
class Likeness:
    """Holds what finds copies of an image; ``digest`` is of shape, type and pixels, ``colour`` the mean in 0..1."""

    digest: bytes
    hash: int
    colour: tuple[float, float, float]
    gray: UInt8[np.ndarray, "64 64"]


def likeness(pixels: np.ndarray, small: UInt8[np.ndarray, "64 64 3"]) -> Likeness:
    """Describe native pixels (h, w, c), given also as ``shrunk`` to 64 x 64 RGB."""
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    red, green, blue = (float(value) for value in small.mean((0, 1)) / 255)
    gray = (small @ np.array([0.299, 0.587, 0.114], np.float32) + 0.5).astype(np.uint8)
    return Likeness(digest.digest()[:16], perceptual_hash(gray), (red, green, blue), gray)


def filled(pixels: np.ndarray) -> np.ndarray:
    """Return pixels to look at, those without data (NaN) as the lowest value."""
    if pixels.dtype != np.float32 or not np.isnan(pixels).any():
        return pixels
    return np.nan_to_num(pixels, nan=float(np.nanmin(pixels)))


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Convert native pixels to uint8 of 1 or 3 channels for display: by the image's own range, other channels averaged."""
    if pixels.shape[2] not in (1, 3):
        pixels = pixels.mean(2, keepdims=True, dtype=np.float32)
    if pixels.dtype != np.uint8:
        low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
        pixels = np.nan_to_num(pixels.astype(np.float32), nan=low)  # pixels without data
        pixels = ((pixels - low) * (255 / ((high - low) or 1)) + 0.5).astype(np.uint8)
    return pixels


def shrunk(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reduce an 8-bit image (h, w, 1 or 3), antialiased, to (height, width, 3)."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2).convert("RGB"))


def _cosines(size: int, number: int) -> np.ndarray:
    k, i = np.arange(number)[:, None], np.arange(size)[None]
    return np.cos(np.pi * (2 * i + 1) * k / (2 * size)).astype(np.float32)


COSINES = _cosines(SIDE, 8)


def perceptual_hash(gray: UInt8[np.ndarray, "64 64"]) -> int:
    """Hash to 64 bits: which of the 8 x 8 lowest cosine coefficients but the mean are above their median (pHash, Zauner 2010)."""
    coefficients = (COSINES @ gray.astype(np.float32) @ COSINES.T).ravel()
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    return int(np.packbits(bits).view(np.uint64)[0])


def near_copies(images: Sequence[Likeness]) -> list[tuple[int, int, float, float]]:
    """Find pairs (i, j), i < j, that may be copies except for size, encoding or a slight crop, with their ``aligned_likeness``.

    Those less alike than MIN_CORRELATION are left out, and images with nothing to compare.
    """
    contrast = np.array([image.gray.std() for image in images]) / 255
    chosen = [i for i, value in enumerate(contrast) if value > MIN_CONTRAST]
    if len(chosen) < 2:
        return []
    found = _candidates([images[i] for i in chosen], contrast[chosen])
    grays = torch.from_numpy(np.stack([images[i].gray for i in chosen]))
    copies = []
    for start in range(0, len(found), ALIGNED_AT_ONCE):
        i, j = (torch.from_numpy(column) for column in found[start : start + ALIGNED_AT_ONCE].T)
        alike, detail = aligned_likeness(grays[i].float() / 255, grays[j].float() / 255)
        for k in ((alike >= MIN_CORRELATION) & (detail >= MIN_CORRELATION)).nonzero()[:, 0].tolist():
            copies.append((chosen[i[k]], chosen[j[k]], float(alike[k]), float(detail[k])))
    return sorted(copies)


def _candidates(images: Sequence[Likeness], contrast: np.ndarray) -> np.ndarray:
    """Find pairs (m, 2) whose hashes and mean colours are near, nearest first, at most SECOND_LOOKS for each image.

    Memory is in proportion to the number of images, also where nearly all pairs are near: farther ones are dropped on the way.
    """
    hashes = np.array([image.hash for image in images], np.uint64)
    colours = np.array([image.colour for image in images], np.float32)
    limit, within = SECOND_LOOKS * len(images), MAX_BITS  # bits in which hashes may differ to be among the nearest
    pairs, distances = np.empty((0, 2), np.int32), np.empty(0, np.uint8)
    start = 0
    while start < len(hashes):
        rows = max(1, COMPARED_AT_ONCE // (len(hashes) - start))
        apart = np.bitwise_count(hashes[start : start + rows, None] ^ hashes[None, start:])
        i, j = (index.astype(np.int32) for index in np.nonzero(apart <= within))
        apart, i, j = apart[i, j], i + start, j + start
        ratio = contrast[i] / contrast[j]
        keep = (i < j) & (np.abs(colours[i] - colours[j]).max(1) <= MAX_COLOUR) & (ratio > 0.75) & (ratio < 1 / 0.75)
        pairs = np.concatenate([pairs, np.stack([i[keep], j[keep]], 1)])
        distances = np.concatenate([distances, apart[keep]])
        start += rows
        if len(pairs) > 2 * limit or start >= len(hashes):
            nearest = np.argsort(distances, kind="stable")[:limit]
            pairs, distances = pairs[nearest], distances[nearest]
            if len(pairs) == limit:
                within = int(distances[-1]) - 1  # of those as far as the last, the first that were found stay
    return pairs


def aligned_likeness(x: Float[Tensor, "n 64 64"], y: Float[Tensor, "n 64 64"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Correlate two gray pictures in 0..1, and their details, after y was scaled and moved to fit x.

    Scale and place are found by the inverse compositional algorithm of Baker and Matthews (2004), coarse to fine. What would need
    more than a slight crop, or is unlike at the coarse levels, has likeness 0.
    """
    alike, detail = torch.zeros(len(x)), torch.zeros(len(x))
    scale, move = torch.ones(len(x), 2), torch.zeros(len(x), 2)  # of columns and rows: y(scale * place + move) = x(place)
    left = torch.arange(len(x))
    for size, steps, least in ((16, 6, 0.7), (32, 4, 0.8), (SIDE, 2, MIN_CORRELATION)):
        a, b = (F.adaptive_avg_pool2d(image[left, None], size)[:, 0] for image in (x, y))
        fitted = _fit(_unit(a), _unit(b), scale[left], move[left], steps)
        moved, inside = _sample(b, *fitted)
        correlation = _correlation(a, moved, inside)
        good = (correlation >= least) & ((fitted[0] - 1).abs().amax(1) < 0.2) & (fitted[1].abs().amax(1) < 0.2)
        scale[left], move[left] = fitted
        left, a, moved, inside, correlation = (values[good] for values in (left, a, moved, inside, correlation))
        if not len(left):
            return alike, detail
    alike[left], detail[left] = correlation, _correlation(_detail(a), _detail(moved), inside)
    return alike, detail


def _fit(a: Tensor, b: Tensor, scale: Tensor, move: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    size = a.shape[-1]
    place = (torch.arange(size) + 0.5) * (2 / size) - 1
    rows, columns = torch.gradient(a, dim=(1, 2))  # of half a pixel, in units of the picture: times size / 2
    steepest = torch.stack([columns * place, rows * place[:, None], columns, rows], 1).flatten(2) * (size / 2)
    normal = steepest @ steepest.mT
    normal = normal + torch.eye(4) * (1e-3 * normal.diagonal(dim1=1, dim2=2).mean(1) + 1e-6)[:, None, None]
    for _ in range(steps):
        moved, inside = _sample(b, scale, move)
        error = ((moved - a) * inside).flatten(1)
        change = torch.linalg.solve(normal, (steepest @ error[..., None])[..., 0])
        scale = scale / (1 + change[:, :2]).clamp(0.8, 1.25)
        move = move - scale * change[:, 2:]
        scale, move = scale.clamp(0.7, 1.4), move.clamp(-0.5, 0.5)
    return scale, move


def _sample(images: Tensor, scale: Tensor, move: Tensor) -> tuple[Tensor, Tensor]:
    """Sample images at scaled and moved places, and say which of those lie inside."""
    place = (torch.arange(images.shape[-1]) + 0.5) * (2 / images.shape[-1]) - 1
    x, y = (scale[:, k, None] * place + move[:, k, None] for k in (0, 1))
    grid = torch.stack([x[:, None].expand(-1, len(place), -1), y[:, :, None].expand(-1, -1, len(place))], -1)
    inside = (grid.abs() <= 1).all(-1)
    return F.grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)[:, 0], inside.float()


def _unit(images: Tensor) -> Tensor:
    images = images - images.mean((1, 2), keepdim=True)
    return images / (images.std((1, 2), keepdim=True) + 1e-4)


def _detail(images: Tensor) -> Tensor:
    """Keep a band of middle frequencies: the finest details do not survive resizing and encoding."""
    fine, coarse = (F.avg_pool2d(images[:, None], k, 1, k // 2, count_include_pad=False)[:, 0] for k in (3, 9))
    return fine - coarse


def _correlation(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum((1, 2)).clamp_min(1)
    x, y = (image - ((image * weight).sum((1, 2)) / total)[:, None, None] for image in (x, y))
    products = [(left * right * weight).sum((1, 2)) for left, right in ((x, y), (x, x), (y, y))]
    return products[0] / (products[1] * products[2]).clamp_min(1e-8).sqrt()

"""Simulate how pages are scanned, and bring the gray of any page to one scale: black ink on white paper."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy import ndimage

Gray = UInt8[np.ndarray, "h w"]
PAPER_CELL = 16  # pixels of a page along each side of a cell in which the paper is measured
INK_PERCENTILE = 1.0  # of a page's pixels are at least as dark as its ink


@dataclass(frozen=True)
class Scan:
    """What a scanner does to a page: blur (standard deviation in staff spaces), noise (in gray levels), the gray of ink and of
    paper (0 black, 255 white), unevenness of the paper (in gray levels), the share of ink that is missing, a threshold in
    place of gray (0 none), and the quality of a JPEG (0 none)."""

    blur: float = 0.0
    noise: float = 0.0
    ink: float = 0.0
    paper: float = 255.0
    uneven: float = 0.0
    missing: float = 0.0
    threshold: int = 0
    jpeg: int = 0


CLEAN = Scan()


def random_scan(dice: random.Random) -> Scan:
    """Draw the faults of a scan; one in eight has gray turned into black and white."""
    return Scan(
        blur=dice.uniform(0.02, 0.1),
        noise=dice.uniform(0, 18),
        ink=dice.uniform(0, 90),
        paper=dice.uniform(190, 255),
        uneven=dice.uniform(0, 35),
        missing=dice.choice((0.0, dice.uniform(0, 0.02))),
        threshold=dice.choice((0,) * 7 + (dice.randrange(90, 180),)),
        jpeg=dice.choice((0, dice.randrange(40, 95))),
    )


def scanned(page: Gray, space: float, scan: Scan, seed: int) -> Gray:
    """Return a page as a scanner would show it; ``space`` is its staff space in pixels."""
    if scan == CLEAN:
        return page
    rng = np.random.default_rng(seed)
    ink = 1 - page.astype(np.float32) / 255
    if scan.missing:
        holes = rng.random((page.shape[0] // 2 + 1, page.shape[1] // 2 + 1), np.float32) < scan.missing
        ink *= ~holes.repeat(2, 0).repeat(2, 1)[: page.shape[0], : page.shape[1]]
    ink = ndimage.gaussian_filter(ink, scan.blur * space)
    cloud = Image.fromarray(rng.random((4, 4), np.float32) - 0.5).resize(page.shape[::-1], Image.Resampling.BICUBIC)
    paper = scan.paper + scan.uneven * np.asarray(cloud)
    gray = paper + ink * (scan.ink - paper) + scan.noise * rng.standard_normal(page.shape, np.float32)
    if scan.threshold:
        gray = np.where(gray < scan.threshold, 0.0, 255.0)
    seen = gray.clip(0, 255).astype(np.uint8)
    if scan.jpeg:
        buffer = io.BytesIO()
        Image.fromarray(seen).save(buffer, "JPEG", quality=scan.jpeg)
        seen = np.array(Image.open(buffer))
    return seen


def levelled(page: Gray) -> Gray:
    """Scale the gray of a page so that its paper is white everywhere and its ink black."""
    high, wide = (-(-side // PAPER_CELL) for side in page.shape)
    padded = np.pad(page, ((0, high * PAPER_CELL - page.shape[0]), (0, wide * PAPER_CELL - page.shape[1])), "edge")
    cells = np.median(padded.reshape(high, PAPER_CELL, wide, PAPER_CELL).swapaxes(1, 2).reshape(high, wide, -1), axis=2)
    cells = ndimage.gaussian_filter(ndimage.median_filter(ndimage.maximum_filter(cells, 3), 3), 2.0)
    paper = np.asarray(Image.fromarray(cells.astype(np.float32)).resize(page.shape[::-1], Image.Resampling.BILINEAR))
    ink = page.astype(np.float32) / np.maximum(paper, 1.0)
    dark = min(float(np.percentile(ink, INK_PERCENTILE)), 0.7)
    return ((ink - dark) / (1 - dark) * 255).clip(0, 255).astype(np.uint8)

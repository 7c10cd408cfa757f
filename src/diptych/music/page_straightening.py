"""Straighten a page and bring its staff lines to one distance, before its staves are searched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from diptych.music.scans import levelled

SPACE = 6  # pixels of a staff space on a straightened page
INK = 160  # gray below which a pixel counts as ink
INKS = (INK, 215)  # the same where lines are searched; thin ones may be pale
PALEST = 0.15  # what is less dark than this share of ink is paper
SPACES = (4, 80)  # pixels of a staff space on the pages that are read
NEAR_SPACES = (0.86, 1.14)  # of a first estimate of the staff space, within which the exact one is searched
LEAST_LINES = 60  # distances of lines by which a staff space is known
MAX_SKEW, SKEW_STEP = 3.0, 0.04  # degrees
BLOCKS = 32  # parts of a page's width whose rows are shifted against each other to find its skew
ALONG = 9  # pixels over which a noisy page is smoothed along its lines to measure it
Gray = UInt8[np.ndarray, "h w"]
Darkness = Float[np.ndarray, "h w"]  # 0 for paper and 1 for ink; thin lines are between, and count


def staff_space(ink: Bool[np.ndarray, "h w"]) -> float:
    """Return the distance of staff lines in pixels, or 0 where there are none.

    It is the most frequent sum of a vertical run of ink and of the white run below it, weighed by neighbours (Fujinaga 2004).
    """
    columns = ink.T
    steps = np.diff(np.pad(columns, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    column, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    same = column[1:] == column[:-1]
    sums = (start[1:] - start[:-1])[same]
    black = (end - start)[:-1][same]
    usual = sums[(sums >= SPACES[0]) & (sums <= SPACES[1]) & (black * 2 < sums)]
    if len(usual) < LEAST_LINES:
        return 0.0
    counts = np.bincount(usual, minlength=SPACES[1] + 2).astype(float)
    best = int(np.argmax(counts[:-1] + counts[1:]))  # a distance between two whole numbers is seen as both
    near = slice(max(0, best - 1), best + 3)
    return float((np.arange(len(counts))[near] * counts[near]).sum() / counts[near].sum())


def skew(ink: Darkness) -> float:
    """Return the angle in degrees by which rows descend to the right: the one at which rows of ink are most uneven."""
    edges = np.linspace(0, ink.shape[1], BLOCKS + 1).astype(int)
    rows = np.stack([ink[:, a:b].sum(1) for a, b in pairwise(edges)]).astype(np.float32)
    centres = (edges[:-1] + edges[1:]) / 2 - ink.shape[1] / 2

    def unevenness(angle: float) -> float:
        shifts = np.round(np.tan(np.radians(angle)) * centres).astype(int)
        profile = sum(np.roll(row, -shift) for row, shift in zip(rows, shifts, strict=True))
        return float(np.square(np.diff(profile)).sum())

    angles = np.arange(-MAX_SKEW, MAX_SKEW + SKEW_STEP / 2, SKEW_STEP)
    return float(max(angles, key=unevenness))


def _refined(ink: Darkness, space: float) -> tuple[float, float]:
    """Return the distance of staff lines of a straight page more exactly, and how much speaks for it.

    Five rows at this distance have most ink; the palest of them counts, so that text, beams and ledger lines do not.
    """
    rows = ink.mean(1) - ndimage.uniform_filter1d(ink.mean(1), max(3, round(space)))
    places = np.arange(len(rows))

    def evidence(distance: float) -> float:
        lines = [np.interp(places + distance * line, places, rows, right=0.0) for line in range(5)]
        return float(np.square(np.clip(np.min(lines, axis=0), 0, None)).sum())

    distances = space * np.arange(*NEAR_SPACES, 0.0025)
    found = np.array([evidence(distance) for distance in distances])
    return (float(distances[found >= 0.98 * found.max()].mean()) if found.max() else space), float(found.max())


def _darkness(level: Gray) -> Darkness:
    dark = (255 - level.astype(np.float32)) / 255
    return np.where(dark < PALEST, np.float32(0), dark)


def noise_of(page: Gray) -> float:
    """Return the standard deviation of a page's noise in gray levels: about 0.4 of it where the paper is white."""
    steps = np.abs(np.diff(page.astype(np.int16), axis=1))
    return float(np.median(steps)) / 0.954 if steps.size else 0.0  # 0.954: the median of such a difference for a deviation of 1


def straighten(page: Gray, *, noisy: bool = False) -> UInt8[np.ndarray, "p q"] | None:
    """Level the gray of a page, straighten it and bring its staff space to SPACE pixels; None where no staff lines are seen.

    A ``noisy`` page is smoothed along its lines where these are measured.
    """

    def measured(gray: Gray) -> Gray:
        return levelled(ndimage.uniform_filter1d(gray, ALONG, axis=1) if noisy else gray)

    level = measured(page)
    if not any(staff_space(level < ink) for ink in INKS):
        return None
    angle = skew(_darkness(level))
    image = Image.fromarray(page)
    if abs(angle) >= SKEW_STEP:
        image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=int(np.median(page)))
        level = measured(np.array(image))
    spaces = {space for ink in INKS if (space := staff_space(level < ink))}
    if not spaces:
        return None
    found = max((_refined(_darkness(level), space) for space in spaces), key=lambda pair: pair[1])
    scale = SPACE / found[0]
    size = max(1, round(page.shape[1] * scale)), max(1, round(page.shape[0] * scale))
    return levelled(np.array(image.resize(size, Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.BICUBIC)))

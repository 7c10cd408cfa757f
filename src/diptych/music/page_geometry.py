"""Find the staves of a page: straighten it, bring its staff space to one size, and follow its lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from diptych.music.page_straightening import INK, INKS, noise_of, straighten
from diptych.music.page_straightening import SPACE as SPACE
from diptych.music.page_straightening import Gray as Gray

SMOOTHED = 31  # pixels over which a line is averaged along its length
SMOOTHED_MORE = 91  # the same where a line is so pale that parts of it are missing
LINES = (-2, -1, 0, 1, 2)  # of a staff, in staff spaces from the middle one
MIN_PALE = 9.0  # of 255: contrast of the median of a staff's lines where they are that pale
MIN_LINE = 14.0  # of 255: contrast of a staff line with the spaces beside it
FAINT = 0.45  # of the contrast of a page's best staff: what has less is none
BESIDE = 9  # staff spaces between the middle lines of staves so near that a short and faint one may be none
HALF_DARK = 0.5  # of the darkness of a line, what is none of it
OFF_CENTRE = 0.15  # the share of columns in which five lines are seen better a space off
MIN_STAFF, MAX_GAP = 60, 200  # pixels that a staff is long at least, and of it that other ink may cover
BLOCK = 24  # pixels along a staff at which the height of its lines is measured
FOLLOWED = 5, 15  # blocks over which this is smoothed, and those of a pale staff, whose beams are darker
BAR_HEIGHT = (3.9, 4.5)  # staff spaces of a bar line with the lines at its ends
BESIDE_BAR = (3, 4, 5)  # pixels beside a bar line that are white between the lines
CLEAR_BAR = 0.15  # the share of them that may be ink
ONE_HEIGHT = 2  # pixels between the ends of bar lines of one staff
LEAST_BARS, BARS_APART = 2, 6.0  # bar lines of a staff at least, and staff spaces between the first and the last of them
NEXT_STAFF = 7.0  # staff spaces between the middle lines of two staves at least
MARK, MARGIN = 3, 1.0  # pixels of a column that are ink where a sign is; staff spaces from the clef to the end of the lines
FAINT_START, SIGN_GAP = 0.5, 1.5  # contrast of lines that may not be seen below a clef and a key; staff spaces between those
SAME_LEFT, LEFT_OFF, WHOLE_LINE = 6, 3, 0.85
"""Staff spaces between left ends of the staves of a system, and from those to the line they share; the ink in its rows."""
TABLE = 2  # staff spaces of dark columns that are no sign
NOISY, LOUD = 4.0, 12.0  # gray levels of noise
LEAST_START = 2.0  # staff spaces by which a staff begins earlier where there is a clef, and not a brace


@dataclass(frozen=True)
class Staff:
    """Five lines on a straightened page: their ends, the height of the middle line at each column, and their distance.

    All are in pixels; ``contrast`` is that of the lines with the spaces between them, 0 to 1. In the first ``unseen`` columns
    signs are seen and no lines: a clef and a key, or a name that stands before the staff.
    """

    left: int
    right: int
    middle: Float[np.ndarray, " w"]
    space: float
    contrast: float
    unseen: int = 0

    def position(self, x: float, y: float) -> float:
        """Return how many staff steps a point is above the middle line."""
        return (self.middle_at(x) - y) * 2 / self.space

    def row(self, x: float, position: float) -> float:
        """Return the height of a staff position, steps above the middle line, at a column."""
        return self.middle_at(x) - position * self.space / 2

    def middle_at(self, x: float) -> float:
        """Return the height of the middle line at a column."""
        return float(self.middle[min(max(round(x), 0), len(self.middle) - 1)])


@dataclass(frozen=True)
class Page:
    """A straightened page at SPACE pixels a staff space, and its staves from top to bottom, by system."""

    gray: Gray
    systems: tuple[tuple[Staff, ...], ...]


def find_staves(gray: Gray) -> list[Staff]:
    """Find the staves of a straightened page from top to bottom."""
    dark = ndimage.uniform_filter1d(255.0 - gray.astype(np.float32), SMOOTHED, axis=1)
    half = SPACE // 2
    lines = dark - (np.roll(dark, half, 0) + np.roll(dark, -half, 0)) / 2
    near = ndimage.maximum_filter1d(lines, 3, axis=0)
    evidence = np.min([np.roll(near, -offset * SPACE, 0) for offset in LINES], axis=0)
    smooth = ndimage.uniform_filter1d(near, SMOOTHED_MORE, axis=1)
    faint = np.median([np.roll(smooth, -offset * SPACE, 0) for offset in LINES], axis=0)
    evidence[: 2 * SPACE], evidence[-2 * SPACE :] = 0, 0
    pale = ndimage.binary_erosion(faint > MIN_PALE, np.ones((1, SMOOTHED_MORE)))  # where a line is broken
    counts = (evidence > MIN_LINE).sum(1)
    staves: list[Staff] = []
    free = np.ones(len(counts), bool)
    while (row := int(np.argmax(np.where(free, counts, 0)))) and counts[row] >= MIN_STAFF:
        row = _centred(gray, row, evidence[row] > MIN_LINE)
        free[max(0, row - 6 * SPACE) : row + 6 * SPACE + 1] = False
        strength = evidence[max(0, row - 1) : row + 2].max(0)
        for left, right in _stretches((strength > MIN_LINE) | pale[max(0, row - 1) : row + 2].any(0)):
            staves.append(_without_name(gray, _followed(lines, row, left, right)))
    usual = float(np.median([staff.space for staff in staves])) if staves else 0.0  # a page is engraved in one size
    darkest = max((staff.contrast for staff in staves), default=0.0)  # ledger lines of many notes may look like a faint staff
    real = [
        staff for staff in staves if staff.contrast >= FAINT * darkest and not any(_belongs(staff, other) for other in staves)
    ]
    real = [replace(staff, space=usual) for staff in real]
    return sorted(real, key=lambda staff: (round(staff.middle_at(staff.left) / SPACE), staff.left))


def _without_name(gray: Gray, staff: Staff) -> Staff:
    """Let a staff begin where both of its outer lines do: the name of a part, which may stand before it, is lower."""
    columns = np.arange(staff.left, staff.right + 1)
    rows = np.round(staff.middle[columns] + np.array([[-2], [2]]) * staff.space).astype(int)[..., None] + np.arange(-1, 2)
    lines = 255 - gray[np.clip(rows, 0, len(gray) - 1), columns[:, None]].min(-1).astype(np.int16)
    both = ndimage.binary_opening((lines > HALF_DARK * np.median(lines)).all(0), np.ones(SPACE))
    return replace(staff, left=int(columns[both.argmax()])) if both.any() and staff.contrast >= FAINT_START else staff


def _centred(gray: Gray, row: int, seen: Bool[np.ndarray, " w"]) -> int:
    """Return the middle line of a staff that is seen in some columns: a staff space off where beams hide one of its outer lines,
    and heads on a ledger line look like another."""
    dark = ndimage.maximum_filter1d(255 - gray[:, seen].astype(np.int16), 3, axis=0)
    least = HALF_DARK * np.median([np.median(dark[row + line * SPACE]) for line in (-1, 0, 1)])

    def covered(middle: int) -> float:
        rows = [middle + line * SPACE for line in LINES]
        return float(min((dark[y] > least).mean() for y in rows)) if rows[0] >= 0 and rows[-1] < len(gray) else 0.0

    return max((row, row - SPACE, row + SPACE), key=lambda middle: covered(middle) - OFF_CENTRE * (middle != row))


def _belongs(staff: Staff, other: Staff) -> bool:
    """Whether what looks like a staff consists of ledger lines and beams of a real one, which is longer and darker."""
    x = (staff.left + staff.right) // 2
    within = other.left < x < other.right and abs(staff.middle_at(x) - other.middle_at(x)) < BESIDE * SPACE
    return within and staff.right - staff.left < (other.right - other.left) / 2 and staff.contrast < 0.7 * other.contrast


def _stretches(seen: Bool[np.ndarray, " w"]) -> list[tuple[int, int]]:
    """Return the ends of stretches that are seen with gaps of at most MAX_GAP."""
    columns = np.flatnonzero(seen)
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > MAX_GAP) + 1) if len(columns) else []
    return [(int(part[0]), int(part[-1])) for part in parts if part[-1] - part[0] >= MIN_STAFF]


def _followed(lines: Float[np.ndarray, "h w"], row: int, left: int, right: int) -> Staff:
    """Follow a staff along its length: where its lines are darkest in each block, smoothed, and their distance."""
    offsets = np.arange(-2.0, 2.01, 0.25)
    distances = SPACE * np.arange(0.96, 1.041, 0.01)
    profile = lines[:, left : right + 1].mean(1)

    def contrasts(profile: np.ndarray, centre: float, distance: float) -> np.ndarray:
        rows = centre + distance * np.arange(-2, 3)
        return np.interp(rows, np.arange(len(profile)), profile)

    def fit(profile: np.ndarray, centre: float, distance: float) -> float:
        return float(np.sort(contrasts(profile, centre, distance))[:3].sum())  # beams may be darker than two of the lines

    centre, distance = max(((row + offset, d) for offset in offsets for d in distances), key=lambda found: fit(profile, *found))
    places, heights = [], []
    for start in range(left, right + 1, BLOCK):
        block = lines[:, start : min(start + BLOCK, right + 1)].mean(1)
        places.append(start + BLOCK / 2)
        heights.append(max((centre + offset for offset in offsets), key=lambda height: fit(block, height, distance)))
    contrast = min(1.0, float(contrasts(profile, centre, distance).mean()) / 128)
    wide = FOLLOWED[contrast < FAINT_START]
    smooth = ndimage.median_filter(np.array(heights), wide, mode="nearest") if len(heights) > 4 else np.full(len(heights), centre)
    return Staff(left, right, np.interp(np.arange(lines.shape[1]), places, smooth), float(distance), contrast)


def faint_staves(gray: Gray, staves: Sequence[Staff]) -> list[Staff]:
    """Return further staves of a straightened page, whose lines a scan in black and white has lost, by their bar lines.

    Those are as high as a staff, and stand in one row.
    """
    ends: dict[tuple[int, int], list[int]] = {}  # the columns of strokes by their top and end
    for x, top, end in sorted({stroke for ink in INKS for stroke in _strokes(gray < ink)}):
        ends.setdefault((top, end), []).append(x)
    beside = {place: [near for near in _near(*place) if near in ends] for place in ends}
    found: list[Staff] = []
    for first in sorted(ends, key=lambda place: -sum(len(ends[near]) for near in beside[place])):
        if first not in ends:  # it was part of a row before
            continue
        row = sorted((x, *near) for near in beside[first] for x in ends.pop(near, ()))
        bars = [row[0], *(b for a, b in pairwise(row) if b[0] - a[0] > SPACE)]
        middle = sum(first) / 2
        known = any(abs(staff.middle_at(row[0][0]) - middle) < NEXT_STAFF * SPACE for staff in (*staves, *found))
        if known or len(bars) < LEAST_BARS or bars[-1][0] - bars[0][0] < BARS_APART * SPACE:
            continue
        xs = [x for x, _, _ in bars]
        heights = np.interp(np.arange(gray.shape[1]), xs, [(top + end) / 2 for _, top, end in bars])
        signs = _signs_before(gray, *first, xs[0])
        left = max(0, min([xs[0], *signs[:1]]) - round(MARGIN * SPACE))
        found.append(Staff(left, xs[-1], heights, staves[0].space, 0.0, xs[0] - left))
    return found


def _near(top: int, end: int) -> list[tuple[int, int]]:
    """The tops and ends of bar lines that may stand in one row."""
    return [(y, z) for y in range(top - ONE_HEIGHT, top + ONE_HEIGHT + 1) for z in range(end - ONE_HEIGHT, end + ONE_HEIGHT + 1)]


def _strokes(ink: Bool[np.ndarray, "h w"]) -> list[tuple[int, int, int]]:
    """Return column, top and end of all vertical runs of ink as high as a staff with white beside them, but for its lines."""
    steps = np.diff(np.pad(ink.T, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    column, top = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1] - 1
    whole = (end - top + 1 >= BAR_HEIGHT[0] * SPACE) & (end - top + 1 <= BAR_HEIGHT[1] * SPACE)
    found = []
    for x, first, last in zip(column[whole].tolist(), top[whole].tolist(), end[whole].tolist(), strict=True):
        middle = (first + last) / 2
        rows = [y for y in range(first, last + 1) if abs((y - middle) % SPACE - SPACE / 2) < SPACE / 2 - 1]
        beside = [x + way * far for far in BESIDE_BAR for way in (-1, 1) if 0 <= x + way * far < ink.shape[1]]
        if ink[np.ix_(rows, beside)].mean() <= CLEAR_BAR:
            found.append((x, first, last))
    return found


def _signs_before(gray: Gray, top: int, end: int, last: int) -> list[int]:
    """Return the columns up to the last one in which signs stand in the rows of a staff; a table beside the paper is none."""
    ink = gray[top : end + 1, : last + 1] < INK
    table = np.flatnonzero(ndimage.binary_opening(ink.mean(0) > WHOLE_LINE, np.ones(TABLE * SPACE)))
    paper = int(table[-1]) + SPACE if len(table) else 0  # its edge may lean
    return (paper + np.flatnonzero(ink[:, paper:].sum(0) >= MARK)).tolist()


def _from_clef(gray: Gray, staff: Staff) -> Staff:
    """Let a staff with pale lines begin at its clef, where signs have hidden them up to the first notes."""
    if staff.contrast >= FAINT_START:
        return staff
    top, end = max(0, round(staff.row(staff.left, 4))), round(staff.row(staff.left, -4))
    first = staff.left
    for x in reversed(_signs_before(gray, top, end, staff.left)):
        if first - x > SIGN_GAP * SPACE:
            break
        first = x
    if staff.left - first < LEAST_START * SPACE:
        return staff
    left = max(0, first - round(MARGIN * SPACE))
    return replace(staff, left=left, unseen=staff.left - left)


def group_systems(gray: Gray, staves: Sequence[Staff]) -> tuple[tuple[Staff, ...], ...]:
    """Group staves whose left ends a vertical line connects, at which they begin; a system is read as one."""
    systems: list[list[Staff]] = []
    for staff in staves:
        line = _line_between(gray, systems[-1][-1], staff) if systems else None
        if line is None:
            systems.append([staff])
        else:
            systems[-1][-1] = replace(systems[-1][-1], left=line, unseen=0)
            systems[-1].append(replace(staff, left=line, unseen=0))
    return tuple(map(tuple, systems))


def _line_between(gray: Gray, above: Staff, below: Staff) -> int | None:
    """Return the column of the vertical line at the left ends of two staves, None where there is none.

    Signs hide the lines of a staff, which may seem to begin behind its clef, or at its name where its lines are pale.
    """
    lefts = sorted((above.left, below.left))
    line = _line_near(gray, above, below, lefts[0], lefts[0]) if lefts[1] - lefts[0] <= SAME_LEFT * SPACE else None
    if line is None and (above.unseen or below.unseen):
        return _line_near(gray, above, below, lefts[0], min(above.left + above.unseen, below.left + below.unseen))
    return line


def _line_near(gray: Gray, above: Staff, below: Staff, first: int, last: int) -> int | None:
    """Return the column of the first line, or pair of them, that joins two staves near a stretch of columns."""
    x = max(0, first - LEFT_OFF * SPACE)
    top, end = round(above.row(first, -4)) + 2, round(below.row(first, 4)) - 2
    part = gray[max(0, top) : max(0, end), x : last + LEFT_OFF * SPACE] < INK
    columns = np.flatnonzero(part.mean(0) > WHOLE_LINE) if part.size else np.empty(0, int)
    return x + int(columns[columns < columns[0] + 2 * LEFT_OFF * SPACE][-1]) if len(columns) else None


def read_geometry(page: Gray) -> Page | None:
    """Straighten a page and find its staves; None where there are none.

    A page with much noise is measured with less of it, and one with some noise where no staves are found otherwise.
    """
    noise = noise_of(page)
    for noisy in (False, True) if NOISY <= noise < LOUD else (noise >= LOUD,):
        gray = straighten(page, noisy=noisy)
        staves = [_from_clef(gray, staff) for staff in find_staves(gray)] if gray is not None else []
        if gray is not None and staves:
            staves = sorted([*staves, *faint_staves(gray, staves)], key=lambda staff: staff.middle_at(staff.left))
            return Page(gray, group_systems(gray, staves))
    return None

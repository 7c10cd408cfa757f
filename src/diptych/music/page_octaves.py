"""Find the octave signs of a page, 8 and 15 above or below a staff with their lines, and how far each moves which notes.

Both the map of a page shows them and the page itself: a translator may see none of a thin line of short dashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from diptych.extras import extra
from diptych.music.page_geometry import SPACE, Gray, Staff
from diptych.music.page_symbols import Symbol
from diptych.music.print_styles import FONTS
from diptych.music.rasters import draw_svg

BRACKETS = "E51A", "E51B"
GLYPHS = {"E510": 1, "E514": 2}  # SMuFL's 8 and 15, and the octaves that each stands for
LINE_GAP = 2.5  # staff spaces between the parts of one sign
LINE_HEIGHT = 0.6  # staff spaces: what is lower is a part of the line
OFF_LINE = 2.0  # staff spaces between the heights of the parts of one sign
LEAST_WIDTH = 0.7  # staff spaces of a sign
REACH = 0.7  # staff spaces from the ends of a sign to the middles of the first and the last head below it
SURE = 0.65  # correlation with a digit of some font that a sign without a dashed line has
DASH, DASHES = 1.5, 6  # staff spaces: the greatest length of a dash; and how many make a dashed line
ONE_ROW = 0.25  # staff spaces between the heights of dashes
SIZE = (16, 24)  # height and width in pixels at which shapes are compared
PALEST = 64  # of 255: what is less dark is no part of a glyph
UNITS = 250  # of a glyph in a staff space
OUTSIDE = 6.0  # staff steps from the middle line to the nearest octave line
LINE_REACH = 14.0  # staff spaces from the middle line of a staff to its farthest octave line
CONTRAST = 50  # of 255: from a dash to the gap behind it
DARK, PALE = 128, 200  # gray below which a pixel is ink; and that of digits with thin strokes
PAPER = 3  # rows without ink above and below a dash
PERIOD, UNEVEN = (0.35, 1.6), 0.35  # staff spaces from a dash to the next one, and by how much the next such distance may differ
LEAST_DASHES = 3  # of a line that digits begin
SURER = 0.75  # correlation with the digits of some font that those before a line of fewer than DASHES dashes have
DIGITS = (1.0, 2.2)  # the height of digits in staff spaces, at least and at most
BEFORE = 4.5  # staff spaces in which the digits before a line stand
OFF_EDGES = (-1, 0, 1)  # pixels from the edges of what is dark in a digit to its edges
HOOK, AT_END = 0.5, 1.5  # staff spaces: the least height of a hook, and how far it is from the last dash
BREAK = 4.0  # staff spaces of a line that something else may cover


@dataclass(frozen=True)
class Octaves:
    """An octave sign: its staff, where it begins and ends, and the octaves by which notes sound higher than they are printed."""

    staff: int
    left: float
    right: float
    octaves: int
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """The left, top, right and bottom edge of its digits, where it was found on the page itself; its line is as high."""


@dataclass(frozen=True)
class _Line:
    """A level line of dashes: its upper row, where it begins and ends, and how many dashes it has."""

    y: int
    left: int
    right: int
    dashes: int


def find_octaves(symbols: Sequence[Symbol], gray: Gray, staves: Sequence[Staff]) -> list[Octaves]:
    """Find the octave signs of a page. Each belongs to the staff, above or below it, whose heads are nearest to it."""
    heads = [s for s in symbols if s.kind in ("head", "hollow head")]
    found = _find_dashed(gray, heads, staves)
    for parts in _signs([s for s in without_octaves(symbols, found) if s.kind == "octave sign"]):
        left, right = parts[0].left, max(part.right for part in parts)
        tall = [part for part in parts if part.height >= LINE_HEIGHT * SPACE]
        if right - left < LEAST_WIDTH * SPACE or not tall:
            continue
        octaves, sure = _octaves(tall, gray)
        if sure < SURE and not _has_dashes(parts):  # letters of a text have a line without gaps, or none
            continue
        y = sum(part.y for part in parts) / len(parts)
        staff = _nearest(heads, left, right, y, parts[0].staff)
        way = 1 if y < staves[staff].middle_at(left) else -1
        found.append(Octaves(staff, left - REACH * SPACE, right + REACH * SPACE, way * octaves))
    return found


def without_octaves(symbols: Sequence[Symbol], signs: Sequence[Octaves]) -> list[Symbol]:
    """Leave out what a map shows within octave signs that were found on the page itself: a digit may look like a head."""

    def within(s: Symbol, sign: Octaves) -> bool:
        left, top, right, bottom = sign.box
        end = sign.right if s.kind == "octave sign" else right
        return left <= s.x <= end and top <= s.y <= bottom

    return [s for s in symbols if not any(within(s, sign) for sign in signs)]


def octaves_at(signs: Sequence[Octaves], staff: int, x: float) -> int:
    """Return by how many octaves a head sounds higher than it is printed."""
    return next((sign.octaves for sign in signs if sign.staff == staff and sign.left <= x <= sign.right), 0)


def _nearest(heads: Sequence[Symbol], left: float, right: float, y: float, otherwise: int) -> int:
    """Return the staff whose heads are nearest to a sign."""
    near = [(abs(head.y - y), head.staff) for head in heads if left - REACH * SPACE <= head.x <= right + REACH * SPACE]
    return min(near)[1] if near else otherwise


def _find_dashed(gray: Gray, heads: Sequence[Symbol], staves: Sequence[Staff]) -> list[Octaves]:
    """Find the octave signs whose dashed lines the page itself shows, behind their digits."""
    found: list[Octaves] = []
    lines = _dashed_lines(gray, staves)
    for line in lines:
        digits = _digits_before(gray, line)
        if digits is None:
            continue
        octaves, left, top, bottom = digits
        right, hook = _end_of(gray, line, lines)
        ways = {staff: (staves[staff].middle_at(left) > line.y) for staff in range(len(staves))}
        inside = [k for k in ways if not hook or ways[k] == (hook > 0)]
        off = min(inside, key=lambda k: abs(staves[k].middle_at(left) - line.y), default=0)
        staff = off if hook else _nearest(heads, left, right, line.y, off)
        way = 1 if ways[staff] else -1
        box = left - 1.0, top - 1.0, float(line.left), bottom + 1.0
        found.append(Octaves(staff, left - REACH * SPACE, right + REACH * SPACE, way * octaves, box))
    return found


def _dashed_lines(gray: Gray, staves: Sequence[Staff]) -> list[_Line]:
    """Find level lines of short dashes outside the staves, from the one with most dashes on."""
    found: list[_Line] = []
    for y in range(SPACE, len(gray) - SPACE):
        if any(abs(y - s.middle_at(s.left)) < OUTSIDE * SPACE / 2 for s in staves):
            continue
        if all(abs(y - s.middle_at(s.left)) > LINE_REACH * SPACE for s in staves):
            continue
        found += _dashed_at(gray, y)
    kept: list[_Line] = []
    for line in sorted(found, key=lambda each: -each.dashes):
        if not any(abs(line.y - k.y) <= SPACE / 2 and line.left < k.right and k.left < line.right for k in kept):
            kept.append(line)
    return kept


def _dashed_at(gray: Gray, y: int) -> list[_Line]:
    """Find the lines of dashes in a row and the next one, above and below which there is paper."""
    level = np.maximum(gray[y : y + 2].sum(0, dtype=np.int16) - 255, 0)  # a thin line may lie between two rows
    high, low = (f(level, SPACE) for f in (ndimage.maximum_filter1d, ndimage.minimum_filter1d))
    ink = (high - low >= CONTRAST) & (2 * level < high + low) & (low < DARK)
    steps = np.diff(np.pad(ink, 1).astype(np.int8))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    beside = [row for row in range(y - PAPER - 1, y + PAPER + 3) if not y - 1 <= row <= y + 2]
    tall = np.array([(gray[beside, a:b] < DARK).any() for a, b in zip(begins, ends, strict=True)], bool)
    lines, first = [], 0
    for k in range(1, len(begins) + 1):
        goes_on = k < len(begins) and not tall[k] and not tall[k - 1] and _is_next(begins, k, first)
        if not goes_on:
            if k - first >= LEAST_DASHES:
                lines.append(_Line(y, int(begins[first]), int(ends[k - 1]), k - first))
            first = k
    return lines


def _is_next(begins: np.ndarray, k: int, first: int) -> bool:
    """Whether a dash is as far from the one before as those before it from each other."""
    apart = float(begins[k] - begins[k - 1])
    usual = float(begins[k - 1] - begins[first]) / (k - 1 - first) if k - 1 > first else apart
    return PERIOD[0] * SPACE <= apart <= PERIOD[1] * SPACE and abs(apart - usual) <= max(1.0, UNEVEN * usual)


def _digits_before(gray: Gray, line: _Line) -> tuple[int, int, int, int] | None:
    """Return the octaves that the digits before a line stand for, and their left, top and bottom edge; None without digits."""
    begin, top = max(0, line.left - round(BEFORE * SPACE)), max(0, line.y - round(DIGITS[1] * SPACE))
    part = gray[top : line.y + 2 + round(DIGITS[1] * SPACE), begin : line.left + 1]
    boxes = []
    for dark in (DARK, PALE):
        labels, _ = ndimage.label(part < dark, np.ones((3, 3)))
        for rows, columns in ndimage.find_objects(labels):
            near = rows.start + top <= line.y + SPACE / 2 and rows.stop + top >= line.y - SPACE / 2
            if near and DIGITS[0] * SPACE <= rows.stop - rows.start <= DIGITS[1] * SPACE:
                boxes.append((columns.start + begin, rows.start + top, rows.stop + top))
    best = (0.0, 0, 0, 0, 0)
    boxes.sort()
    together = [(a[0], min(a[1], b[1]), max(a[2], b[2])) for a, b in pairwise(boxes)]  # the digits of a number differ in height
    for box in {*boxes, *together}:
        for off in product(OFF_EDGES, repeat=3):  # gray edges
            left, high, end = (max(0, edge + by) for edge, by in zip(box, off, strict=True))
            octaves, sure = _octaves_at(gray, left, high, end)
            best = max(best, (sure, octaves, left, high, end))
    return best[1:] if best[0] >= (SURE if line.dashes >= DASHES else SURER) else None


def _end_of(gray: Gray, line: _Line, lines: Sequence[_Line]) -> tuple[int, int]:
    """Return where a line ends, and whether a hook shows the staff below it (1) or above it (-1); 0 without a hook."""
    y, right, high = line.y, line.right, round(HOOK * SPACE)
    while True:
        for x in range(right - 2, min(gray.shape[1] - 1, right + round(AT_END * SPACE))):
            ink = 510 - gray[y - high - 1 : y + high + 3, x : x + 2].sum(1, dtype=np.int16) >= DARK
            up, down = ink[: high + 1].all(), ink[-high - 1 :].all()
            if down != up:
                return x, 1 if down else -1
        more = [other.right for other in lines if abs(other.y - y) <= 1 and 0 <= other.left - right <= BREAK * SPACE]
        if not more:
            return right, 0
        right = more[0]


def _signs(parts: Sequence[Symbol]) -> list[list[Symbol]]:
    """Part what a map shows as octave signs into single ones: digits, the dashes of a line, and the hook that ends it."""
    signs: list[list[Symbol]] = []
    for part in sorted(parts, key=lambda s: s.left):
        near = [sign for sign in signs if not _ends(sign) and _follows(sign, part)]
        if near:
            near[-1].append(part)
        else:
            signs.append([part])
    return signs


def _follows(sign: Sequence[Symbol], part: Symbol) -> bool:
    last = sign[-1]
    above, below = min(last.top, part.top), max(last.bottom, part.bottom)
    apart = below - above - (last.height + part.height) > 0 and abs(last.y - part.y) > OFF_LINE * SPACE
    return part.left - max(s.right for s in sign) <= LINE_GAP * SPACE and not apart


def _ends(sign: Sequence[Symbol]) -> bool:
    """Whether a hook ends a sign: what is high again, behind a line."""
    flat = [part.height < LINE_HEIGHT * SPACE for part in sign]
    return any(flat) and not flat[-1]


def _has_dashes(parts: Sequence[Symbol]) -> bool:
    """Whether short parts of a sign are all in one row, as those of a dashed line."""
    flat = [part for part in parts if part.height < LINE_HEIGHT * SPACE]
    if len(flat) < DASHES or max(part.y for part in flat) - min(part.y for part in flat) > ONE_ROW * SPACE:
        return False
    return all(part.width < DASH * SPACE for part in flat) and len(flat) > len(parts) / 2


def _octaves(parts: Sequence[Symbol], gray: Gray) -> tuple[int, float]:
    """Return 1 or 2 octaves: whether a sign begins more like an 8 or like a 15 of verovio's fonts, in brackets or not.

    The second number says how much, as a correlation.
    """
    first = [part for part in parts if part.left - parts[0].right <= SPACE]
    return _octaves_at(gray, round(parts[0].left), round(min(p.top for p in first)), round(max(p.bottom for p in first)) + 1)


def _octaves_at(gray: Gray, left: int, top: int, end: int) -> tuple[int, float]:
    """Return the same for digits that begin in a column, between two rows."""
    scores = []
    for octaves, wide, shape in _shapes():
        part = gray[top:end, left : left + max(2, round(wide * (end - top)))]
        scores.append((float((_normalised(255.0 - part) * shape).sum()) if part.size else 0.0, octaves))
    sure, octaves = max(scores)
    return octaves, sure


def _normalised(darkness: np.ndarray) -> Float[np.ndarray, "16 24"]:
    """Bring a shape to one size, mean 0 and norm 1."""
    image = Image.fromarray(darkness.astype(np.float32)).resize((SIZE[1], SIZE[0]), Image.Resampling.BILINEAR)
    shape = np.asarray(image) - np.asarray(image).mean()
    return shape / max(float(np.linalg.norm(shape)), 1e-6)


@cache
def _shapes() -> list[tuple[int, float, np.ndarray]]:
    """Return the digits of octave signs in verovio's fonts: the octaves, the width by the height, and the shape of each."""
    found = []
    for font in FONTS:
        before, after = (_drawn(font, glyph) for glyph in BRACKETS)
        for glyph, octaves in GLYPHS.items():
            digits = _drawn(font, glyph)
            for dark in (digits, np.concatenate([before, digits, after], axis=1)):
                rows = np.flatnonzero((dark > PALEST).any(1))
                part = dark[rows[0] : rows[-1] + 1]
                found.append((octaves, part.shape[1] / part.shape[0], _normalised(part)))
    return found


def _drawn(font: str, glyph: str) -> np.ndarray:
    """Draw a glyph of a font at the resolution of a page that is read; return its columns."""
    verovio = extra("verovio", "music", "music")
    path = (Path(verovio.__file__).parent / "data" / font / f"{glyph}.xml").read_text()
    size = f'width="{5 * SPACE}" height="{5 * SPACE}"'
    box = f'viewBox="{-UNITS} {-4 * UNITS} {5 * UNITS} {5 * UNITS}" {size}'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{path}</svg>'
    dark = 255 - np.array(draw_svg(svg)).astype(np.float32)
    columns = np.flatnonzero((dark > PALEST).any(0))
    return dark[:, columns[0] : columns[-1] + 1]

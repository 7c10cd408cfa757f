"""Read the digits of meters and of rests of several measures, by comparison with those of the fonts that verovio brings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from diptych.extras import extra
from diptych.music.page_geometry import SPACE, Gray
from diptych.music.page_symbols import Map, Symbol
from diptych.music.print_styles import FONTS
from diptych.music.rasters import draw_svg
from diptych.music.symbols import CLASS

SIZE = (24, 28)  # height and width in pixels at which shapes are compared
HEIGHTS = (1.2, 2.6)  # staff spaces of a digit
WIDTHS = (0.3, 2.0)
ALIKE = 0.72  # correlation with the digit of some font from which on a shape is one
NEXT = 0.9  # staff spaces between the digits of one number
DIGIT_INK = 190  # gray below which a pixel belongs to a digit
LETTER_GAP = (0.2, 1.2)  # staff spaces from a digit within which a letter begins and a bracket goes on
LETTER_HEIGHT = 0.7  # staff spaces of ink beside a digit, from which on it is no bracket
COMMON_TIME, CUT_TIME = 10, 11  # stand for these two signs
CUT_HEIGHT = 2.9  # staff spaces of the C with a stroke
GLYPHS = (*(f"E08{digit}" for digit in range(10)), "E08A", "E08B")
TALL_FONT = "Petaluma"  # its digits are higher than two staff spaces, and those of a meter overlap
TALL_METERS = (
    *((2, 2), (3, 2), (4, 2), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4), (7, 4)),
    *((2, 8), (3, 8), (4, 8), (5, 8), (6, 8), (7, 8), (9, 8), (12, 8)),
)
UNITS = 500  # of a glyph in a staff space and a half, as SMuFL has it: 250 are a space

Ink = Bool[np.ndarray, "_ _"]
Shape = Float[np.ndarray, "24 28"]


def numbers_in(gray: Gray) -> list[tuple[float, int]]:
    """Return the numbers in a part of a page, each with the column of its middle, from left to right.

    A digit touches no other ink. Digits beside each other, of one height, are one number.
    """
    labels, _ = ndimage.label(gray < DIGIT_INK, np.ones((3, 3)))
    found: list[tuple[int, int, int, int, int]] = []  # left, right, top, bottom, digit
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        high, wide = (rows.stop - rows.start) / SPACE, (columns.stop - columns.start) / SPACE
        if HEIGHTS[0] <= high <= HEIGHTS[1] and WIDTHS[0] <= wide <= 2 * WIDTHS[1]:
            part = np.where(labels[rows, columns] == index, 255 - gray[rows, columns], 0)
            for left, right, digit in _digits_in(part):
                found.append((columns.start + left, columns.start + right, rows.start, rows.stop, digit))
    groups: list[list[tuple[int, int, int, int, int]]] = []
    for each in sorted(found):
        last = groups[-1][-1] if groups else None
        if last and each[0] - last[1] <= NEXT * SPACE and abs(each[2] - last[2]) <= 2 and abs(each[3] - last[3]) <= 2:
            groups[-1].append(each)
        else:
            groups.append([each])
    return [((group[0][0] + group[-1][1]) / 2, int("".join(str(each[4]) for each in group))) for group in groups]


def counts_tuplet(gray: Gray, left: float, right: float, top: float, bottom: float) -> bool:
    """Whether what a map shows as a digit may count a tuplet, and not a verse: 1, 2 and 4 do not, what is not legible may."""
    rows = slice(max(0, round(top - SPACE)), round(bottom + SPACE) + 1)
    part = gray[rows, max(0, round(left - SPACE)) : round(right + SPACE) + 1]
    return not {number for _, number in numbers_in(part)} & {1, 2, 4}


def without_symbols(gray: Gray, seen: Map) -> Gray:
    """Return a page without the symbols that its map shows, but for digits; letters and brackets, which no map shows, remain."""
    return np.where(ndimage.binary_dilation((seen > 0) & (seen != CLASS["digit"])), np.uint8(255), gray)


def in_text(gray: Gray, digit: Symbol, others: Sequence[Symbol]) -> bool:
    """Whether ink beside what a map shows as a digit looks like letters: it is higher than the line of a bracket.

    A tuplet's number of two digits stands alone.
    """
    top, end = max(0, round(digit.top)), round(digit.bottom) + 1
    pair = [d for d in others if d is not digit and abs(d.y - digit.y) <= SPACE / 2 and abs(d.x - digit.x) <= 2 * SPACE]
    for near, far in ((digit.left - LETTER_GAP[0] * SPACE, -1), (digit.right + LETTER_GAP[0] * SPACE, 1)):
        ends = sorted((round(near), round(near + far * LETTER_GAP[1] * SPACE)))
        part = gray[top:end, max(0, ends[0]) : max(0, ends[1])] < DIGIT_INK
        if len(pair) == 1 and (pair[0].x - digit.x) * far > 0:
            continue
        if part.size and part.any(1).sum() > LETTER_HEIGHT * SPACE:
            return True
    return False


def _digits_in(darkness: np.ndarray) -> list[tuple[int, int, int]]:
    """Return the ends and the digit of a shape, or of two digits that touch each other; nothing where it shows none."""
    wide = darkness.shape[1]
    one = _likeness(darkness)
    best = (one[0], [(0, wide, one[1])]) if wide <= WIDTHS[1] * SPACE else (0.0, [])
    for cut in range(round(0.6 * SPACE), wide - round(0.6 * SPACE) + 1) if wide >= WIDTHS[1] * SPACE * 0.7 else ():
        first, second = _likeness(darkness[:, :cut]), _likeness(darkness[:, cut:])
        if min(first[0], second[0]) > best[0]:
            best = min(first[0], second[0]), [(0, cut, first[1]), (cut, wide, second[1])]
    return best[1] if best[0] >= ALIKE and all(digit < COMMON_TIME for *_, digit in best[1]) else []


def _likeness(darkness: np.ndarray) -> tuple[float, int]:
    """Return how much a shape is like the digit that it is most like, and this digit."""
    shape = _normalised(darkness)
    return max((float((shape * other).sum()), digit) for digit, others in enumerate(_digits()) for other in others)


def _normalised(darkness: np.ndarray) -> Shape:
    """Bring a shape to one height, centre it, and give it mean 0 and norm 1."""
    high, wide = darkness.shape
    width = max(1, min(SIZE[1], round(wide * SIZE[0] / high)))
    small = np.asarray(Image.fromarray(darkness.astype(np.float32)).resize((width, SIZE[0]), Image.Resampling.BILINEAR))
    shape = np.zeros(SIZE, np.float32)
    left = (SIZE[1] - width) // 2
    shape[:, left : left + width] = small
    shape -= shape.mean()
    return shape / max(float(np.linalg.norm(shape)), 1e-6)


@cache
def _digits() -> tuple[tuple[Shape, ...], ...]:
    """Return for each digit, and for the two signs of common time, its shapes in verovio's fonts."""
    drawn = [_drawn(font) for font in FONTS]
    return tuple(tuple(_normalised(font[digit]) for font in drawn) for digit in range(len(GLYPHS)))


@cache
def printed_signs() -> tuple[tuple[np.ndarray, ...], ...]:
    """Return how dark the pixels of each digit are in a staff, and those of the two signs of common time, in verovio's fonts.

    A digit has 13 rows, from line to line, and a column of paper on both sides. Of Petaluma's, the middle 13 rows are taken.
    """
    drawn = {font: _drawn(font) for font in FONTS}
    return tuple(
        tuple(_in_rows(signs[sign], sign, scaled=font != TALL_FONT) for font, signs in drawn.items())
        for sign in range(len(GLYPHS))
    )


def _in_rows(darkness: np.ndarray, sign: int, *, scaled: bool) -> np.ndarray:
    if scaled:
        high = round(SPACE * (CUT_HEIGHT if sign == CUT_TIME else 2)) + 1
        width = max(3, round(darkness.shape[1] * high / darkness.shape[0]))
        darkness = np.asarray(Image.fromarray(darkness).resize((width, high), Image.Resampling.BILINEAR))
    rows = 2 * SPACE + 1
    top = (len(darkness) - rows) // 2
    return np.pad(darkness[top : top + rows], ((0, 0), (1, 1)))


@cache
def tall_meters() -> tuple[tuple[int, int, np.ndarray], ...]:
    """Return meters of a font whose digits overlap in one: beats, unit, and how dark the pixels of both are together.

    Each has the 25 rows of a staff, and a column of paper on both sides.
    """
    folder = _folder(TALL_FONT)
    found = re.findall(r'c="E08(\d)".*?h-a-x="(\d+)"', folder.with_suffix(".xml").read_text())
    wide = {digit: int(advance) for digit, advance in found}
    meters = []
    for beats, unit in TALL_METERS:
        glyphs = ""
        for number, height in ((str(beats), -UNITS // 2), (str(unit), UNITS // 2)):
            left = 2 * UNITS - sum(wide[digit] for digit in number) // 2
            for digit in number:
                glyphs += f'<g transform="translate({left} {height})">{(folder / f"E08{digit}.xml").read_text()}</g>'
                left += wide[digit]
        dark = _dark(glyphs, 4 * UNITS, 4 * UNITS)
        columns = np.flatnonzero((dark > 255 - DIGIT_INK).any(0))
        middle = 2 * UNITS // 250 * SPACE
        meters.append((beats, unit, dark[middle - 2 * SPACE : middle + 2 * SPACE + 1, columns[0] - 1 : columns[-1] + 2]))
    return tuple(meters)


def _folder(font: str) -> Path:
    """Return the folder of a font's glyphs."""
    return Path(extra("verovio", "music", "music").__file__).parent / "data" / font


def _dark(glyphs: str, across: int, down: int) -> np.ndarray:
    """Draw glyphs in a box whose left edge is the origin's, at the resolution of a page that is read."""
    size = f'width="{across // 250 * SPACE}" height="{down // 250 * SPACE}"'
    box = f'viewBox="0 {-down // 2} {across} {down}" {size}'
    return 255 - np.array(draw_svg(f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{glyphs}</svg>')).astype(np.float32)


@cache
def _drawn(font: str) -> list[np.ndarray]:
    """Draw the signs of meters of a font, each cut to its box, at the resolution of a page that is read."""
    folder = _folder(font)
    wide = 2 * UNITS
    glyphs = "".join(
        f'<g transform="translate({wide * place + UNITS // 4} 0)">{(folder / f"{glyph}.xml").read_text()}</g>'
        for place, glyph in enumerate(GLYPHS)
    )
    dark = _dark(glyphs, len(GLYPHS) * wide, wide)
    edges = np.linspace(0, dark.shape[1], len(GLYPHS) + 1).astype(int)
    found = []
    for left, right in pairwise(edges):
        part = dark[:, left:right]
        rows, columns = (np.flatnonzero((part > 255 - DIGIT_INK).any(axis)) for axis in (1, 0))
        found.append(part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return found

"""Find the octave signs of a page, 8 and 15 above or below a staff with their lines, and how far each moves which notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

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


@dataclass(frozen=True)
class Octaves:
    """An octave sign: its staff, where it begins and ends, and the octaves by which notes sound higher than they are printed."""

    staff: int
    left: float
    right: float
    octaves: int


def find_octaves(symbols: Sequence[Symbol], gray: Gray, staves: Sequence[Staff]) -> list[Octaves]:
    """Find the octave signs of a page. Each belongs to the staff, above or below it, whose heads are nearest to it."""
    heads = [s for s in symbols if s.kind in ("head", "hollow head")]
    found = []
    for parts in _signs([s for s in symbols if s.kind == "octave sign"]):
        left, right = parts[0].left, max(part.right for part in parts)
        tall = [part for part in parts if part.height >= LINE_HEIGHT * SPACE]
        if right - left < LEAST_WIDTH * SPACE or not tall:
            continue
        octaves, sure = _octaves(tall, gray)
        if sure < SURE and not _has_dashes(parts):  # letters of a text have a line without gaps, or none
            continue
        y = sum(part.y for part in parts) / len(parts)
        near = [(abs(head.y - y), head.staff) for head in heads if left - REACH * SPACE <= head.x <= right + REACH * SPACE]
        staff = min(near)[1] if near else parts[0].staff
        way = 1 if y < staves[staff].middle_at(left) else -1
        found.append(Octaves(staff, left - REACH * SPACE, right + REACH * SPACE, way * octaves))
    return found


def octaves_at(signs: Sequence[Octaves], staff: int, x: float) -> int:
    """Return by how many octaves a head sounds higher than it is printed."""
    return next((sign.octaves for sign in signs if sign.staff == staff and sign.left <= x <= sign.right), 0)


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
    left, top, end = round(parts[0].left), round(min(p.top for p in first)), round(max(p.bottom for p in first)) + 1
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

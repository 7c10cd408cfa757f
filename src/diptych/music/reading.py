"""Judge whether a picture is a sheet that can be read, by its staff lines and clefs alone, and show what was read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from diptych.errors import DataError
from diptych.music.engrave import header_glyphs
from diptych.music.layout import HEADER_WIDTH, KEY_X, Layout
from diptych.music.noteheads import heads_of, without_staff_lines
from diptych.music.notes import CLEFS, System
from diptych.music.pages import SOURCES
from diptych.music.print_styles import FONTS
from diptych.music.roll import G, R
from diptych.music.sheet_image import draw_header
from diptych.music.sign_rolls import shows_signs

MIN_LINES = 0.3  # of full contrast, between a staff's lines and the spaces: noise and other pictures have less
MIN_CONFIDENCE = 0.5
Row = UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Legibility:
    """How well a system can be seen: contrast of its staff lines (0 to 1), its clefs, and how well these fit (-1 to 1)."""

    lines: float
    clefs: tuple[str, ...]
    fit: float

    @property
    def confidence(self) -> float:
        """The lesser of the two, at least 0."""
        return max(0.0, min(self.lines, self.fit))


def legibility(sheet: Row, layout: Layout) -> Legibility:
    """Judge the sheet of one system without reading its notes."""
    lines, clefs, fits = [], [], []
    for staff in range(layout.staves):
        rows = np.array(layout.line_rows(staff))
        between = np.concatenate([rows[:-1] + layout.space // 2, rows[[0]] - layout.space, rows[[-1]] + layout.space])
        dark = 255.0 - sheet[:, HEADER_WIDTH * layout.space :]
        lines.append(float(np.median(dark[rows], axis=1).min() - np.median(dark[between], axis=1).max()) / 255)
        clef, fit = find_clef(sheet, layout, staff)
        clefs.append(clef)
        fits.append(fit)
    return Legibility(min(lines), tuple(clefs), min(fits))


def find_clef(sheet: Row, layout: Layout, staff: int) -> tuple[str, float]:
    """Find the clef of a staff by correlation with those of verovio's fonts; return it with its correlation."""
    seen = _clef_place(without_staff_lines(sheet, layout), layout, staff)
    fits = {clef: max(_correlation(seen, each) for each in pictures) for clef, pictures in _clef_pictures(layout).items()}
    best = max(fits, key=lambda clef: fits[clef])
    return best, fits[best]


def _clef_place(sheet: Row, layout: Layout, staff: int) -> UInt8[np.ndarray, "row column"]:
    top = staff * layout.panel_height
    return sheet[top : top + layout.panel_height, : round(KEY_X * layout.space)]


@lru_cache(maxsize=8)
def _clef_pictures(layout: Layout) -> dict[str, list[Row]]:
    """Draw the clefs of all fonts, without a key, where a system has them."""
    found: dict[str, list[Row]] = {}
    for clef in CLEFS:
        pictures = (draw_header(header_glyphs(font), clef, layout) for font in FONTS)
        found[clef] = [_clef_place(without_staff_lines(picture, layout), layout, 0) for picture in pictures]
    return found


def _correlation(a: UInt8[np.ndarray, "row column"], b: UInt8[np.ndarray, "row column"]) -> float:
    x, y = a - a.mean(), b - b.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / size if size else 0.0


def check_legible(path: Path, sheets: Sequence[Row], layout: Layout) -> list[Legibility]:
    """Judge all systems of a page, of which the last ones may be blank.

    Raises DataError where a system is no staff of this layout.
    """
    found = [legibility(sheet, layout) for sheet in sheets]
    inked = [index for index, sheet in enumerate(sheets) if np.ptp(sheet)]
    for index in inked:
        each = found[index]
        if each.lines < MIN_LINES:
            raise DataError(
                f"{path}: system {index + 1} has no staff lines where diptych draws them (contrast {each.lines:.2f}, at least "
                f"{MIN_LINES}); give {SOURCES['sheet']}"
            )
    return found


def show_reading(sheets: Sequence[Row], systems: Sequence[System], layout: Layout) -> UInt8[np.ndarray, "rows columns 3"]:
    """Draw a red frame on the sheets around every head that was read; systems without notes stay as they are."""
    pictures = []
    for index, sheet in enumerate(sheets):
        picture = np.repeat(sheet[..., None], 3, axis=2)
        for staff, position, column in heads_of(systems[index], layout) if index < len(systems) else ():
            middle = layout.middle_row(staff) - position * layout.step_height
            rows = slice(max(0, middle - layout.step_height - 1), middle + layout.step_height + 2)
            columns = slice(max(0, column - 1), column + round(1.4 * layout.space) + 1)
            frame = picture[rows, columns]
            for edge in (frame[0], frame[-1], frame[:, 0], frame[:, -1]):
                edge[:] = (220, 0, 0)
        pictures.append(picture)
    return np.concatenate(pictures)


def certainty(roll: UInt8[np.ndarray, "h w 3"], system: System, layout: Layout) -> Float[np.ndarray, " n"]:
    """Return for each note of a system how strongly its onset is drawn in the roll it was read from, 0 to 1."""
    channel = G if shows_signs(roll, layout) else R
    found = []
    for staff, position, column in heads_of(system, layout):
        rows = layout.step_rows(staff, position)
        found.append(float(roll[rows, column : column + layout.step_height, channel].mean()) / 255)
    return np.array(found)

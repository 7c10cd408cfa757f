"""Pictures of whole songs: systems one below the other in one PNG, or on the pages of a PDF."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diptych.errors import DataError
from diptych.files import write_atomic
from diptych.music.layout import SYSTEM_WIDTH, Layout
from diptych.music.notes import System
from diptych.music.roll import STAFF_LINE, draw_roll, read_roll
from diptych.music.sign_rolls import draw_signs, read_signs, shows_signs

Picture = UInt8[np.ndarray, "h w c"]
Translated = UInt8[np.ndarray, "h w d"]
DPI, MARGIN = 144, 72  # of a PDF's A4 page, in pixels
A4 = (1190, 1684)
CHANNELS = {"sheet": 1, "roll": 3}
MIN_ROLL_LINES = STAFF_LINE // 2  # of 255: contrast between the staff lines and the rows beside them, STAFF_LINE when drawn
SOURCES = {
    "sheet": "a page of `diptych music sheet --engine network` or of `diptych music build`",
    "roll": "a picture that `diptych music midi2roll` or `build` drew",
}
"""Where the pictures of each kind that can be read come from."""


def stacked(systems: Sequence[System], layout: Layout) -> Picture:
    """The roll of a whole song, of signs where the layout asks for them."""
    draw = draw_signs if layout.signs else draw_roll
    return np.concatenate([draw(system, layout) for system in systems])


def by_page(picture: Picture, layout: Layout, translate: Callable[[np.ndarray], np.ndarray]) -> Translated:
    """A song's picture translated in whole pages, as translators were trained, so that memory does not grow with its length.

    The last page is filled up with the background, the colour of the first corner: statistics of a page are those of training.
    """
    high = layout.systems_per_page * layout.height
    filled = np.broadcast_to(picture[0, 0], (-(-len(picture) // high) * high, *picture.shape[1:])).copy()
    filled[: len(picture)] = picture
    return np.concatenate([translate(filled[top : top + high]) for top in range(0, len(filled), high)])[: len(picture)]


def unstacked(picture: Picture, layout: Layout, clef: str = "") -> list[System]:
    """The systems that a picture of rolls shows, to the last that has a note: those of rests in between take their time.

    The first system shows whether all are rolls of signs.
    """
    rows = [picture[top : top + layout.height] for top in range(0, len(picture), layout.height)]
    read = read_signs if rows and shows_signs(rows[0], layout) else read_roll
    found = [read(row, layout, clef=clef) for row in rows]
    last = max((index for index, system in enumerate(found) if system.notes), default=-1)
    return found[: last + 1]


def layout_by_size(path: Path, pixels: np.ndarray, staves: int, kind: Literal["sheet", "roll"]) -> Layout:
    """The layout of a sheet or a roll that diptych made, by its width. Raises DataError for any other picture."""
    height, width, channels = pixels.shape
    if pixels.dtype != np.uint8 or channels != CHANNELS[kind]:
        if kind == "sheet" and shows_roll(path, pixels):
            raise DataError(f"{path}: is a roll, not a sheet; read it with `diptych music roll2midi`")
        found = f"{channels} channel(s) of {pixels.dtype}"
        raise DataError(f"{path}: has {found}, a {kind} has {CHANNELS[kind]} of uint8; give {SOURCES[kind]}")
    layout = Layout(staves, 8 if width > 4 * SYSTEM_WIDTH else 4)
    if width != layout.width or height % layout.height:
        kinds = [Layout(staves, space) for space in (4, 8)]
        sizes = " or ".join(f"{k.width} wide and a multiple of {k.height} high" for k in kinds)
        systems = "single staves" if staves == 1 else "two staves"
        what = f"a {kind} of {systems} is {sizes}; give {SOURCES[kind]}"
        raise DataError(f"{path}: is {width} x {height} pixels, and {what}")
    return layout


def layout_by_lines(path: Path, pixels: np.ndarray, kind: Literal["sheet", "roll"]) -> Layout:
    """The layout, of single staves or of a piano, where a picture that diptych made has its staff lines.

    Raises DataError for a picture of another size.
    """
    fitting = []
    for staves in (2, 1):
        with suppress(DataError):
            fitting.append(layout_by_size(path, pixels, staves, kind))
    if not fitting:
        return layout_by_size(path, pixels, 1, kind)  # which says what fits
    ink = 255 - pixels[..., 0] if kind == "sheet" else pixels[..., 2]
    tops = {layout: range(0, len(ink), layout.height) for layout in fitting}
    return max(fitting, key=lambda x: max(line_contrast(ink[top : top + x.height], x) for top in tops[x]))


def line_contrast(ink: UInt8[np.ndarray, "h w"], layout: Layout) -> float:
    """By how much, of 255, the faintest staff line of a system stands out from the rows beside it."""
    lines = np.concatenate([layout.line_rows(staff) for staff in range(layout.staves)])
    rows = np.median(ink.astype(float), axis=1)
    return float((rows[lines] - np.maximum(rows[lines - layout.space // 2], rows[lines + layout.space // 2])).min())


def check_roll(path: Path, picture: Picture, layout: Layout) -> None:
    """Raise DataError where a system that is not blank has no staff lines where a roll has them, in blue."""
    for index, top in enumerate(range(0, len(picture), layout.height)):
        system = picture[top : top + layout.height]
        contrast = line_contrast(system[..., 2], layout)
        if np.ptp(system) and contrast < MIN_ROLL_LINES:
            raise DataError(
                f"{path}: is no roll: system {index + 1} has no blue staff lines in their place (contrast {contrast:.0f}, at "
                f"least {MIN_ROLL_LINES}); give {SOURCES['roll']}"
            )


def shows_roll(path: Path, pixels: np.ndarray) -> bool:
    """Whether a picture is a roll that diptych drew."""
    with suppress(DataError):
        check_roll(path, pixels, layout_by_lines(path, pixels, "roll"))
        return bool(np.ptp(pixels))
    return False


def write_pdf(path: Path, picture: Picture, layout: Layout) -> None:
    """A sheet as A4 pages, no system parted."""
    scale = (A4[0] - 2 * MARGIN) / layout.width
    high = round(layout.height * scale)
    each = (A4[1] - 2 * MARGIN) // high
    pages = []
    for first in range(0, len(picture), each * layout.height):
        page = Image.new("L", A4, 255)
        for row in range(each):
            top = first + row * layout.height
            system = picture[top : top + layout.height, :, 0]
            if len(system):
                image = Image.fromarray(system).resize((round(layout.width * scale), high), Image.Resampling.LANCZOS)
                page.paste(image, (MARGIN, MARGIN + row * high))
        pages.append(page)
    buffer = io.BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=DPI)
    write_atomic(path, buffer.getvalue())

"""Engrave a MusicXML score with verovio on A4 pages, as SVG, PNG or PDF."""

from __future__ import annotations

import html
import io
import re
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image

from diptych.errors import ConfigError, DataError
from diptych.files import write_atomic
from diptych.music.mei import verovio_toolkit
from diptych.music.rasters import draw_svg, text_width

DPI = 300
A4 = (2100, 2970)  # in tenths of a millimetre, verovio's units
MARGIN = 120  # on paper, at any scale
MUSIC_TEXT = re.compile(r'font-family="[^"]*"([^>]*)>\uECA5<')
"""The quarter of a tempo mark, in a font that only verovio has."""
TOOLTIP = re.compile(r'<title class="labelAttr">[^<]*</title>')
"""A tooltip inside a text, for which resvg forgets where the text stands."""
TEMPO = re.compile(r'(<g id="[^"]*" class="tempo")>')
TITLE = re.compile(r'(class="pgHead[^>]*>.*?x="(\d+)" y="(\d+)".*?)<tspan font-size="(\d+)px">([^<]+)</tspan>', re.DOTALL)
"""The title of a page, with the middle of the page, its line and its size."""
SMALL_TITLE = 0.65  # of the size that verovio gives a title; one that would be smaller has two lines
RAISED = 180  # of the units of a page, one staff space: accidentals reach into a tempo mark that stands where verovio puts it
FULL_SCALE = 13.9  # percent of verovio's scale in a millimetre of a staff's height
SOLO, ENSEMBLE, SMALLEST = 6.5, 5.0, 2.5  # heights of a staff in millimetres: of one or two, of more, and at least
ROOM = 48.0  # millimetres of the heights of all staves, so that two systems of an ensemble fit on a page
SHRINK = 0.85  # where a system is still higher than its page
LINE = re.compile(r'd="M\d+ (\d+) L\d+ \1"')
"""A staff line, or another horizontal one."""
SUFFIXES = (".musicxml", ".svg", ".png", ".pdf")
MARGINS = ("pageMarginLeft", "pageMarginRight", "pageMarginTop", "pageMarginBottom")
OPTIONS: dict[str, Any] = {
    "pageWidth": A4[0],
    "pageHeight": A4[1],
    "breaks": "auto",
    "footer": "none",
    "header": "auto",
    "adjustPageHeight": False,
    "scaleToPageSize": True,
    "svgViewBox": True,
    "justifyVertically": False,
    "xmlIdSeed": 1,
}


def write_score(path: Path, text: str) -> int:
    """Write a MusicXML score as the file that its suffix asks for; return the number of pages, 0 for MusicXML.

    PNG and SVG hold one page each: further pages go to NAME-2.png and so on. Raises ConfigError for another suffix, and DataError
    where verovio cannot engrave the score.
    """
    suffix = check_suffix(path)
    if suffix == ".musicxml":
        write_atomic(path, text.encode())
        return 0
    pages = engrave_pages(text)
    if suffix == ".pdf":
        images = [_raster(page) for page in pages]
        buffer = io.BytesIO()
        images[0].save(buffer, "PDF", save_all=True, append_images=images[1:], resolution=DPI)
        write_atomic(path, buffer.getvalue())
        return len(pages)
    for number, page in enumerate(pages, 1):
        name = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        if suffix == ".svg":
            write_atomic(name, page.encode())
        else:
            buffer = io.BytesIO()
            _raster(page).save(buffer, "PNG", dpi=(DPI, DPI))
            write_atomic(name, buffer.getvalue())
    return len(pages)


def check_suffix(path: Path) -> str:
    """Return the suffix of a path. Raises ConfigError for one that no score is written as."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise ConfigError(f"{path}: a score is written as {kinds}, found {suffix or 'no suffix'}")
    return suffix


def engrave_pages(text: str) -> list[str]:
    """Engrave a MusicXML score; return its pages as SVG. Raises DataError where verovio cannot read it.

    A staff is as high as is usual for its number of staves, and less where a system would be higher than its page.
    """
    parts = re.findall(r"<part id=.*?</part>", text, re.DOTALL)
    staves = sum(int(found[1]) if (found := re.search(r"<staves>(\d+)<", part)) else 1 for part in parts)
    height = SOLO if staves <= 2 else max(SMALLEST, min(ENSEMBLE, ROOM / staves))
    engraver = verovio_toolkit()
    while True:
        engraver.resetOptions()
        scale = round(FULL_SCALE * height)
        engraver.setOptions(OPTIONS | {"scale": scale} | dict.fromkeys(MARGINS, min(500, round(100 * MARGIN / scale))))
        if not engraver.loadData(text):
            raise DataError("verovio cannot engrave the score")
        pages = [_with_plain_text(engraver.renderToSVG(number)) for number in range(1, engraver.getPageCount() + 1)]
        engraver.resetOptions()
        if height <= SMALLEST or all(map(_fits, pages)):
            return pages
        height = max(SMALLEST, SHRINK * height)


def _fits(page: str) -> bool:
    """Return whether no staff line is below a page."""
    bottom = float(re.findall(r'viewBox="\S+ \S+ \S+ (\S+)"', page)[-1]) * (1 - 2 * MARGIN / A4[1])
    return max(map(int, LINE.findall(page)), default=0) <= bottom


def _with_plain_text(page: str) -> str:
    """Replace the quarter note of a tempo mark by Unicode's, raise the mark, remove tooltips from texts, and fit the title."""
    page = TEMPO.sub(rf'\1 transform="translate(0,-{RAISED})">', page)
    return _with_fitted_title(TOOLTIP.sub("", MUSIC_TEXT.sub("\\1>\u2669<", page)))


def _with_fitted_title(page: str) -> str:
    """Make a title that is wider than its page smaller, or part it into two lines, since verovio cuts it at both edges."""
    found = TITLE.search(page)
    if found is None:
        return page
    before, title = found[1], html.unescape(found[5])
    middle, y, size = (int(found[k]) for k in (2, 3, 4))
    room = 2 * middle / size  # the width of the page within its margins, in multiples of the size
    if text_width(title) <= room:
        return page
    lines = [title]
    if text_width(title) * SMALL_TITLE > room:
        lines = textwrap.wrap(title, width=-(-len(title) // 2) + 4)
    small = min(SMALL_TITLE if len(lines) > 1 else 1.0, room / max(map(text_width, lines))) * size
    printed = "".join(
        f'<tspan x="{middle}" y="{y + round((k - (len(lines) - 1) / 2) * 1.15 * small)}" text-anchor="middle" '
        f'font-size="{round(small)}px">{html.escape(line)}</tspan>'
        for k, line in enumerate(lines)
    )
    return page[: found.start()] + before + printed + page[found.end() :]


def _raster(page: str) -> Image.Image:
    return draw_svg(page, round(A4[0] / 254 * DPI))

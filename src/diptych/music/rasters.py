"""Draw SVG as pixels, with letters on every machine."""

from __future__ import annotations

import html
import io
from functools import cache
from pathlib import Path

from PIL import Image, ImageFont

from diptych.extras import extra

SERIFS = {"DejaVu Serif": "DejaVuSerif", "STIXGeneral": "STIXGeneral", "DejaVu Sans": "DejaVuSans", "cmr10": "cmr10"}
"""Typefaces that come with matplotlib, by the beginning of their files' names."""
NOBODYS = "\U0010fffd"  # a letter for private use, for which fonts have a box


def draw_svg(svg: str, width: int | None = None, serif: str = "DejaVu Serif") -> Image.Image:
    """Draw an SVG in gray on white, at its own size or a width in pixels.

    Text takes the fonts that it names where they are installed, and else ``serif``, one of SERIFS: without any, titles and lyrics
    would be missing. Raises MissingExtraError without resvg.
    """
    resvg = extra("resvg_py", "music", "music")
    fonts = {"serif_family": serif, "font_files": _font_files()}
    png = bytes(resvg.svg_to_bytes(svg_string=svg, background="white", width=width, **(fonts if "<text" in svg else {})))
    return Image.open(io.BytesIO(png)).convert("L")


def text_width(text: str) -> float:
    """Return the width of a line of text in DejaVu Serif, in multiples of its size; a letter of another font counts as wide."""
    known = "".join(each if each in _letters() else "M" for each in text)
    path = next(path for path in _font_files() if Path(path).stem == "DejaVuSerif")
    return ImageFont.truetype(path, 100).getlength(known) / 100


def missing_letters(text: str) -> list[str]:
    """Return the letters of a text for which draw_svg draws boxes, since neither its own fonts nor the machine's have them."""
    suspects = [each for each in dict.fromkeys(text) if each not in _letters()]
    box = _drawn(NOBODYS) if suspects else b""
    return [each for each in suspects if _drawn(each) == box]


def _drawn(letter: str) -> bytes:
    words = f'<text x="10" y="70" font-size="60" font-family="serif">{html.escape(letter)}</text>'
    return draw_svg(f'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">{words}</svg>').tobytes()


@cache
def _letters() -> frozenset[str]:
    """Return the letters of DejaVu Serif."""
    from matplotlib.ft2font import FT2Font

    path = next(path for path in _font_files() if Path(path).stem == "DejaVuSerif")
    return frozenset(map(chr, FT2Font(path).get_charmap()))


@cache
def _font_files() -> list[str]:
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    return sorted(str(path) for begins in SERIFS.values() for path in folder.glob(f"{begins}*.ttf"))

"""Draw SVG as pixels, with letters on every machine."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from PIL import Image

from diptych.extras import extra

SERIFS = {"DejaVu Serif": "DejaVuSerif", "STIXGeneral": "STIXGeneral", "DejaVu Sans": "DejaVuSans", "cmr10": "cmr10"}
"""Typefaces that come with matplotlib, by the beginning of their files' names."""


def draw_svg(svg: str, width: int | None = None, serif: str = "DejaVu Serif") -> Image.Image:
    """Draw an SVG in gray on white, at its own size or a width in pixels.

    Text takes the fonts that it names where they are installed, and else ``serif``, one of SERIFS: without any, titles and lyrics
    would be missing. Raises MissingExtraError without resvg.
    """
    resvg = extra("resvg_py", "music", "music")
    fonts = {"serif_family": serif, "font_files": _font_files()}
    png = bytes(resvg.svg_to_bytes(svg_string=svg, background="white", width=width, **(fonts if "<text" in svg else {})))
    return Image.open(io.BytesIO(png)).convert("L")


@cache
def _font_files() -> list[str]:
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    return sorted(str(path) for begins in SERIFS.values() for path in folder.glob(f"{begins}*.ttf"))

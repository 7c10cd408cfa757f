"""Draw SVG as pixels, with letters on every machine."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image

from diptych.extras import extra

SERIF = "DejaVu Serif"  # comes with matplotlib


def draw_svg(svg: str, width: int | None = None) -> Image.Image:
    """Draw an SVG in gray on white, at its own size or a width in pixels.

    Text takes the fonts that it names where they are installed, and else one that comes with diptych's packages: without any,
    titles and lyrics would be missing. Raises MissingExtraError without resvg.
    """
    resvg = extra("resvg_py", "music", "music")
    fonts = {"serif_family": SERIF, "font_files": _serif_files()}
    png = bytes(resvg.svg_to_bytes(svg_string=svg, background="white", width=width, **(fonts if "<text" in svg else {})))
    return Image.open(io.BytesIO(png)).convert("L")


@cache
def _serif_files() -> list[str]:
    from matplotlib import get_data_path

    return [f"{get_data_path()}/fonts/ttf/DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")]

"""Read note heads from engraved pages by templates, which see what a player sees: ink, whatever else covers it."""

from __future__ import annotations

import io
import re

import numpy as np
import resvg_py
from PIL import Image
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

SPACE = 8  # pixels of a staff space
CORRELATION = 0.7  # of a template with the page, from which a head is read
NEAR = 0.35  # staff spaces between the middles of a head that is read and the one that is there
UNITS = 180  # verovio's units in a staff space
HEAD = re.compile(
    r'<g class="notehead">\s*<use xlink:href="#(E0A\d)-\w+" transform="translate\((-?[\d.]+), (-?[\d.]+)\) scale\(([\d.]+)'
)
MARGIN = re.compile(r'class="page-margin" transform="translate\(([\d.]+), ([\d.]+)\)')


def read_heads(pages: list[str]) -> float:
    """Return F1 of the heads that are read from pages in SVG, against the places where they were put."""
    matched = there = read = 0
    for page in pages:
        heads = {(name, float(x), float(y), float(scale)) for name, x, y, scale in HEAD.findall(page)}
        if not heads:
            continue
        width = float(re.findall(r'viewBox="\S+ \S+ (\S+) \S+"', page)[-1])
        picture = _ink(page, round(width / UNITS * SPACE))
        left, top = map(float, MARGIN.search(page).groups())  # type: ignore[union-attr]
        best = np.full(picture.shape, -1.0)
        wanted = []
        for name, scale in {(head[0], head[3]) for head in heads}:
            outline, wide = _glyph(page, name)
            for lines in ((), (0,), (-0.5, 0.5)):  # off the staff, on a line, between two
                best = np.maximum(best, _correlation(picture, _template(outline, wide * scale, scale, lines)))
            same = [head for head in heads if (head[0], head[3]) == (name, scale)]
            wanted += [((y + top) * SPACE / UNITS, (x + left + wide * scale / 2) * SPACE / UNITS) for _, x, y, _ in same]
        peaks = np.argwhere((best >= CORRELATION) & (best == maximum_filter(best, (SPACE - 3, SPACE - 1))))
        found = [tuple(each) for each in peaks.tolist()]
        there, read = there + len(wanted), read + len(found)
        for y, x in wanted:
            near = [each for each in found if abs(each[0] - y) <= NEAR * SPACE and abs(each[1] - x) <= 2 * NEAR * SPACE]
            if near:
                found.remove(min(near, key=lambda each: abs(each[0] - y) + abs(each[1] - x)))
                matched += 1
    return 2 * matched / max(1, there + read)


def _ink(page: str, width: int) -> np.ndarray:
    png = bytes(resvg_py.svg_to_bytes(svg_string=page, background="white", width=width))
    return 255.0 - np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float64)


def _glyph(page: str, name: str) -> tuple[str, float]:
    """Return the outline of a glyph, and its width in verovio's units before it is scaled."""
    outline = re.search(rf'<g id="{name}-\w+">\s*(<path.*?/>)', page, re.DOTALL)[1]  # type: ignore[index]
    return outline, {"E0A4": 314.0, "E0A3": 314.0, "E0A2": 456.0}.get(name, 314.0)


def _template(outline: str, wide: float, scale: float, lines: tuple[float, ...]) -> np.ndarray:
    """Draw a head in the middle of a picture of a staff space and a little more, with staff lines where the tuple says."""
    width, height = wide + 0.3 * UNITS, 1.2 * UNITS
    rules = "".join(f'<rect x="-9999" y="{at * UNITS - 7}" width="19998" height="14"/>' for at in lines)
    head = f'<g transform="translate({-wide / 2},0) scale({scale})">{outline}</g>'
    box = f"{-width / 2} {-height / 2} {width} {height}"
    return _ink(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{width}" height="{height}">{rules}{head}</svg>',
        round(width / UNITS * SPACE),
    )


def _correlation(picture: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return the normalised correlation of a template with each place of a picture that it is centred on."""
    kernel = template - template.mean()
    ones = np.ones_like(kernel)
    mean, square = (fftconvolve(each, ones, "same") / ones.size for each in (picture, picture**2))
    deviation = np.sqrt(np.maximum(square - mean**2, 1.0)) * template.std()
    return fftconvolve(picture, kernel[::-1, ::-1], "same") / ones.size / deviation

"""Draw engraved measures as one gray sheet that lines up with its roll, staff by staff and measure by measure."""

from __future__ import annotations

import copy
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diptych.extras import extra
from diptych.music.engrave import UNITS_PER_SPACE, Engraving, Measure
from diptych.music.layout import CLEF_X, KEY_SPACING, KEY_X, Layout
from diptych.music.notes import Accidental
from diptych.music.print_styles import PLAIN, PrintStyle
from diptych.music.roll import key_position

TIE_LEAD, TIE_OVERHANG = 1.5, 1.5  # staff spaces: of a tie in front of the first note, and behind the last bar line
HREF = "{http://www.w3.org/1999/xlink}href"
Sheet = UInt8[np.ndarray, "h w"]
NOT_PRINTED = {"clef", "keySig", "meterSig", "barLine"}  # the header has its own signs; bar lines are drawn crisp
CLEF_GLYPHS = {"G2": "E050", "G2_8": "E052", "F4": "E062", "C3": "E05C", "C4": "E05C", "C1": "E05C"}  # SMuFL
KEY_GLYPHS: dict[Accidental, str] = {"s": "E262", "f": "E260"}
CLEF_LINES = {"G2": -2, "G2_8": -2, "F4": 2, "C3": 0, "C4": 2, "C1": -4}  # positions upwards from the middle line


def draw_sheet(
    engraving: Engraving,
    measures: Sequence[Measure],
    layout: Layout,
    quarter_width: int,
    before: Measure | None = None,
    style: PrintStyle = PLAIN,
) -> Sheet:
    """Draw whole measures of one engraving as a picture of one system, (layout.height, layout.width), 255 white.

    Ties out of the last measure end behind its bar line, and ties from the measure ``before`` begin in front of the first note.
    """
    svg, ink, glyph_ids = _canvas(engraving.glyphs, layout)
    downbeats = layout.downbeat_columns([measure.length for measure in measures], quarter_width)
    places = [
        downbeat - measure.downbeat_x * layout.space / UNITS_PER_SPACE
        for downbeat, measure in zip(downbeats, measures, strict=False)
    ]
    for index, measure in enumerate(measures):
        for staff, group in enumerate(measure.staves):
            _place(ink, _printed(group, measure, quarter_width), places[index], measure.middles[staff], staff, layout)
        for staff, crosses, tie in measure.ties:
            right = None
            if crosses and index + 1 < len(measures):
                right = _right(tie) + (places[index + 1] - places[index]) * UNITS_PER_SPACE / layout.space
            elif crosses:
                bar = layout.barline_column(downbeats[-1])
                right = (bar - places[index]) * UNITS_PER_SPACE / layout.space + TIE_OVERHANG * UNITS_PER_SPACE
            _place(ink, _stretched(tie, None, right), places[index], measure.middles[staff], staff, layout)
    for staff, crosses, tie in before.ties if before else ():
        if crosses:
            left = measures[0].downbeat_x - TIE_LEAD * UNITS_PER_SPACE
            _place(ink, _stretched(tie, left, None), places[0], measures[0].middles[staff], staff, layout)
    first = measures[0]
    for staff, clef in enumerate(first.clefs):
        _draw_header(ink, clef, first.fifths, staff, layout, glyph_ids)
    pixels = _raster(svg, layout, style.size)
    for staff in range(layout.staves):
        lines = layout.line_rows(staff)
        pixels[lines] = np.minimum(pixels[lines], style.gray)
        for downbeat in downbeats[1:]:
            stroke = pixels[lines[0] : lines[-1] + 1, layout.barline_column(downbeat)]
            np.minimum(stroke, style.gray, out=stroke)
    return pixels


def draw_header(glyphs: Sequence[ET.Element], clef: str, layout: Layout, fifths: int = 0) -> Sheet:
    """Draw a clef and a key on the first of a system's staves, without lines."""
    svg, ink, glyph_ids = _canvas(glyphs, layout)
    _draw_header(ink, clef, fifths, 0, layout, glyph_ids)
    return _raster(svg, layout, 1.0)


def _canvas(glyphs: Sequence[ET.Element], layout: Layout) -> tuple[ET.Element, ET.Element, dict[str, str]]:
    """Return an empty drawing, the group in it that is drawn on, and the ids of glyphs by their SMuFL codes."""
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "width": str(layout.width), "height": str(layout.height)})
    svg.extend(glyphs)
    ink = ET.SubElement(svg, "g", {"color": "black", "stroke": "black"})
    return svg, ink, {g.get("id", "").split("-")[0]: g.get("id", "") for defs in glyphs for g in defs}


def _place(ink: ET.Element, group: ET.Element, x: float, middle: int, staff: int, layout: Layout) -> None:
    """Place verovio's drawing so that its downbeat and its middle line coincide with the layout's.

    A line fills a row of pixels, so its centre is half a pixel below the row's top.
    """
    scale = layout.space / UNITS_PER_SPACE
    y = layout.middle_row(staff) + 0.5 - middle * scale
    place = ET.SubElement(ink, "g", {"transform": f"translate({x:.4f} {y:.4f}) scale({scale:.8f})"})
    place.append(group)


def _printed(staff: ET.Element, measure: Measure, quarter_width: int) -> ET.Element:
    """Copy a staff's drawing without lines, bar lines, clef and signatures, and centre a whole-measure rest."""
    kept = copy.deepcopy(staff)
    for child in list(kept):
        if child.tag == "path" or child.get("class", "").split(" ")[0] in NOT_PRINTED:
            kept.remove(child)
    for rest in kept.iter("g"):
        if rest.get("class", "").split(" ")[0] == "mRest":
            for use in rest.iter("use"):
                x = measure.downbeat_x + float(measure.length) * quarter_width * UNITS_PER_SPACE / 2 - UNITS_PER_SPACE / 2
                use.set("transform", re.sub(r"translate\([^,]+,", f"translate({x:.0f},", use.get("transform", "")))
    return kept


def _points(tie: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for path in tie.iter("path") for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path.get("d", ""))]


def _right(tie: ET.Element) -> float:
    return max((x for x, _ in _points(tie)), default=0.0)


def _stretched(tie: ET.Element, left: float | None, right: float | None) -> ET.Element:
    """Stretch a tie to another left or right end, in verovio's units. Ties are curves, so no glyph is scaled."""
    xs = [x for x, _ in _points(tie)]
    if not xs or min(xs) == max(xs) or (left is None and right is None):
        return tie
    first, last = min(xs), max(xs)
    left, right = first if left is None else left, last if right is None else right
    kept = copy.deepcopy(tie)

    def moved(point: re.Match[str]) -> str:
        share = (float(point[1]) - first) / (last - first)
        return f"{left + share * (right - left):.1f},{float(point[2]):.0f}"

    for path in kept.iter("path"):
        path.set("d", re.sub(r"(-?[\d.]+),(-?[\d.]+)", moved, path.get("d", "")))
    return kept


def _draw_header(ink: ET.Element, clef: str, fifths: int, staff: int, layout: Layout, glyph_ids: dict[str, str]) -> None:
    def stamp(code: str, x: float, position: int) -> None:
        scale = layout.space / UNITS_PER_SPACE
        y = layout.middle_row(staff) + 0.5 - position * layout.space / 2
        where = f"translate({x * layout.space:.4f} {y:.4f}) scale({0.72 * scale:.8f})"
        ET.SubElement(ink, "use", {HREF: f"#{glyph_ids[code]}", "transform": where})

    stamp(CLEF_GLYPHS[clef], CLEF_X, CLEF_LINES[clef])
    accidental: Accidental = "s" if fifths > 0 else "f"
    for index in range(abs(fifths)):
        stamp(KEY_GLYPHS[accidental], KEY_X + index * KEY_SPACING, key_position(accidental, index, clef))


def _raster(svg: ET.Element, layout: Layout, size: float) -> Sheet:
    """Rasterize at a multiple of the layout's size, and scale the picture to it."""
    resvg = extra("resvg_py", "music", "music")
    width = round(layout.width * size)
    svg.set("viewBox", f"0 0 {layout.width} {layout.height}")
    png = bytes(resvg.svg_to_bytes(svg_string=ET.tostring(svg, encoding="unicode"), background="white", width=width))
    picture = Image.open(io.BytesIO(png)).convert("L")
    if picture.size != (layout.width, layout.height):
        picture = picture.resize((layout.width, layout.height), Image.Resampling.LANCZOS)
    return np.array(picture)

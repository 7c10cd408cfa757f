"""The symbols of engraved music as classes of a label map, and the exact map of a page that verovio engraved.

A page and its map have the same size: each pixel of the map holds the class of the symbol that is printed there. Staff lines,
ledger lines, text, and all that is not named here are background.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from diptych.music.rasters import draw_svg

SYMBOLS = (
    "background",
    "curve",  # a tie or a slur: which of both, heads at its ends decide
    "digit",  # of a meter or of a tuplet, and the letter C of a meter
    "stem",
    "bar line",
    "beam",
    "flag",
    "two flags",
    "three flags",
    "octave sign",  # 8va, 8vb, 15ma and their lines
    "long rest",  # of a whole or a half: where it stands decides
    "quarter rest",
    "eighth rest",
    "16th rest",
    "32nd rest",  # also a shorter one
    "clef G",
    "clef F",
    "clef C",
    "sharp",  # also a double one, which is smaller
    "flat",
    "natural",
    "hollow head",
    "head",
    "dot",
)
"""The classes by their number. Where two symbols cover a pixel, the higher number is seen."""
CLASS = {name: number for number, name in enumerate(SYMBOLS)}
GLYPHS = {  # SMuFL codes
    **dict.fromkeys(("E0A0", "E0A1", "E0A2", "E0A3"), "hollow head"),
    "E0A4": "head",
    **dict.fromkeys(("E240", "E241"), "flag"),
    **dict.fromkeys(("E242", "E243"), "two flags"),
    **dict.fromkeys((f"E2{n:02X}" for n in range(0x44, 0x50)), "three flags"),
    **dict.fromkeys(("E4E2", "E4E3", "E4E4", "E4F4", "E4F5"), "long rest"),
    "E4E5": "quarter rest",
    "E4E6": "eighth rest",
    "E4E7": "16th rest",
    **dict.fromkeys(("E4E8", "E4E9", "E4EA"), "32nd rest"),
    **dict.fromkeys((*(f"E05{n}" for n in range(5)), "E07A"), "clef G"),
    **dict.fromkeys((*(f"E06{n}" for n in range(2, 7)), "E07C"), "clef F"),
    **dict.fromkeys(("E05C", "E05D", "E07B"), "clef C"),
    **dict.fromkeys(("E260", "E264"), "flat"),
    "E261": "natural",
    **dict.fromkeys(("E262", "E263"), "sharp"),
}
STROKES = {
    "stem": "stem",
    "beam": "beam",
    "barLine": "bar line",
    "tie": "curve",
    "slur": "curve",
    "dots": "dot",
    "octave": "octave sign",
}
"""Classes of what verovio draws without glyphs, by the class of its group."""
SIGNS = {"meterSig": "digit", "tupletNum": "digit", "octave": "octave sign"}
"""Classes of all glyphs in a group, such as digits."""
GRACES = ("note", "chord", "graceGrp")  # groups that are left out where all of their heads are small
SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
LEAVES = {"path", "use", "polygon", "polyline", "rect", "ellipse"}
SMALL = 0.9  # of the usual size of a head: the greatest of a grace note's
SYMBOL_SCALE = 3  # a map is drawn at so many times its size, so that no stroke is thinner than one of its pixels


def classes_of(page: ET.Element) -> Iterator[tuple[int, ET.Element]]:
    """Yield every drawn element of a page in verovio's SVG that shows a symbol, with its class. Grace notes show none."""
    usual = max((_head_size(group) for group in page.iter("g")), default=0.0)

    def walk(element: ET.Element, group: str) -> Iterator[tuple[int, ET.Element]]:
        for child in element:
            if child.tag == "g":
                name = child.get("class", "").split(" ")[0]
                sizes = [_head_size(inner) for inner in child.iter("g")] if name in GRACES else []
                if not 0 < max(sizes, default=0.0) < SMALL * usual:
                    yield from walk(child, name or group)
            elif child.tag in LEAVES and (name := _class_of(child, group)):
                yield CLASS[name], child

    for child in page:
        if child.tag != "defs":
            yield from walk(child, "")


def _head_size(group: ET.Element) -> float:
    """Return the scale at which a group draws its head, 0 where it is not the group of a head."""
    use = group.find("use") if group.get("class") == "notehead" else None
    found = re.search(r"scale\(([\d.]+)", use.get("transform", "")) if use is not None else None
    return float(found[1]) if found else 0.0


def _class_of(leaf: ET.Element, group: str) -> str:
    if leaf.tag == "use":
        return SIGNS.get(group) or GLYPHS.get(leaf.get(HREF, "")[1:5], "")
    if group == "barLine" and leaf.tag == "ellipse":  # the dots of a repeat
        return ""
    return STROKES.get(group, "")


def drawing_of(page: ET.Element) -> tuple[ET.Element, tuple[float, float, float, float]]:
    """Return the inner drawing of a page of verovio, and its view box: left, top, width and height in verovio's units."""
    inner = page.find("svg")
    inner = page if inner is None else inner
    left, top, width, height = (float(number) for number in inner.get("viewBox", "").split())
    return inner, (left, top, width, height)


def draw_symbols(page: ET.Element, width: int, turn: float = 0.0) -> UInt8[np.ndarray, "h w"]:
    """Draw the map of a page, ``width`` pixels wide, turned by an angle in degrees around its middle."""
    drawing, box = drawing_of(page)
    ink = ET.Element("g", {"shape-rendering": "crispEdges"})
    margin = next((g for g in drawing.iter("g") if g.get("class") == "page-margin"), None)
    if margin is not None:
        ink.set("transform", margin.get("transform", ""))
    for number, leaf in sorted(classes_of(drawing), key=lambda found: found[0]):
        colour = f"#{number:02x}{number:02x}{number:02x}"
        copied = ET.SubElement(ink, leaf.tag, leaf.attrib | {"fill": colour, "color": colour, "stroke": colour})
        if leaf.tag in ("use", "polygon", "ellipse", "rect"):
            copied.set("stroke", "none")
        elif leaf.tag == "polyline":
            copied.set("fill", "none")
    return map_of(rasterise(ink, page, box, width * SYMBOL_SCALE, turn))


def map_of(seen: UInt8[np.ndarray, "p q"]) -> UInt8[np.ndarray, "h w"]:
    """Reduce a drawing in the grays of classes on white, at SYMBOL_SCALE times its size, to a map; hollow heads are filled."""
    seen[seen == 255] = 0
    high, wide = seen.shape[0] // SYMBOL_SCALE, seen.shape[1] // SYMBOL_SCALE
    blocks = seen[: high * SYMBOL_SCALE, : wide * SYMBOL_SCALE].reshape(high, SYMBOL_SCALE, wide, SYMBOL_SCALE)
    return _filled(blocks.max((1, 3)))


def draw_page(page: ET.Element, width: int, turn: float = 0.0, serif: str = "DejaVu Serif") -> UInt8[np.ndarray, "h w"]:
    """Draw a page in black on white, ``width`` pixels wide, turned by an angle in degrees around its middle.

    Letters are of the typeface ``serif`` (see draw_svg).
    """
    drawing, box = drawing_of(page)
    ink = ET.Element("g", {"color": "black", "stroke": "black"})
    ink.extend(child for child in drawing if child.tag != "defs")
    return rasterise(ink, page, box, width, turn, serif)


def rasterise(
    ink: ET.Element,
    page: ET.Element,
    box: tuple[float, float, float, float],
    width: int,
    turn: float,
    serif: str = "DejaVu Serif",
) -> UInt8[np.ndarray, "h w"]:
    """Draw a group with the glyphs of a page as gray pixels on white."""
    left, top, wide, high = box
    svg = ET.Element("svg", {"xmlns": SVG, "viewBox": f"{left:g} {top:g} {wide:g} {high:g}"})
    svg.extend(page.iter("defs"))
    around = ET.SubElement(svg, "g", {"transform": f"rotate({turn:.4f} {left + wide / 2:g} {top + high / 2:g})"})
    around.append(ink)
    svg.set("width", f"{width}")
    svg.set("height", f"{round(width * high / wide)}")
    return np.array(draw_svg(ET.tostring(svg, encoding="unicode"), serif=serif))


def _filled(seen: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Fill the holes of hollow heads, so that a head is one solid area."""
    hollow = CLASS["hollow head"]
    rows = np.flatnonzero((seen == hollow).any(1))
    if len(rows):
        part = seen[rows[0] : rows[-1] + 1]
        part[ndimage.binary_fill_holes(part == hollow) & (part == 0)] = hollow
    return seen

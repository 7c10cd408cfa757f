"""Load scores as MEI through verovio, and keep of one part what a roll can show: notes, rests, ties, keys and clefs."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Set
from functools import lru_cache
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.extras import extra
from diptych.music.score_files import is_xml, tunes

ID = "{http://www.w3.org/XML/1998/namespace}id"
KEPT_ELEMENTS = {  # elements of MEI that a picture of notes needs; all others are removed with their content
    *("mei", "music", "body", "mdiv", "score", "scoreDef", "staffGrp", "staffDef", "section", "measure", "staff", "layer"),
    *("clef", "keySig", "keyAccid", "meterSig", "beam", "tuplet", "chord", "note", "rest", "mRest", "space", "mSpace"),
    *("accid", "dot", "tie", "pb", "sb"),
}
DROPPED_ATTRIBUTES = {  # attributes that print more than the notes, or that depend on the taste of a source
    *("grace", "artic", "fermata", "stem.mod", "left", "right", "symbol", "label", "ornam", "slur", "lv"),
    *("stem.dir", "stem.len", "ploc", "oloc", "ho", "vo", "curvedir", "bulge"),
    *("bracket.visible", "bracket.place", "num.visible", "num.place", "num.format"),
}
LASTING = ("layer", "beam", "tuplet", "bTrem")  # elements whose content takes time
TIMED = {
    "fTrem": "a tremolo of two notes",
    **dict.fromkeys(("beatRpt", "halfmRpt", "mRpt", "mRpt2", "multiRpt"), "a repeat sign in place of notes"),
    **dict.fromkeys(
        ("multiRest", "tabGrp", "ligature", "unclear", "supplied", "add", "orig", "reg"), "notation that is not read"
    ),
}
"""What takes time and is removed: the measure cannot be used, by the reason that stands here."""
LOST = "label"  # the attribute of a measure that holds the reason
INVISIBLE_RESTS = {"rest": "space", "mRest": "mSpace"}


@lru_cache(maxsize=1)
def verovio_toolkit() -> Any:
    """Return verovio's toolkit, with its log turned off. Raises MissingExtraError where verovio is not installed."""
    verovio = extra("verovio", "music", "music")
    verovio.enableLog(verovio.LOG_OFF)
    return verovio.toolkit()


def load_mei(path: Path, tune: int = 0) -> ET.Element:
    """Load a whole score as MEI; ``tune`` chooses among several in one file. Raises DataError where verovio cannot read it."""
    text = tunes(path)[tune]
    engraver = verovio_toolkit()
    engraver.setOptions({"xmlIdSeed": 1, "breaks": "none", "xmlIdChecksum": False})
    if not engraver.loadData(text):
        raise DataError(f"{path}: cannot be read as a score")
    try:
        mei = plain_xml(engraver.getMEI())
    except ET.ParseError as error:
        raise DataError(f"{path}: cannot be read as a score ({error})") from error
    if not is_xml(text) and mei.find(".//*[@keysig]") is None:
        for note in mei.iter("note"):  # without a key signature, verovio applies that of the ABC it read before
            note.attrib.pop("accid.ges", None)
    return mei


def plain_xml(text: str) -> ET.Element:
    """Parse XML without its default namespace, so that elements have the names that are written."""
    return ET.fromstring(re.sub(r' xmlns="[^"]*"', "", text, count=1))  # noqa: S314 - verovio wrote it


def drawing_of_page(text: str) -> ET.Element:
    """Parse a page of verovio's SVG without the dots that mark places in the code and that its style sheet hides."""
    page = plain_xml(text)
    for parent in list(page.iter("g")):
        parent[:] = [child for child in parent if "placeholder" not in child.get("class", "").split()]
    return page


def parts(mei: ET.Element) -> list[list[str]]:
    """Return the staff numbers of each part. Staves joined by a brace are one part."""
    grouped: list[list[str]] = []

    def walk(group: ET.Element) -> None:
        staves = [child for child in group if child.tag == "staffDef"]
        symbol = group.find("grpSym")
        kind = group.get("symbol") or (symbol.get("symbol") if symbol is not None else None)
        if staves and kind == "brace":
            grouped.append([staff.get("n", "") for staff in group.iter("staffDef")])
            return
        for child in group:
            if child.tag == "staffDef":
                grouped.append([child.get("n", "")])
            elif child.tag == "staffGrp":
                walk(child)

    definition = mei.find(".//scoreDef/staffGrp")
    if definition is not None:
        walk(definition)
    return grouped


def select_staves(mei: ET.Element, staves: list[str], more: Collection[str] = ()) -> ET.Element:
    """Copy a score with only these staves, and of them only what KEPT_ELEMENTS names, and ``more`` elements and attributes."""
    root = copy.deepcopy(mei)
    _reduce(root, set(staves), KEPT_ELEMENTS.union(more))
    return root


def _reduce(element: ET.Element, staves: set[str], names: Set[str]) -> str:
    """Reduce an element in place; return the name of something that took time in it and was removed, or an empty string."""
    lost = ""
    for name in (DROPPED_ATTRIBUTES - names) & element.attrib.keys():
        del element.attrib[name]
    if element.tag in INVISIBLE_RESTS and element.get("visible") == "false":
        element.tag = INVISIBLE_RESTS[element.tag]
        del element.attrib["visible"]
    kept: list[ET.Element] = []
    for child in list(element):
        tag = child.tag if isinstance(child.tag, str) else ""
        if tag in ("ending", "choice", "app", "corr", "sic", "bTrem"):  # wrappers, whose content stays
            lost = _reduce(child, staves, names) or lost
            kept.extend(child)
        elif _stays(child, tag, staves, names):
            lost = _reduce(child, staves, names) or lost
            kept.append(child)
        elif element.tag in LASTING and tag in TIMED:
            lost = tag
    element[:] = kept
    if element.tag == "measure" and lost:
        element.set(LOST, TIMED[lost])
        return ""
    return lost


def _stays(child: ET.Element, tag: str, staves: set[str], names: Set[str]) -> bool:
    if tag not in names or (child.get("grace") and "grace" not in names):
        return False
    if tag not in KEPT_ELEMENTS and not staves.issuperset((child.get("staff") or "").split()):
        return False  # a sign beside other staves
    if tag in ("staff", "staffDef"):
        return child.get("n") in staves
    return tag != "staffGrp" or any(staff.get("n") in staves for staff in child.iter("staffDef"))


def without_graces(mei: ET.Element) -> ET.Element:
    """Copy a score without its grace notes; those of its other notes have the same ids."""
    root = copy.deepcopy(mei)
    for parent in list(root.iter()):
        parent[:] = [child for child in parent if child.tag != "graceGrp" and not child.get("grace")]
    return root

"""Engrave scores freely, as pages of several systems, with the notes that each page shows."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from diptych.errors import DataError
from diptych.music.engrave import UNITS_PER_SPACE, merge_ties, note_of, times_of
from diptych.music.mei import ID, drawing_of_page, verovio_toolkit, without_graces
from diptych.music.notes import CLEFS, Note
from diptych.music.print_styles import FONTS, set_clef
from diptych.music.printed_times import count_empty, write_octaves, write_short_rests

UNITS_PER_OPTION = 10  # verovio's units in one unit of its options for sizes of pages
USUAL_LINES = {
    "staffLineWidth": 0.15,
    "barLineWidth": 0.3,
    "stemWidth": 0.2,
    "ledgerLineThickness": 0.25,
    "slurMidpointThickness": 0.6,
}
"""Verovio's usual thicknesses, in half staff spaces."""


@dataclass(frozen=True)
class FreeStyle:
    """How pages are engraved: font, clef of all staves (empty: those of the score), width and height of a page and the distance
    of systems in staff spaces, spacing of notes, thickness of lines (1 is usual), and whether measures are numbered."""

    font: str = FONTS[0]
    clef: str = ""
    width: float = 110.0
    height: float = 60.0
    systems: float = 4.0
    spacing: float = 0.25
    nonlinear: float = 0.6
    weight: float = 1.0
    numbers: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """The options of verovio for this style."""
        unit = UNITS_PER_SPACE / UNITS_PER_OPTION
        margin = round(2.5 * unit)
        sides = ("pageMarginLeft", "pageMarginRight", "pageMarginTop", "pageMarginBottom")
        lines = {name: round(min(max(usual * self.weight, 0.1), 0.5), 3) for name, usual in USUAL_LINES.items()}
        return lines | {
            "pageWidth": round(self.width * unit),
            "pageHeight": round(self.height * unit),
            **dict.fromkeys(sides, margin),
            "breaks": "auto",
            "header": "none",
            "footer": "none",
            "condense": "none",
            "unit": 9,
            "font": self.font,
            "spacingSystem": round(self.systems * 2),
            "spacingLinear": self.spacing,
            "spacingNonLinear": self.nonlinear,
            "mnumInterval": 0 if self.numbers else 1000,
            "svgViewBox": True,
            "xmlIdSeed": 1,
        }


def free_style(name: str) -> FreeStyle:
    """Return the style of a part by its name; half of the parts keep their clefs, the others have one of all."""
    dice = random.Random(name)
    return FreeStyle(
        font=dice.choice(FONTS),
        clef=dice.choice(("", *CLEFS)) if dice.random() < 0.6 else "",
        width=dice.uniform(98, 130),
        height=dice.uniform(54, 64),
        systems=dice.uniform(1.5, 5),
        spacing=dice.uniform(0.15, 0.45),
        nonlinear=dice.uniform(0.5, 0.75),
        weight=dice.uniform(0.7, 1.7),
        numbers=dice.random() < 0.5,
    )


@dataclass(frozen=True)
class FreePage:
    """One page: verovio's drawing, its width in staff spaces, its measures' lengths in quarters, and its notes by onset.

    Onsets count from the page's first downbeat. Notes that a tie joins to an earlier note of the page are part of it; one
    that a tie joins to the page before is ``continued``.
    """

    drawing: ET.Element
    width: float
    measures: tuple[Fraction, ...]
    notes: tuple[Note, ...]


def free_pages(mei: ET.Element, style: FreeStyle = FreeStyle(), most: int = 0) -> Iterator[FreePage]:
    """Engrave a score (see select_staves), and yield its pages, or the first ``most`` of them.

    Grace notes are engraved and take no time. The score is changed in place where the style has a clef, and where a rest is
    shorter than its measure. Raises DataError where verovio cannot engrave it.
    """
    if style.clef:
        set_clef(mei, style.clef)
    engraver = verovio_toolkit()
    engraver.resetOptions()
    engraver.setOptions(style.options)
    plain, times = _timed(engraver, mei)
    if write_short_rests(mei, times):
        plain, times = _timed(engraver, mei)
    write_octaves(plain, times)
    single = dict(times)
    held = merge_ties(times, mei)
    staves = list(dict.fromkeys(staff.get("n", "") for staff in mei.iter("staffDef")))
    known: dict[str, tuple[ET.Element, int]] = {}
    for holder in plain.iter("staff"):
        chords = {note: chord.get("staff") for chord in holder.iter("chord") for note in chord.iter("note")}
        for note in holder.iter("note"):
            shown = note.get("staff") or chords.get(note)  # a voice may go on in the other staff of a piano
            known[note.get(ID, "")] = note, staves.index(shown if shown in staves else holder.get("n", ""))
    pages = _loaded(engraver, mei).getPageCount()
    for number in range(1, (min(pages, most) if most else pages) + 1):
        drawing = drawing_of_page(engraver.renderToSVG(number))
        yield _page(drawing, style.width, times, single, held, known)
    engraver.resetOptions()


def _timed(engraver: Any, mei: ET.Element) -> tuple[ET.Element, dict[str, tuple[Fraction, Fraction]]]:
    """Return a copy of a score whose notes and measures take the time that they are printed with, and these times."""
    plain = without_graces(mei)
    count_empty(plain)
    return plain, times_of(_loaded(engraver, plain).renderToTimemap({"includeMeasures": True}))


def _loaded(engraver: Any, mei: ET.Element) -> Any:
    if not engraver.loadData(ET.tostring(mei, encoding="unicode")):
        raise DataError("verovio cannot engrave it")
    return engraver


def _page(
    drawing: ET.Element,
    width: float,
    times: dict[str, tuple[Fraction, Fraction]],
    single: dict[str, tuple[Fraction, Fraction]],
    held: set[str],
    known: dict[str, tuple[ET.Element, int]],
) -> FreePage:
    shown = [g for g in drawing.iter("g") if g.get("class", "").split(" ")[0] in ("measure", "note")]
    measures = [times[g.get("id", "")] for g in shown if g.get("class", "").startswith("measure") and g.get("id", "") in times]
    begin = min((start for start, _ in measures), default=Fraction(0))
    found = []
    for group in shown:
        name = group.get("id", "")
        if name not in known or name not in times:
            continue
        element, staff = known[name]
        note = note_of(element, name, staff, begin, times)
        if name in held:
            if single[name][0] != begin:  # only at the page's beginning does a tie lead to a note of its own
                continue
            note = replace(note, continued=True)
        found.append(note)
    return FreePage(drawing, width, tuple(end - start for start, end in measures), tuple(sorted(found)))

"""Vary how a score is printed, its clef, music font, line weights and size, so that readers learn more than one kind of page."""

from __future__ import annotations

import random
import statistics
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from diptych.music.notes import CLEFS, step_of

FONTS = ("Leipzig", "Bravura", "Leland", "Petaluma", "Gootville")  # that verovio brings
WEIGHTS = (0.6, 1.6)  # of verovio's usual thickness of stems, ledger lines and ties
SIZES = (0.85, 1.25)  # of the size at which a page is rasterized before it is scaled to its layout
MAX_GRAY = 110  # of staff lines and bar lines, 0 black
THICKNESSES = {"stemWidth": 0.2, "ledgerLineThickness": 0.25, "tieMidpointThickness": 0.5, "tupletBracketThickness": 0.2}
"""Verovio's usual thicknesses in staff spaces; each option ranges from half of these to twice these."""


@dataclass(frozen=True)
class PrintStyle:
    """How a part is printed.

    ``clef`` takes the place of all its clefs, where it is not empty. ``weight`` scales the thickness of stems, ledger lines and
    ties, ``gray`` is the colour of staff lines (0 black), and ``size`` scales the picture before it is brought to its layout.
    """

    font: str = FONTS[0]
    clef: str = ""
    weight: float = 1.0
    gray: int = 0
    size: float = 1.0

    @property
    def options(self) -> dict[str, object]:
        """The options of verovio for this style."""
        return {"font": self.font} | {name: round(self.weight * usual, 3) for name, usual in THICKNESSES.items()}


PLAIN = PrintStyle()


def varied_style(name: str) -> PrintStyle:
    """Return the style of a part by its name: every clef and font is equally frequent, half of the pages have their own size."""
    dice = random.Random(name)
    font, clef = dice.choice(FONTS), dice.choice(list(CLEFS))
    weight, gray = dice.uniform(*WEIGHTS), dice.randrange(MAX_GRAY + 1)
    return PrintStyle(font, clef, round(weight, 2), gray, round(dice.uniform(*SIZES), 2) if dice.random() < 0.5 else 1.0)


def set_clef(mei: ET.Element, clef: str) -> ET.Element:
    """Put all staves of a score into one clef, and transpose each by octaves into its range. The score is changed in place."""
    for staff in {element.get("n", "") for element in mei.iter("staffDef")}:
        notes = [note for holder in mei.iter("staff") if holder.get("n") == staff for note in holder.iter("note")]
        steps = [step_of(note.get("pname", "c"), int(note.get("oct.ges") or note.get("oct") or 4)) for note in notes]
        octaves = round((CLEFS[clef] - statistics.median(steps)) / 7) if steps else 0
        for note in notes:
            for name in ("oct", "oct.ges"):
                if written := note.get(name):
                    note.set(name, str(max(0, min(9, int(written) + octaves))))
    below = {"dis": "8", "dis.place": "below"} if clef.endswith("_8") else {}
    seen: set[str] = set()
    for element in mei.iter():
        for name in [name for name in element.attrib if name.startswith("clef.")]:
            del element.attrib[name]
        for child in element.findall("clef"):
            element.remove(child)
        if element.tag == "staffDef" and element.get("n", "") not in seen:
            seen.add(element.get("n", ""))
            element.insert(0, ET.Element("clef", {"shape": clef[0], "line": clef[1]} | below))
    return mei

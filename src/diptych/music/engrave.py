"""Engrave one part with verovio as a single endless line with space proportional to time, and return it measure by measure.

With ``spacingNonLinear`` 1 verovio advances by the same length for every quarter, unless notes need more room. Only the gaps
at bar lines vary, so diptych.music.sheet_image shifts each measure as a whole to its downbeat. No glyph is scaled.
"""

from __future__ import annotations

import re
import statistics
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from diptych.errors import DataError
from diptych.music.beams import SIMPLE, beat_in, length_in
from diptych.music.mei import ID, LOST, plain_xml, verovio_toolkit
from diptych.music.notes import ALTERS, CLEFS, Accidental, Note, step_of
from diptych.music.print_styles import PLAIN, PrintStyle

UNITS_PER_SPACE = 180  # verovio's units in a staff space
UNITS_PER_QUARTER = 25_600  # verovio's units in a quarter at spacingLinear 1
MAX_ONSET_SHIFT = 0.19  # staff spaces between the notehead nearest to its time and that time
MAX_HEAD_SHIFT = 1.6  # staff spaces; in a chord with a second, heads on the other side of the stem are shifted by less
MAX_FIFTHS = 7  # accidentals of a key signature
OCTAVE_BELOW = ' dis="8" dis.place="below"'
VEROVIO_OPTIONS: dict[str, Any] = {
    "breaks": "none",
    "header": "none",
    "footer": "none",
    "adjustPageHeight": True,
    "adjustPageWidth": True,
    "pageMarginLeft": 0,
    "pageMarginRight": 0,
    "pageMarginTop": 0,
    "pageMarginBottom": 0,
    "spacingNonLinear": 1.0,
    "mnumInterval": 0,
    "condense": "none",
    "xmlIdSeed": 1,
    "unit": 9,
    "svgViewBox": False,
}


@dataclass
class Measure:
    """One engraved measure: length and beat in quarters, clefs, key, notes timed from its downbeat, and its drawing.

    ``downbeat_x`` is the x of its downbeat and ``middles`` the y of each staff's middle line, in verovio's units.
    ``reject_reason`` is empty for a measure that can be used.
    """

    length: Fraction
    beat: Fraction
    clefs: tuple[str, ...]
    fifths: int
    notes: list[Note]
    staves: list[ET.Element]
    ties: list[tuple[int, bool, ET.Element]]
    """The staff of each tie, whether it ends in the next measure, and its curve."""
    downbeat_x: float = 0.0
    middles: tuple[int, ...] = ()
    held: list[Note] = field(default_factory=list)
    """The heads that a tie leads to, which are printed but are no notes of their own, up to the end of the last tied one."""
    reject_reason: str = ""


@dataclass
class Engraving:
    """All measures of a part, and the glyphs that their drawings use."""

    measures: list[Measure]
    glyphs: list[ET.Element] = field(default_factory=list)


def engrave(mei: ET.Element, quarter_width: int, style: PrintStyle = PLAIN) -> Engraving:
    """Engrave a score of one part (see select_staves) at a quarter width in staff spaces. Raises DataError without measures."""
    engraver = verovio_toolkit()
    spacing = {"spacingLinear": quarter_width * UNITS_PER_SPACE / UNITS_PER_QUARTER}
    engraver.setOptions(VEROVIO_OPTIONS | spacing | style.options)
    if not engraver.loadData(ET.tostring(mei, encoding="unicode")):
        raise DataError("verovio cannot engrave it")
    if engraver.getPageCount() != 1:
        raise DataError("it has no music, or is longer than verovio can set on one line")
    root = plain_xml(engraver.renderToSVG(1))
    timemap = engraver.renderToTimemap({"includeMeasures": True})
    groups = {g.get("id", ""): g for g in root.iter("g") if g.get("class", "").split(" ")[0] == "measure"}
    times = times_of(timemap)
    held = merge_ties(times, mei)
    walked = [each for each in _measures_with_signatures(mei) if each[0].get(ID, "") in groups and each[0].get(ID, "") in times]
    if not walked:
        raise DataError("it has no measures")
    measures = [
        _measure(element, signatures, groups[element.get(ID, "")], times, held, quarter_width)
        for element, signatures, _ in walked
    ]
    lengths, whole = [measure.length for measure in measures], [length for *_, length in walked]
    for index, measure in enumerate(measures):
        if not measure.reject_reason and not _fits_meter(lengths, whole, index):
            measure.reject_reason = "longer or shorter than its meter"
    return Engraving(measures, [*root.iter("defs"), *header_glyphs(style.font)])


@lru_cache(maxsize=8)
def header_glyphs(font: str) -> tuple[ET.Element, ...]:
    """Return the glyphs of all clefs and of a key's accidentals, which the drawing of a part need not contain."""
    staves = "".join(
        f'<staffDef n="{n}" lines="5"><clef shape="{clef[0]}" line="{clef[1]}"{OCTAVE_BELOW if clef[2:] else ""}/>'
        f'<keySig sig="{"7s" if n % 2 else "7f"}"/></staffDef>'
        for n, clef in enumerate(CLEFS, 1)
    )
    measure = "".join(f'<staff n="{n}"><layer><mRest/></layer></staff>' for n, _ in enumerate(CLEFS, 1))
    engraver = verovio_toolkit()
    engraver.setOptions(VEROVIO_OPTIONS | {"font": font})
    engraver.loadData(
        f'<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score><scoreDef><staffGrp>{staves}</staffGrp>'
        f"</scoreDef><section><measure>{measure}</measure></section></score></mdiv></body></music></mei>"
    )
    return tuple(plain_xml(engraver.renderToSVG(1)).iter("defs"))


Times = dict[str, tuple[Fraction, Fraction]]
"""Onset and end in quarters by id, of notes and of measures."""


def times_of(timemap: list[dict[str, Any]]) -> Times:
    """Return onset and end of every note and measure of verovio's timemap, in quarters."""
    began: dict[str, Fraction] = {}
    times: Times = {}
    measures: list[tuple[str, Fraction]] = []
    last = Fraction(0)
    for event in timemap:
        last = Fraction(event["qstamp"]).limit_denominator(960)
        for name in event.get("off", ()):
            times[name] = began.pop(name, last), last
        for name in event.get("on", ()):
            began[name] = last
        if "measureOn" in event:
            measures.append((event["measureOn"], last))
    for (name, start), (_, end) in pairwise([*measures, ("", last)]):
        times[name] = start, end
    return times


def merge_ties(times: Times, mei: ET.Element) -> set[str]:
    """Extend each of some tied notes to the end of the last; return the ids of all but the first."""
    follow = {tie.get("startid", "#")[1:]: tie.get("endid", "#")[1:] for tie in mei.iter("tie")}
    held = set(follow.values())
    for first in follow.keys() - held:
        chain = [first]
        while chain[-1] in follow:  # follow each tie once, so that ties in a circle, in a damaged score, end
            chain.append(follow.pop(chain[-1]))
        if all(name in times for name in chain):
            for name in chain:
                times[name] = times[name][0], times[chain[-1]][1]
    return held


Signatures = tuple[Fraction, tuple[str, ...], int]
"""The beat, clefs and key that apply."""


def _fits_meter(lengths: Sequence[Fraction], whole: Sequence[Fraction | None], index: int) -> bool:
    """Return whether a measure is as long as its meter says, or is a part of such a measure.

    Parts are the first measure and the last one, and two that follow each other and are together as long as one, as at repeats.
    """
    length, meant = lengths[index], whole[index]
    if meant is None or length == meant:
        return True
    beside = [lengths[k] for k in (index - 1, index + 1) if 0 <= k < len(lengths)]
    return length < meant and (index in (0, len(lengths) - 1) or any(length + other == meant for other in beside))


def _measures_with_signatures(mei: ET.Element) -> Iterator[tuple[ET.Element, Signatures, Fraction | None]]:
    """Yield every measure with the signatures that apply at its beginning, and the length that its meter gives, None if unknown.

    Changes inside a measure apply after it.
    """
    numbers = [staff.get("n", "") for staff in mei.iter("staffDef")]
    numbers = list(dict.fromkeys(numbers))
    clefs: dict[str, str] = dict.fromkeys(numbers, "G2")
    beat, fifths, whole = SIMPLE, 0, None
    for element in mei.iter():
        tag = element.tag if isinstance(element.tag, str) else ""
        if tag in ("scoreDef", "staffDef"):
            where = numbers if tag == "scoreDef" else [element.get("n", "")]
            clef = element if element.get("clef.shape") else element.find("clef")
            if clef is not None:
                prefix = "clef." if element.get("clef.shape") else ""
                clefs |= dict.fromkeys(where, _clef(clef, prefix))
            key = element.find("keySig")
            signature = element.get("keysig") or element.get("key.sig") or (key.get("sig") if key is not None else None)
            fifths = _fifths(signature) if signature else fifths
            beat = beat_in(element) or beat
            whole = length_in(element, whole)
        elif tag == "measure":
            yield element, (beat, tuple(clefs[n] for n in numbers), fifths), whole
            for staff in element.iter("staff"):
                for clef in staff.iter("clef"):
                    if clef.get("shape"):  # otherwise it repeats the clef of another layer
                        clefs[staff.get("n", "")] = _clef(clef, "")
            for key in element.iter("keySig"):
                fifths = _fifths(key.get("sig") or "0")


def _clef(element: ET.Element, prefix: str) -> str:
    name = f"{element.get(f'{prefix}shape', '')}{element.get(f'{prefix}line', '')}"
    octave = element.get(f"{prefix}dis")
    place = "_" if element.get(f"{prefix}dis.place") == "below" else "^"
    return f"{name}{place}{octave}" if octave else name


def _fifths(signature: str) -> int:
    found = re.fullmatch(r"(\d+)([sf])", signature)
    return (int(found[1]) * (1 if found[2] == "s" else -1)) if found else 0


def _measure(
    element: ET.Element, signatures: Signatures, group: ET.Element, times: Times, held: set[str], quarter_width: int
) -> Measure:
    start, end = times[element.get(ID, "")]
    staves = [child for child in group if child.get("class", "").split(" ")[0] == "staff"]
    measure, clefs = Measure(end - start, *signatures, [], staves, []), signatures[1]
    middles = [_middle(staff) for staff in staves]
    if any(middle is None for middle in middles) or len(staves) != len(clefs):
        measure.reject_reason = "a staff is not there"
        return measure
    measure.middles = tuple(middle for middle in middles if middle is not None)
    measure.reject_reason = _reason_to_reject(element, measure)
    if measure.reject_reason:
        return measure
    owner: dict[str, int] = {}
    heads: list[tuple[int, Fraction, float]] = []
    pictures = {g.get("id", ""): g for g in group.iter("g") if g.get("class", "").split(" ")[0] == "note"}
    for staff, holder in enumerate(element.iter("staff")):
        for note in holder.iter("note"):
            name = note.get(ID, "")
            owner[name] = staff
            if name not in times or name not in pictures:
                measure.reject_reason = "a note is not printed or not timed"
                return measure
            found, (x, y) = note_of(note, name, staff, start, times), _head_position(pictures[name])
            expected = measure.middles[staff] - (found.step - CLEFS[clefs[staff]]) * UNITS_PER_SPACE / 2
            if abs(y - expected) > 1:
                measure.reject_reason = "a note stands on another step than it sounds"
                return measure
            if name in held:
                measure.held.append(replace(found, continued=True))
            else:
                measure.notes.append(found)
            heads.append((staff, found.onset, x - float(found.onset) * quarter_width * UNITS_PER_SPACE))
    measure.reject_reason = _align(measure, heads)
    arcs = {g.get("id", ""): g for g in group if g.get("class", "").split(" ")[0] == "tie"}
    for tie in element.iter("tie"):
        start_id, end_id = tie.get("startid", "#")[1:], tie.get("endid", "#")[1:]
        if tie.get(ID, "") in arcs and start_id in owner:
            measure.ties.append((owner[start_id], end_id not in owner, arcs[tie.get(ID, "")]))
    return measure


def _middle(staff: ET.Element) -> int | None:
    """Return the y of the third of five staff lines, or None for other staves."""
    lines = [path.get("d", "") for path in staff if path.tag == "path"]
    third = re.fullmatch(r"M-?\d+ (-?\d+) L-?\d+ -?\d+", lines[2]) if len(lines) == 5 else None
    return int(third[1]) if third else None


def _reason_to_reject(element: ET.Element, measure: Measure) -> str:
    """Return why a measure cannot be used because of its content, or an empty string."""
    if element.get(LOST):
        return element.get(LOST, "")
    if not 0 < measure.length <= 16:
        return "of no usual length"
    if any(clef not in CLEFS for clef in measure.clefs):
        return "another clef"
    if abs(measure.fifths) > MAX_FIFTHS:
        return f"a key of more than {MAX_FIFTHS} accidentals"
    for inner in element.iter():
        tag = inner.tag
        if tag in ("clef", "keySig"):
            return "clef or key changes in it"
        if tag in ("note", "chord", "rest") and (
            inner.get("staff") or inner.get("visible") == "false" or inner.get("cue") == "true"
        ):
            return "cross-staff, hidden or small notes"
        if tag == "note" and (inner.get("pname") is None or inner.get("head.shape")):
            return "unpitched notes"
        if tag == "accid" and inner.get("accid") and inner.get("accid") not in ALTERS:
            return "a double or quarter accidental"
    return ""


def note_of(note: ET.Element, name: str, staff: int, start: Fraction, times: Times) -> Note:
    """Return a note of MEI, whose id is ``name``, timed from ``start``."""
    began, ended = times[name]
    accid = note.find("accid")
    printed = note.get("accid") or (accid.get("accid") if accid is not None else None) or ""
    implied = note.get("accid.ges") or (accid.get("accid.ges") if accid is not None else None) or printed
    alter = {"s": 1, "f": -1}.get(implied[:1], 0) * (2 if implied in ("ss", "ff", "x") else 1)
    step = step_of(note.get("pname", "c"), int(note.get("oct.ges") or note.get("oct") or 4))
    mark: Accidental = next((mark for mark in ALTERS if mark == printed), "")
    return Note(began - start, staff, step, alter, ended - began, mark)


def _head_position(picture: ET.Element) -> tuple[float, float]:
    """Return x of the left edge and y of the middle of a note's head, NaN where it has none."""
    use = picture.find("g[@class='notehead']/use")
    found = re.match(r"translate\((-?[\d.]+),? (-?[\d.]+)\)", use.get("transform", "") if use is not None else "")
    return (float(found[1]), float(found[2])) if found else (float("nan"), float("nan"))


def _align(measure: Measure, heads: list[tuple[int, Fraction, float]]) -> str:
    """Set the measure's downbeat and return why heads don't line up with it, or an empty string.

    At each onset one head of each staff must stand at its time; others may stand on the other side of a stem.
    """
    if not heads:
        return ""
    measure.downbeat_x = statistics.median(x for _, _, x in heads)
    best: dict[tuple[int, Fraction], float] = {}
    for staff, onset, x in heads:
        off = abs(x - measure.downbeat_x) / UNITS_PER_SPACE
        best[staff, onset] = min(best.get((staff, onset), off), off)
        if not off < MAX_HEAD_SHIFT:
            return "notes do not stand at their time"
    return "" if max(best.values()) <= MAX_ONSET_SHIFT else "notes do not stand at their time"

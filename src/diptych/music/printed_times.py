"""Time the notes of engraved pages as they are printed, where verovio's times and pitches follow what is not."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from fractions import Fraction
from itertools import pairwise

from diptych.music.beams import length_in
from diptych.music.mei import ID

WRITTEN = (1, 2, 4, 8, 16, 32)  # the durations as which rests are written out
Times = dict[str, tuple[Fraction, Fraction]]


def count_empty(mei: ET.Element) -> None:
    """Let measures in which nothing is printed last like any other. The score is changed in place, and shows a rest there."""
    for measure in mei.iter("measure"):
        if _rests(measure):
            for layer in measure.iter("layer"):
                layer[0].tag = "mRest"


def write_short_rests(mei: ET.Element, times: Times) -> bool:
    """Write the rest beside a part of a measure as long as the other part, since verovio gives it no time and hardly any room.

    The score is changed in place; say whether it was.
    """
    lengths: dict[ET.Element, Fraction | None] = {}
    length: Fraction | None = None
    for element in mei.iter():
        if element.tag in ("scoreDef", "staffDef"):
            length = length_in(element, length)
        elif element.tag == "measure":
            lengths[element] = length
    written = False
    for a, b in pairwise(lengths):
        for measure, other in ((a, b), (b, a)) if a.get("metcon") == b.get("metcon") == "false" else ():
            whole, (start, end) = lengths[measure], times.get(other.get(ID, ""), (Fraction(0), Fraction(0)))
            if whole and 0 < end - start < whole and _rests(measure) and not _rests(other):
                written = True
                for layer in measure.iter("layer"):
                    write_rest(layer, whole - (end - start))
    return written


def _rests(measure: ET.Element) -> bool:
    """Whether a measure shows a rest, or nothing, in all staves."""
    return all([child.tag for child in layer] in (["mSpace"], ["mRest"]) for layer in measure.iter("layer"))


def write_rest(layer: ET.Element, length: Fraction) -> None:
    """Write a rest of so many quarters in place of what a layer has."""
    layer.clear()
    for duration in WRITTEN:
        while length >= Fraction(4, duration):
            ET.SubElement(layer, "rest", {"dur": f"{duration}"})
            length -= Fraction(4, duration)


def write_octaves(mei: ET.Element, times: Times) -> None:
    """Let the notes of a score sound as they are printed: in another octave only below or above an octave sign.

    The score is changed in place.
    """
    chords = {chord.get(ID, ""): note.get(ID, "") for chord in mei.iter("chord") for note in chord.findall("note")[:1]}
    signs = []
    for sign in mei.iter("octave"):
        first, last = (sign.get(name, "#")[1:] for name in ("startid", "endid"))
        ends = [times.get(chords.get(name, name)) for name in (first, last)]
        signs += [(sign.get("staff", ""), ends[0][0], ends[1][0])] if ends[0] and ends[1] else []
    for staff in mei.iter("staff"):
        own = [(begin, end) for number, begin, end in signs if number == staff.get("n")]
        for note in staff.iter("note"):
            began = times.get(note.get(ID, ""), (None,))[0]
            if began is None or not any(begin <= began <= end for begin, end in own):
                note.attrib.pop("oct.ges", None)

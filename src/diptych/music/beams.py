"""Beam notes by the beat. A roll cannot show how a source groups them, by syllable or by taste."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import groupby

FLAGGED_DURATIONS = ("8", "16", "32", "64", "128")
EVENTS = ("note", "chord", "rest", "space")
SIMPLE, COMPOUND = BEATS = (Fraction(1), Fraction(3, 2))  # quarters a beat; COMPOUND in 3/8, 6/8, 9/8, 12/8
Timed = tuple[ET.Element, Fraction]
"""An element of a layer and its onset in quarters from the beginning of its measure."""


def beat_of(count: int, unit: int) -> Fraction:
    """Return the length of a beat of a meter in quarters: 3/2 where eighths go in threes, else 1."""
    return COMPOUND if unit == 8 and count % 3 == 0 else SIMPLE


def beat_in(element: ET.Element) -> Fraction | None:
    """Return the beat of the meter that a scoreDef or staffDef of MEI sets, or None where it sets no meter."""
    signature = element.find("meterSig")
    found = signature if signature is not None else element
    prefix = "" if signature is not None else "meter."
    count, unit = found.get(f"{prefix}count", ""), found.get(f"{prefix}unit", "")
    return beat_of(int(count), int(unit)) if count.isdecimal() and unit.isdecimal() else None


def rebeam(mei: ET.Element) -> ET.Element:
    """Beam the notes with flags that follow each other within one beat or one tuplet. The score is changed in place."""
    beat = SIMPLE
    for element in mei.iter():
        if element.tag in ("scoreDef", "staffDef"):
            beat = beat_in(element) or beat
        elif element.tag == "layer":
            element[:] = _grouped(_timed(_unbeamed(element), Fraction(0), Fraction(1))[0], beat)
    return mei


def _unbeamed(parent: ET.Element) -> Iterator[ET.Element]:
    for child in parent:
        if child.tag == "beam":
            yield from _unbeamed(child)
        else:
            yield child


def _timed(children: Iterable[ET.Element], start: Fraction, scale: Fraction) -> tuple[list[Timed], Fraction]:
    """Return each element with its onset, and the end of the last one. Notes inside tuplets are beamed on the way."""
    found, time = [], start
    for child in children:
        found.append((child, time))
        if child.tag == "tuplet":
            inner, time = _timed(_unbeamed(child), time, scale * _ratio(child))
            child[:] = _grouped(inner, None)
        else:
            time += _length(child, scale)
    return found, time


def _ratio(tuplet: ET.Element) -> Fraction:
    """Return the factor from written to sounding length in a tuplet. Like verovio, it takes numbers below 1 as 1."""
    return Fraction(max(1, int(tuplet.get("numbase", 2))), max(1, int(tuplet.get("num", 3))))


def _length(event: ET.Element, scale: Fraction) -> Fraction:
    if event.tag not in EVENTS or not event.get("dur", "").isdecimal():
        return Fraction(0)
    dots = int(event.get("dots", 0)) or len(event.findall("dot"))
    return Fraction(4, int(event.get("dur", 4))) * (2 - Fraction(1, 2**dots)) * scale


def _grouped(events: Iterable[Timed], beat: Fraction | None) -> list[ET.Element]:
    """Put a beam around each run of notes with flags in one beat; ``beat`` is None inside a tuplet, which is one group."""

    def place(event: Timed) -> tuple[bool, int]:
        element, time = event
        flagged = element.tag in ("note", "chord") and element.get("dur") in FLAGGED_DURATIONS
        return flagged, int(time // beat) if beat else 0

    found: list[ET.Element] = []
    for (flagged, _), group in groupby(events, place):
        elements = [element for element, _ in group]
        if flagged and len(elements) > 1:
            beam = ET.Element("beam")
            beam.extend(elements)
            elements = [beam]
        found += elements
    return found

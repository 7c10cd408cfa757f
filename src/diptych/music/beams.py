"""Beam notes by the beats of their meter. A roll cannot show how a source groups them, by syllable or by taste."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, groupby

FLAGGED_DURATIONS = ("8", "16", "32", "64", "128")
EVENTS = ("note", "chord", "rest", "space")
SIMPLE, COMPOUND, HALF = Fraction(1), Fraction(3, 2), Fraction(2)
COMPOUND_SIXTEENTHS = Fraction(3, 4)
IRREGULAR = EIGHTHS, SIXTEENTHS = Fraction(1, 2), Fraction(1, 4)
BEATS = SIMPLE, COMPOUND, HALF, COMPOUND_SIXTEENTHS, EIGHTHS, SIXTEENTHS
"""Lengths of a beat in quarters: SIMPLE in 3/4, COMPOUND in 6/8, HALF in 2/2, three sixteenths in 6/16. In irregular meters, such
as 5/8 and 7/16, the unit is the beat."""
IRREGULAR_GROUPS = {5: (3, 2), 7: (2, 2, 3)}
"""The usual groups of the units of an irregular meter. Longer ones have groups of three, and at the end one or two of two."""
MIN_PICKUP_GAP = Fraction(1, 8)  # in quarters: measures whose lengths differ by less have one length
Timed = tuple[ET.Element, Fraction]
"""An element of a layer and its onset in quarters from the beginning of its measure."""


def beat_of(count: int, unit: int) -> Fraction:
    """Return the length of a beat of a meter in quarters (see BEATS)."""
    if unit in (8, 16):
        if count % 3 == 0:
            return Fraction(12, unit)
        return Fraction(4, unit) if count % 2 and count > 3 else SIMPLE
    return HALF if unit == 2 else SIMPLE


def group_starts(length: Fraction, beat: Fraction, after: Fraction = Fraction(0)) -> list[Fraction]:
    """Return where the groups of a measure begin that beams join, in quarters from its beginning.

    A measure that is shorter than the one ``after`` it is a pickup, whose groups are those at the end of a whole measure.
    """
    whole = after if after - length >= MIN_PICKUP_GAP else length
    if beat in IRREGULAR:
        starts = [start * beat for start in accumulate(_irregular_groups(max(1, round(whole / beat))), initial=0)]
    else:
        starts = [k * beat for k in range(math.ceil(whole / beat))]
    return [Fraction(0), *(start - whole + length for start in starts if whole - length < start < whole)]


def _irregular_groups(count: int) -> tuple[int, ...]:
    if count in IRREGULAR_GROUPS:
        return IRREGULAR_GROUPS[count]
    twos = -count % 3 if count > 1 else 0
    return (3,) * ((count - 2 * twos) // 3) + (2,) * twos + (1,) * (count == 1)


def beat_in(element: ET.Element) -> Fraction | None:
    """Return the beat of the meter that a scoreDef or staffDef of MEI sets, or None where it sets no meter."""
    count, unit = _meter_in(element)
    return beat_of(int(count), int(unit)) if count.isdecimal() and unit.isdecimal() else None


def length_in(element: ET.Element, before: Fraction | None) -> Fraction | None:
    """Return the length of a measure in the meter that a scoreDef or staffDef of MEI sets, ``before`` where it sets none.

    Counts may be sums, such as 3+2. Of a meter that is no fraction the length is unknown, None.
    """
    count, unit = _meter_in(element)
    if not (count or unit):
        return before
    counts = count.split("+")
    known = all(each.isdecimal() for each in counts) and unit.isdecimal() and int(unit) > 0
    return Fraction(4 * sum(map(int, counts)), int(unit)) if known else None


def _meter_in(element: ET.Element) -> tuple[str, str]:
    signature = element.find("meterSig")
    found = signature if signature is not None else element
    prefix = "" if signature is not None else "meter."
    return found.get(f"{prefix}count", ""), found.get(f"{prefix}unit", "")


def rebeam(mei: ET.Element) -> ET.Element:
    """Beam the notes with flags that follow each other in one group of a measure or tuplet. The score is changed in place."""
    beat = SIMPLE
    measures: list[tuple[Fraction, list[ET.Element]]] = []  # the beat and the layers of each measure
    lengths: list[Fraction] = []
    layers: dict[ET.Element, list[Timed]] = {}
    for element in mei.iter():
        if element.tag in ("scoreDef", "staffDef"):
            beat = beat_in(element) or beat
        elif element.tag == "measure":
            timed = {layer: _timed(_unbeamed(layer), Fraction(0), Fraction(1)) for layer in element.iter("layer")}
            measures.append((beat, list(timed)))
            lengths.append(max((end for _, end in timed.values()), default=Fraction(0)))
            layers |= {layer: found for layer, (found, _) in timed.items()}
    for (beat, inside), length, after in zip(measures, lengths, [*lengths[1:], Fraction(0)], strict=False):
        starts = group_starts(length, beat, after)
        for layer in inside:
            layer[:] = _grouped(layers[layer], starts)
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
            child[:] = _grouped(inner)
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


def _grouped(events: Iterable[Timed], starts: Sequence[Fraction] = ()) -> list[ET.Element]:
    """Put a beam around each run of notes with flags in one group; a tuplet is one group, without ``starts``."""

    def place(event: Timed) -> tuple[bool, int]:
        element, time = event
        flagged = element.tag in ("note", "chord") and element.get("dur") in FLAGGED_DURATIONS
        return flagged, bisect_right(starts, time)

    found: list[ET.Element] = []
    for (flagged, _), group in groupby(events, place):
        elements = [element for element, _ in group]
        if flagged and len(elements) > 1:
            beam = ET.Element("beam")
            beam.extend(elements)
            elements = [beam]
        found += elements
    return found

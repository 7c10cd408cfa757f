"""Notes with flags are beamed by the beat, whatever the source has."""

import xml.etree.ElementTree as ET
from fractions import Fraction

import pytest

from diptych.music.beams import beat_of, rebeam

METERS = {"4/4": Fraction(1), "6/8": Fraction(3, 2), "3/4": Fraction(1), "9/8": Fraction(3, 2), "4/8": Fraction(1)}
METERS |= {"2/2": Fraction(2), "3/2": Fraction(2), "6/16": Fraction(3, 4), "5/8": Fraction(1, 2), "7/16": Fraction(1, 4)}


def layer(meter, events):
    """A measure of MEI: numbers are durations, with a dot for each ".", "r" before a rest, parentheses for a triplet."""
    count, unit = meter.split("/")
    inside = ""
    for event in events.split():
        if event in "()":
            inside += '<tuplet num="3" numbase="2">' if event == "(" else "</tuplet>"
        elif event in "[]":
            inside += "<beam>" if event == "[" else "</beam>"
        else:
            name = "rest" if event[0] == "r" else "note"
            digits = event.strip("r.")
            inside += f'<{name} dur="{digits}" dots="{event.count(".")}"/>'
    head = f'<scoreDef><staffGrp><staffDef n="1"><meterSig count="{count}" unit="{unit}"/></staffDef></staffGrp></scoreDef>'
    return ET.fromstring(f'<mei>{head}<measure><staff n="1"><layer n="1">{inside}</layer></staff></measure></mei>')


def groups(mei):
    """How many notes each beam of the layer joins."""
    return [len(beam) for beam in mei.iter("beam")]


@pytest.mark.parametrize(
    ("meter", "events", "expected"),
    [
        ("4/4", "8 8 8 8 8 8 8 8", [2, 2, 2, 2]),
        ("4/4", "[ 8 8 8 8 ] [ 8 8 8 8 ]", [2, 2, 2, 2]),
        ("6/8", "8 8 8 8 8 8", [3, 3]),
        ("3/4", "8 8 8 8 8 8", [2, 2, 2]),
        ("4/4", "4 8. 16 2", [2]),
        ("4/4", "8 r8 8 8 2", [2]),
        ("4/4", "4. 8 8 8 4", [2]),
        ("4/4", "( 8 8 8 ) ( 4 8 ) 2", [3]),
        ("4/4", "( [ 8 8 ] 8 ) 8 16 16 2", [3, 3]),
        ("9/8", "4. 8 8 8 4 8", [3]),
        ("4/8", "16 16 16 16 8 8", [4, 2]),
        ("4/4", "( 8 8 8 ) ( 8 8 8 ) ( 8 8 8 ) 8 8", [3, 3, 3, 2]),
        ("4/4", "( 8 8 8 ) ( 8 8 8 ) 16 16 16 16 4", [3, 3, 4]),
        ("4/4", "( 8 8 ( 16 16 16 ) ) 8 8 2", [2, 3, 2]),
        ("2/2", "8 8 8 8 8 8 8 8", [4, 4]),
        ("6/16", "16 16 16 16 16 16", [3, 3]),
        ("5/8", "8 8 8 8 8", [3, 2]),
        ("5/8", "16 16 16 16 16 16 16 16 16 16", [6, 4]),
        ("7/8", "8 8 8 8 8 8 8", [2, 2, 3]),
        ("11/8", "8 8 8 8 8 8 8 8 8 8 8", [3, 3, 3, 2]),
        ("13/8", "8 8 8 8 8 8 8 8 8 8 8 8 8", [3, 3, 3, 2, 2]),
        ("5/16", "16 16 16 16 16", [3, 2]),
    ],
)
def test_beams_follow_the_beats_and_nothing_else(meter, events, expected):
    mei = layer(meter, events)
    notes = [dict(note.attrib) for note in mei.iter("note")]
    assert groups(rebeam(mei)) == expected
    assert [dict(note.attrib) for note in mei.iter("note")] == notes
    again = ET.tostring(mei)
    assert ET.tostring(rebeam(mei)) == again


@pytest.mark.parametrize(("meter", "beat"), METERS.items())
def test_a_beat_follows_from_the_meter(meter, beat):
    assert beat_of(*map(int, meter.split("/"))) == beat


def test_a_meter_holds_until_the_next():
    mei = layer("4/4", "2 2")
    mei.append(ET.fromstring('<scoreDef meter.count="6" meter.unit="8"/>'))
    for measure in layer("4/4", "8 8 8 8 8 8").iter("measure"):
        mei.append(measure)
    assert groups(rebeam(mei)) == [3, 3]


@pytest.mark.parametrize(
    ("meter", "pickup", "whole", "expected"),
    [
        ("4/4", "8 8 8", "1", [2]),  # after the middle of a beat: one eighth, and two
        ("6/8", "8 8 8 8", "8 8 8 4.", [3, 3]),
        ("5/8", "8 8 8", "4. 4", [2]),
        ("4/4", "1", "8 8 8 4", [2]),  # a short last measure begins on a beat
    ],
)
def test_the_groups_of_a_pickup_end_with_its_measure(meter, pickup, whole, expected):
    mei = layer(meter, pickup)
    mei.extend(layer(meter, whole).iter("measure"))
    assert groups(rebeam(mei)) == expected
    assert mei.find("measure//layer")[0].tag == "note"

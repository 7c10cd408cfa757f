"""Write a score as MusicXML 4.0, which notation programs open and verovio engraves."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import groupby

from diptych.music.arrangement import Part, Score, ScoreMeasure
from diptych.music.beams import group_starts
from diptych.music.clefs import Placement
from diptych.music.instruments import abbreviations
from diptych.music.midi import Tempo, signature_of
from diptych.music.note_values import QUARTER, Event, write_measure
from diptych.music.notes import LETTERS, Accidental, Note, accidentals_needed

DIVISIONS = 48  # of a quarter: every time on the grid of MIDI files, and a 64th, is a whole number of them
TYPES = ("breve", "whole", "half", "quarter", "eighth", "16th", "32nd", "64th")
ACCIDENTALS: dict[Accidental, str] = {"s": "sharp", "f": "flat", "n": "natural", "ss": "double-sharp", "ff": "flat-flat"}
MIN_TEMPO_CHANGE = 0.1  # of a tempo, from which it has a mark
MIN_TEMPO_LENGTH = Fraction(2)  # quarters; what is shorter is a way of playing
OCTAVE_SIZES = {1: "8", 2: "15"}
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
DOCTYPE = (
    '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)


def to_musicxml(score: Score) -> str:
    """Return a score as the text of a MusicXML file."""
    root = ET.Element("score-partwise", version="4.0")
    if score.title:
        _add(_add(root, "work"), "work-title", score.title)
    _add(_add(_add(root, "identification"), "encoding"), "software", "diptych")
    names = _add(root, "part-list")
    short = abbreviations([part.name for part in score.parts])
    for number, part in enumerate(score.parts, 1):
        listed = _add(names, "score-part", id=f"P{number}")
        _add(listed, "part-name", part.name)
        if len(score.parts) > 1 and part.name:
            _add(listed, "part-abbreviation", short[number - 1])
    tempos = tempos_of(score)
    for number, part in enumerate(score.parts, 1):
        element = _add(root, "part", id=f"P{number}")
        for index, _ in enumerate(score.measures):
            measure = _add(element, "measure", **_number(score.measures, index))
            _write_measure(measure, score, part, index, () if number > 1 else tempos)
    ET.indent(root, " ")
    return HEAD + DOCTYPE + ET.tostring(root, encoding="unicode") + "\n"


def _number(measures: Sequence[ScoreMeasure], index: int) -> dict[str, str]:
    """Return the attributes of a measure: its number from 1, or 0 for a pickup, which counts as none."""
    pickups = measures[0].whole > measures[0].length
    return {"number": str(index + 1 - pickups)} | ({"implicit": "yes"} if pickups and not index else {})


def _add(parent: ET.Element, tag: str, text: object = "", **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = str(text) or None
    return element


def _write_measure(element: ET.Element, score: Score, part: Part, index: int, tempos: Sequence[tuple[Tempo, bool]] = ()) -> None:
    measure = score.measures[index]
    missing = measure.whole - measure.length
    groups = group_starts(measure.length, measure.meter.beat, measure.whole)
    _write_signatures(element, score, part, index)
    if tempos:
        _write_tempos(element, tempos, measure)
    voice = 0
    for staff, measures in enumerate(part.staves):
        _write_octave_signs(element, part, staff, index, begin=True)
        voices = write_measure(measures[index], measure.start, measure.length, measure.meter.beat, missing)
        marks = _accidentals(voices, measure.fifths)
        for layer, events in enumerate(voices):
            if voice:
                _add(_add(element, "backup"), "duration", _ticks(measure.length))
            voice += 1
            beams = _beams(events, groups)
            for event, beam in zip(events, beams, strict=True):
                found = _write_event(element, event, beam, marks, voice, staff if len(part.staves) > 1 else None)
                if layer and not event.notes:
                    found.set("print-object", "no")  # another voice is there to be seen
        _write_octave_signs(element, part, staff, index, begin=False)
    _write_next_clefs(element, part, index)
    last = index == len(score.measures) - 1
    if last or measure.ends_double:
        _add(_add(element, "barline", location="right"), "bar-style", "light-heavy" if last else "light-light")


def _write_signatures(element: ET.Element, score: Score, part: Part, index: int) -> None:
    """Write what changes at the beginning of a measure; clefs after the first measure stand at the end of the one before."""
    measure = score.measures[index]
    before = score.measures[index - 1] if index else None
    attributes = ET.Element("attributes")
    if before is None:
        _add(attributes, "divisions", DIVISIONS)
    if before is None or before.fifths != measure.fifths:
        _add(_add(attributes, "key"), "fifths", measure.fifths)
    signature = signature_of(measure.meter)
    if signature and (before is None or signature_of(before.meter) != signature):
        time = _add(attributes, "time")
        _add(time, "beats", signature[0])
        _add(time, "beat-type", signature[1])
    if before is None:
        if len(part.staves) > 1:
            _add(attributes, "staves", len(part.staves))
        for staff, placements in enumerate(part.placements):
            _write_clef(attributes, placements[0], staff)
    if len(attributes):
        element.append(attributes)


def _write_clef(attributes: ET.Element, placement: Placement, staff: int) -> None:
    clef = _add(attributes, "clef", number=str(staff + 1))
    _add(clef, "sign", placement.clef[0])
    _add(clef, "line", placement.clef[1])
    if len(placement.clef) > 2:
        _add(clef, "clef-octave-change", {"_8": -1, "^8": 1}[placement.clef[2:]])


def _write_next_clefs(element: ET.Element, part: Part, index: int) -> None:
    changed = [
        (staff, placements[index + 1])
        for staff, placements in enumerate(part.placements)
        if index + 1 < len(placements) and placements[index + 1].clef != placements[index].clef
    ]
    if changed:
        attributes = _add(element, "attributes")
        for staff, placement in changed:
            _write_clef(attributes, placement, staff)


def _write_octave_signs(element: ET.Element, part: Part, staff: int, index: int, *, begin: bool) -> None:
    """Write the beginning or the end of an 8va or 15ma that covers whole measures."""
    placements = part.placements[staff]
    octaves = placements[index].octaves
    beside = index - 1 if begin else index + 1
    same = 0 <= beside < len(placements) and placements[beside].octaves == octaves
    if not octaves or same:
        return
    direction = _add(element, "direction", placement="above" if octaves > 0 else "below")
    kind = ("down" if octaves > 0 else "up") if begin else "stop"  # the way from the sounding to the printed note
    _add(_add(direction, "direction-type"), "octave-shift", type=kind, size=OCTAVE_SIZES[abs(octaves)], number=str(staff + 1))
    _add(direction, "staff", staff + 1)


def tempos_of(score: Score) -> list[tuple[Tempo, bool]]:
    """Return all tempos of a score, and whether each is printed: the first, and those that differ clearly from the last mark.

    A tempo must also last until one that differs from it as clearly, so that a tempo which changes with every beat, as in a
    ritardando, is printed once it has settled.
    """
    tempos = [*([Tempo(Fraction(0), score.bpm)] if score.bpm else []), *score.tempo_changes]
    found: list[tuple[Tempo, bool]] = []
    mark: Tempo | None = None
    for index, tempo in enumerate(tempos):
        end = bisect_left(tempos, tempo.onset + MIN_TEMPO_LENGTH, key=lambda each: each.onset)
        settled = not any(_differ(tempo, later) for later in tempos[index + 1 : end])
        printed = mark is None or (settled and _differ(mark, tempo))
        mark = tempo if printed else mark
        found.append((tempo, printed))
    return found


def _differ(before: Tempo, after: Tempo) -> bool:
    return abs(after.bpm - before.bpm) >= MIN_TEMPO_CHANGE * before.bpm


def _write_tempos(element: ET.Element, tempos: Iterable[tuple[Tempo, bool]], measure: ScoreMeasure) -> None:
    """Write the tempos of a measure: each sounds, and is printed where a player should notice it (see tempos_of)."""
    for tempo, printed in tempos:
        if not measure.start <= tempo.onset < measure.start + measure.length:
            continue
        offset = _ticks(tempo.onset - measure.start)
        place = element
        if printed:
            place = _add(element, "direction", placement="above")
            metronome = _add(_add(place, "direction-type"), "metronome")
            _add(metronome, "beat-unit", "quarter")
            _add(metronome, "per-minute", round(tempo.bpm))
            if offset:
                _add(place, "offset", offset)
        sound = _add(place, "sound", tempo=f"{tempo.bpm:g}")
        if offset:
            _add(sound, "offset", offset)


def _accidentals(voices: Sequence[Sequence[Event]], fifths: int) -> dict[tuple[Fraction, Note], Accidental]:
    """Return the accidental before each note of a measure, by onset of its event and note; tied ones need none."""
    places = [(event.onset, note) for voice in voices for event in voice if not event.tied_in for note in event.notes]
    places.sort(key=lambda place: (place[0], place[1].step))
    needed = accidentals_needed([(0, note.staff, note.step, note.alter) for _, note in places], fifths)
    return dict(zip(places, needed, strict=True))


def _ticks(duration: Fraction) -> int:
    return int(duration * DIVISIONS)


def _write_event(
    element: ET.Element,
    event: Event,
    beams: Sequence[str],
    accidentals: dict[tuple[Fraction, Note], Accidental],
    voice: int,
    staff: int | None,
) -> ET.Element:
    """Write a rest, or each note of a chord, and return the last; elements stand in the order that MusicXML asks for."""
    for index, note in enumerate(event.notes or (None,)):
        found = _add(element, "note")
        if index:
            _add(found, "chord")
        if note is None:
            whole = event.base * (2 - Fraction(1, 2**event.dots)) * (Fraction(2, 3) if event.triplet else 1) != event.duration
            _add(found, "rest", **({"measure": "yes"} if whole else {}))
        else:
            pitch = _add(found, "pitch")
            _add(pitch, "step", LETTERS[note.step % 7].upper())
            if note.alter:
                _add(pitch, "alter", note.alter)
            _add(pitch, "octave", note.step // 7)
        _add(found, "duration", _ticks(event.duration))
        ties = ["stop"] * event.tied_in + ["start"] * event.tied_out
        for kind in ties:
            _add(found, "tie", type=kind)
        _add(found, "voice", voice)
        _add(found, "type", TYPES[(8 / event.base).numerator.bit_length() - 1])
        for _ in range(event.dots):
            _add(found, "dot")
        if note is not None and (mark := accidentals.get((event.onset, note), "")):
            _add(found, "accidental", ACCIDENTALS[mark])
        if event.triplet:
            ratio = _add(found, "time-modification")
            _add(ratio, "actual-notes", 3)
            _add(ratio, "normal-notes", 2)
        if staff is not None:
            _add(found, "staff", staff + 1)
        if not index:
            for level, kind in enumerate(beams, 1):
                _add(found, "beam", kind, number=str(level))
        brackets = [] if index else ["start"] * event.begins + ["stop"] * event.ends
        if ties or brackets:
            notations = _add(found, "notations")
            for kind in ties:
                _add(notations, "tied", type=kind)
            for kind in brackets:
                _add(notations, "tuplet", type=kind)
    return found


def _beams(events: Sequence[Event], starts: Sequence[Fraction]) -> list[list[str]]:
    """Return the beams of each event, one for each level: notes with flags in one group of the measure or tuplet are joined."""
    found: list[list[str]] = []
    for joined, group in groupby(events, _grouper(events, starts)):
        inside = list(group)
        levels = [_flags(event) for event in inside]
        if joined is None or len(inside) < 2:
            found += [[] for _ in inside]
            continue
        for index, level in enumerate(levels):
            before = levels[index - 1] if index else 0
            after = levels[index + 1] if index + 1 < len(levels) else 0
            found.append([_beam(n, before, after, first=not index) for n in range(1, level + 1)])
    return found


def _grouper(events: Iterable[Event], starts: Sequence[Fraction]) -> Callable[[Event], tuple[int, int] | None]:
    """Return a function from an event to its beam group, None without flags."""
    tuplets = 0
    groups: dict[Fraction, tuple[int, int] | None] = {}
    for event in events:
        tuplets += event.begins
        group = (tuplets, -1) if event.triplet else (-1, bisect_right(starts, event.onset))
        groups[event.onset] = group if event.notes and _flags(event) else None
    return lambda event: groups[event.onset]


def _flags(event: Event) -> int:
    """Return the number of flags of an event's value: one for an eighth."""
    return max(0, (QUARTER / event.base).numerator.bit_length() - 1)


def _beam(level: int, before: int, after: int, *, first: bool) -> str:
    if before >= level and after >= level:
        return "continue"
    if before >= level:
        return "end"
    if after >= level:
        return "begin"
    return "forward hook" if first else "backward hook"

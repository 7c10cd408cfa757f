"""Set a song on systems of whole measures, with clefs and staves, and turn systems back into a song."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from statistics import fmean

from diptych.errors import DataError
from diptych.music.layout import QUARTER_WIDTHS, SYSTEM_WIDTH, Layout
from diptych.music.midi import Key, Meter, PlayedNote, Song
from diptych.music.notes import CLEFS, Note, System, with_accidentals, without_overlaps
from diptych.music.spelling import key_at, keys_of, separate_steps, spell_notes

MIN_NARROW_GAP = Fraction(1, 3)  # of onsets in quarters; closer ones need wide quarters
MIN_NARROW_DURATION = Fraction(1, 12)  # of notes in quarters, the width of an onset where a quarter is narrow
TREBLE, BASS = "G2", "F4"
MIDDLE_C = 60


def to_systems(song: Song, layout: Layout) -> list[System]:
    """Set a song on systems, one after another, with the accidentals that an engraver would print.

    A system whose notes are out of reach in its usual clef has another clef, or fewer measures so that one clef is enough.
    Where notes that sound together have no spelling on different steps, the earlier one ends as the later begins. Raises
    DataError where such notes begin together, where a measure is longer than a system, or where it has a note that is too far
    from its staff in every clef.
    """
    keys = keys_of(song)
    usual = (TREBLE, BASS) if layout.staves == 2 else (_clef(song.notes),)
    notes = _staved(song, keys, layout.staves)  # by onset
    bars, beats = _bars(song)
    signatures = [key_at(bar, keys).fifths for bar in bars[:-1]]
    found: list[System] = []
    held: list[Note] = []  # notes that go on after the systems so far
    index = 0
    while index < len(bars) - 1:
        near = notes[_first(notes, bars[index]) : _first(notes, bars[min(index + SYSTEM_WIDTH, len(bars) - 1)])]
        fifths = signatures[index]
        same = zip(beats[index : index + SYSTEM_WIDTH], signatures[index:], strict=False)
        alike = next((k for k, each in enumerate(same) if each != (beats[index], fifths)), SYSTEM_WIDTH)
        taken, quarter_width = _fitting(bars[index : index + alike + 1], near, layout)
        if not taken:
            length = bars[index + 1] - bars[index]
            raise DataError(f"a measure of {length} quarters is longer than a system; give a MIDI file with shorter measures")
        here = separate_steps([*held, *(note for note in near if note.onset < bars[index + taken])])
        clefs = _clefs_within_reach(here, usual, layout)
        while clefs is None and taken > 1:
            taken, quarter_width = _fitting(bars[index : index + taken], near, layout)
            here = separate_steps([*held, *(note for note in near if note.onset < bars[index + taken])])
            clefs = _clefs_within_reach(here, usual, layout)
        if clefs is None:
            raise DataError(_out_of_reach_message(here, usual, layout))
        start, end = bars[index], bars[index + taken]
        lengths = tuple(b - a for a, b in pairwise(bars[index : index + taken + 1]))
        held = [note for note in here if note.offset > end]
        shown = tuple(_cut(note, start, end) for note in here if note.offset > start)
        found.append(with_accidentals(System(clefs, fifths, lengths, quarter_width, shown, beats[index])))
        index += taken
    return found


def _first(notes: Sequence[Note], time: Fraction) -> int:
    """Return the index of the first note with an onset at a time or later."""
    return bisect_left(notes, time, key=lambda note: note.onset)


def _clef(notes: Sequence[PlayedNote]) -> str:
    mean = sum(note.pitch for note in notes) / len(notes)
    return TREBLE if mean >= MIDDLE_C - 3 else BASS


def _staved(song: Song, keys: Sequence[Key], staves: int) -> list[Note]:
    """Spell every note and put it on its staff, by track where two tracks have notes, else by side of middle C.

    No pitch sounds twice at once on a staff.
    """
    tracks = sorted({note.track for note in song.notes})
    lower = (
        min(reversed(tracks), key=lambda track: fmean(n.pitch for n in song.notes if n.track == track))
        if len(tracks) == 2
        else None
    )
    lines: dict[tuple[int, int], list[Note]] = {}
    names: dict[tuple[Fraction, int, int], tuple[int, int]] = {}
    for note, name in zip(song.notes, spell_notes(song.notes, keys), strict=True):
        staff = int(note.pitch < MIDDLE_C if lower is None else note.track == lower) if staves == 2 else 0
        names.setdefault((note.onset, staff, note.pitch), name)
        unnamed = Note(note.onset, staff, note.pitch, 0, note.end - note.onset, "", note.velocity)  # a pitch has several names
        lines.setdefault((staff, note.pitch), []).append(unnamed)
    cut = [note for line in lines.values() for note in without_overlaps(line)]
    named = [(note, *names[note.onset, note.staff, note.step]) for note in cut]
    return sorted(replace(note, step=step, alter=alter) for note, step, alter in named)


def _clefs_within_reach(notes: Sequence[Note], usual: Sequence[str], layout: Layout) -> tuple[str, ...] | None:
    """Return the clef of each staff: the usual one where it reaches all notes, else the first that does; None where none does."""
    found: list[str] = []
    for staff, clef in enumerate(usual):
        steps = [note.step for note in notes if note.staff == staff]
        fitting = (each for each in (clef, *CLEFS) if all(abs(step - CLEFS[each]) <= layout.max_position for step in steps))
        found.append(next(fitting, ""))
    return tuple(found) if all(found) else None


def _out_of_reach_message(notes: Sequence[Note], usual: Sequence[str], layout: Layout) -> str:
    """Name the note of a measure that is farthest from its staff in the usual clef."""
    note = max(notes, key=lambda note: abs(note.step - CLEFS[usual[note.staff]]))
    away = abs(note.step - CLEFS[usual[note.staff]])
    return (
        f"the note {note.midi} at quarter {float(note.onset):g} stands {away} steps from the middle of its staff, at most "
        f"{layout.max_position} can be drawn, and no clef reaches all notes of its measure; engrave it with "
        f"`diptych music sheet`, which has no limit{', or choose --layout grand' if layout.staves == 1 else ''}"
    )


def _bars(song: Song) -> tuple[list[Fraction], list[Fraction]]:
    """Return the onsets of measures, up to the end of the last one that has a note, and the beat of each."""
    found = measures_of(song)
    return [*(start for start, _, _ in found), sum(found[-1][:2], Fraction(0))], [meter.beat for *_, meter in found]


def measures_of(song: Song) -> list[tuple[Fraction, Fraction, Meter]]:
    """Return onset, length and meter of each measure, up to the end of the last one that has a note.

    A meter that begins inside a measure ends it there. A first meter of one measure that is shorter than those of the next meter
    is a pickup to these.
    """
    end = max(note.end for note in song.notes)
    found: list[tuple[Fraction, Fraction, Meter]] = []
    start = Fraction(0)
    meter, *later = song.meters
    later.reverse()
    while start < end:
        while later and later[-1].onset <= start:
            meter = later.pop()
        length = min(meter.length, later[-1].onset - start) if later else meter.length
        if not start and later and length == later[-1].onset and length < later[-1].length:
            meter = later[-1]
        found.append((start, length, meter))
        start += length
    return found


def _fitting(bars: Sequence[Fraction], notes: Sequence[Note], layout: Layout) -> tuple[int, int]:
    """Return how many measures from the first on fit on one system, and the quarter width that their notes need."""
    best = 0, QUARTER_WIDTHS[0]
    for count in range(1, len(bars)):
        lengths = [b - a for a, b in pairwise(bars[: count + 1])]
        inside = [note for note in notes if bars[0] <= note.onset < bars[count]]
        quarter_width = _width(inside, lengths, layout)
        if not layout.fits(lengths, quarter_width):
            break
        best = count, quarter_width
    return best


def _width(notes: Sequence[Note], lengths: Sequence[Fraction], layout: Layout) -> int:
    """Choose the narrow quarter, unless onsets are too close for it and the wide one fits."""
    times = sorted({note.onset for note in notes})
    close = any(b - a < MIN_NARROW_GAP for a, b in pairwise(times)) or any(note.duration < MIN_NARROW_DURATION for note in notes)
    return QUARTER_WIDTHS[1] if close and layout.fits(lengths[:1], QUARTER_WIDTHS[1]) else QUARTER_WIDTHS[0]


def _cut(note: Note, start: Fraction, end: Fraction) -> Note:
    """Return the part of a note inside a system, timed from the system's first downbeat."""
    onset, offset = max(note.onset, start), min(note.offset, end)
    return replace(note, onset=onset - start, duration=offset - onset, continued=note.onset < start, goes_on=note.offset > end)


def to_song(found: Iterable[System]) -> Song:
    """Join systems, one after another, into a song; a note that is tied over from the previous system is one note."""
    notes: list[PlayedNote] = []
    sounding: dict[tuple[int, int], int] = {}
    """The index in ``notes`` of the last note of each pitch on each track."""
    meters: list[Meter] = []
    keys: list[Key] = []
    start = Fraction(0)
    for system in found:
        if not keys or keys[-1].fifths != system.fifths:
            keys.append(Key(start, system.fifths))
        for begin, length in zip(system.measure_starts, system.measures, strict=False):
            if not meters or (meters[-1].length, meters[-1].beat) != (length, system.beat):
                meters.append(Meter(start + begin, length, system.beat))
        for note in system.notes:
            played = PlayedNote(start + note.onset, start + note.offset, note.midi, note.velocity, note.staff)
            before = sounding.get((played.pitch, played.track)) if note.continued else None
            if before is not None and notes[before].end == played.onset:
                notes[before] = replace(notes[before], end=played.end)
            else:
                sounding[played.pitch, played.track] = len(notes)
                notes.append(played)
        start += system.measure_starts[-1]
    fifths = keys[0].fifths if keys else None
    return Song(tuple(sorted(notes, key=lambda n: (n.onset, n.pitch))), tuple(meters), fifths, keys=tuple(keys))


def count_changed(song: Song, found: Iterable[System]) -> tuple[int, int]:
    """Count the notes of a song that are shorter on its systems, and those that are left out since another has their place."""
    shown = to_song(found).notes
    left_out = (Counter((n.onset, n.pitch) for n in song.notes) - Counter((n.onset, n.pitch) for n in shown)).total()
    spans = Counter((n.onset, n.end, n.pitch) for n in song.notes) - Counter((n.onset, n.end, n.pitch) for n in shown)
    return spans.total() - left_out, left_out

"""A system of music and its notes: staff step and accidental as written, pitch as it sounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Literal

Accidental = Literal["", "s", "f", "n", "ss", "ff"]
"""A printed accidental as MEI abbreviates it: none, sharp, flat, natural, and the double ones, which rolls do not show."""

ALTERS: dict[Accidental, int] = {"s": 1, "f": -1, "n": 0}
SEMITONES = (0, 2, 4, 5, 7, 9, 11)  # from C up to C D E F G A B
LETTERS = "cdefgab"
SHARPS = (3, 0, 4, 1, 5, 2, 6)  # indices of LETTERS in the order of sharps: F C G D A E B
CLEFS: dict[str, int] = {"G2": 34, "F4": 22, "C3": 28, "C4": 26, "G2_8": 27, "C1": 32}
"""The diatonic step of the middle line by clef. A clef is its shape and its line; _8 sounds an octave lower."""


def step_of(letter: str, octave: int) -> int:
    """Return the diatonic step of a letter in an octave: 28 is middle C (C4), 29 the D above it."""
    return 7 * octave + LETTERS.index(letter)


def midi_pitch(step: int, alter: int) -> int:
    """Return the MIDI pitch of a diatonic step altered by so many semitones: 60 is middle C."""
    octave, letter = divmod(step, 7)
    return 12 * (octave + 1) + SEMITONES[letter] + alter


def key_alter(step: int, fifths: int) -> int:
    """Return the alteration, 1, -1 or 0, that a key signature of ``fifths`` sharps (negative: flats) gives a step."""
    if fifths >= 0:
        return int(step % 7 in SHARPS[:fifths])
    return -int(step % 7 in SHARPS[fifths:])


@dataclass(frozen=True, order=True)
class Note:
    """One note of a system. Times are in quarters; the onset counts from the system's first downbeat.

    ``alter`` is the sounding alteration in semitones, ``accidental`` the sign printed before the note. Notes joined by ties are
    one note; ``continued`` says that the note is tied over from the previous system, ``goes_on`` that it is tied into the next.
    """

    onset: Fraction
    staff: int
    step: int
    alter: int
    duration: Fraction
    accidental: Accidental = ""
    velocity: int = 64
    continued: bool = False
    goes_on: bool = False

    @property
    def offset(self) -> Fraction:
        """The end of the note in quarters."""
        return self.onset + self.duration

    @property
    def midi(self) -> int:
        """The MIDI pitch of the note."""
        return midi_pitch(self.step, self.alter)


@dataclass(frozen=True)
class System:
    """Whole measures on one or two staves, in one key and with one clef per staff.

    ``measures`` are the lengths of the measures in quarters, ``quarter_width`` is the width of a quarter in staff spaces (see
    diptych.music.layout), and ``beat`` is the length of a beat in quarters, 3/2 in 6/8.
    """

    clefs: tuple[str, ...]
    fifths: int
    measures: tuple[Fraction, ...]
    quarter_width: int
    notes: tuple[Note, ...]
    beat: Fraction = Fraction(1)

    @property
    def measure_starts(self) -> list[Fraction]:
        """The onset of each measure in quarters, followed by the end of the last one."""
        return list(accumulate(self.measures, initial=Fraction(0)))

    def measure_of(self, onset: Fraction) -> int:
        """Return the index of the measure that contains a time in quarters."""
        return max(index for index, start in enumerate(self.measure_starts[:-1]) if start <= onset)

    def key_alter_of(self, note: Note) -> int:
        """Return the alteration that the key signature gives a note's step."""
        return key_alter(note.step, self.fifths)


def accidentals_needed(notes: Iterable[tuple[int, int, int, int]], fifths: int) -> Iterator[Accidental]:
    """Yield the accidental that each (measure, staff, step, alter), in order of onset, needs in a key.

    An accidental is valid for its step, octave and staff until the end of the measure.
    """
    names: dict[int, Accidental] = {2: "ss", -2: "ff", **{alter: mark for mark, alter in ALTERS.items()}}
    state: dict[tuple[int, int, int], int] = {}
    for measure, staff, step, alter in notes:
        here = measure, staff, step
        yield "" if state.get(here, key_alter(step, fifths)) == alter else names[alter]
        state[here] = alter


def with_accidentals(system: System) -> System:
    """Set the accidentals that an engraver would print; ``alter`` stays."""
    ordered = sorted(system.notes)
    places = [(system.measure_of(note.onset), note.staff, note.step, note.alter) for note in ordered]
    marks = accidentals_needed(places, system.fifths)
    return replace(system, notes=tuple(replace(note, accidental=mark) for note, mark in zip(ordered, marks, strict=True)))


def apply_accidentals(system: System) -> System:
    """Set ``alter`` from the printed accidentals, those earlier in the measure, and the key signature."""
    state: dict[tuple[int, int, int], int] = {}
    notes = []
    for note in sorted(system.notes):
        here = system.measure_of(note.onset), note.staff, note.step
        if note.accidental:
            state[here] = ALTERS[note.accidental]
        notes.append(replace(note, alter=state.get(here, system.key_alter_of(note))))
    return replace(system, notes=tuple(notes))


def without_overlaps(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Let no two notes of one staff step sound at once, as a roll requires.

    A later onset shortens the earlier note; of two notes with one onset the longer stays.
    """
    by_step: dict[tuple[int, int], list[Note]] = {}
    for note in sorted(notes, key=lambda n: (n.onset, -n.duration)):
        line = by_step.setdefault((note.staff, note.step), [])
        if not line or line[-1].onset != note.onset:
            line.append(note)
    shortened = (
        replace(note, duration=after.onset - note.onset, goes_on=False) if after and after.onset < note.offset else note
        for line in by_step.values()
        for note, after in pairwise([*line, None])
        if note
    )
    return tuple(sorted(shortened))

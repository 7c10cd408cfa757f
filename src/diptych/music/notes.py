"""What stands on a system of music: notes by staff step and accidental, as they are written and as they sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Literal

Accidental = Literal["", "s", "f", "n"]
"""A printed accidental, as MEI writes them: none, sharp, flat, natural."""

ALTERS: dict[Accidental, int] = {"s": 1, "f": -1, "n": 0}
SEMITONES = (0, 2, 4, 5, 7, 9, 11)  # of C D E F G A B above C
LETTERS = "cdefgab"
SHARPS = (3, 0, 4, 1, 5, 2, 6)  # letters in the order in which key signatures raise them: F C G D A E B
CLEFS: dict[str, int] = {"G2": 34, "F4": 22, "C3": 28, "C4": 26, "G2_8": 27}
"""The staff step on the middle line. Clefs are shape and line; _8 sounds an octave lower."""


def step_of(letter: str, octave: int) -> int:
    """The diatonic step of a pitch: 28 is middle C, 29 the D above it."""
    return 7 * octave + LETTERS.index(letter)


def midi_pitch(step: int, alter: int) -> int:
    """The MIDI number of a step with so many semitones added: 60 is middle C."""
    octave, letter = divmod(step, 7)
    return 12 * (octave + 1) + SEMITONES[letter] + alter


def key_alter(step: int, fifths: int) -> int:
    """What a key signature of so many sharps (flats are negative) does to a step: 1, -1 or 0."""
    if fifths >= 0:
        return int(step % 7 in SHARPS[:fifths])
    return -int(step % 7 in SHARPS[fifths:])


@dataclass(frozen=True, order=True)
class Note:
    """One note of a system. Onset and duration are in quarters, the onset from the beginning of the system's first measure.

    ``alter`` is how it sounds, ``mark`` the accidental printed before it. Tied notes are one; ``held`` says that a note goes on
    from the system before.
    """

    onset: Fraction
    staff: int
    step: int
    alter: int
    duration: Fraction
    accidental: Accidental = ""
    velocity: int = 64
    continued: bool = False

    @property
    def offset(self) -> Fraction:
        """Where it ends, in quarters."""
        return self.onset + self.duration

    @property
    def midi(self) -> int:
        """Its MIDI number."""
        return midi_pitch(self.step, self.alter)


@dataclass(frozen=True)
class System:
    """Some whole measures on one or two staves, in one key and with one clef a staff.

    ``measures`` are their lengths in quarters; ``quarter`` the staff spaces that a quarter is wide (see diptych.music.layout);
    ``beat`` the quarters between beats, 3/2 in 6/8.
    """

    clefs: tuple[str, ...]
    fifths: int
    measures: tuple[Fraction, ...]
    quarter_width: int
    notes: tuple[Note, ...]
    beat: Fraction = Fraction(1)

    @property
    def measure_starts(self) -> list[Fraction]:
        """Where each measure begins, in quarters, and where the last one ends."""
        return list(accumulate(self.measures, initial=Fraction(0)))

    def measure_of(self, onset: Fraction) -> int:
        """The index of the measure in which a time lies."""
        return max(index for index, start in enumerate(self.measure_starts[:-1]) if start <= onset)

    def key_alter_of(self, note: Note) -> int:
        """What the key signature says of a note's step."""
        return key_alter(note.step, self.fifths)


def accidentals_needed(notes: Iterable[tuple[int, int, int, int]], fifths: int) -> Iterator[Accidental]:
    """The accidentals that (measure, staff, step, alter) need in order of onset: by the key, and by what the measure had before.

    An accidental holds for its step and octave to the end of the measure, for its staff alone.
    """
    names: dict[int, Accidental] = {alter: mark for mark, alter in ALTERS.items()}
    state: dict[tuple[int, int, int], int] = {}
    for measure, staff, step, alter in notes:
        here = measure, staff, step
        yield "" if state.get(here, key_alter(step, fifths)) == alter else names[alter]
        state[here] = alter


def with_accidentals(system: System) -> System:
    """The same music with the accidentals that a printer would set."""
    ordered = sorted(system.notes)
    places = [(system.measure_of(note.onset), note.staff, note.step, note.alter) for note in ordered]
    marks = accidentals_needed(places, system.fifths)
    return replace(system, notes=tuple(replace(note, accidental=mark) for note, mark in zip(ordered, marks, strict=True)))


def apply_accidentals(system: System) -> System:
    """The same notes with ``alter`` as the printed accidentals, those before them in the measure, and the key say."""
    state: dict[tuple[int, int, int], int] = {}
    notes = []
    for note in sorted(system.notes):
        here = system.measure_of(note.onset), note.staff, note.step
        if note.accidental:
            state[here] = ALTERS[note.accidental]
        notes.append(replace(note, alter=state.get(here, system.key_alter_of(note))))
    return replace(system, notes=tuple(notes))


def without_overlaps(notes: Sequence[Note]) -> tuple[Note, ...]:
    """No two notes of one staff step at once, as in a roll: the later one ends the earlier, the longer hides its twin."""
    by_step: dict[tuple[int, int], list[Note]] = {}
    for note in sorted(notes, key=lambda n: (n.onset, -n.duration)):
        line = by_step.setdefault((note.staff, note.step), [])
        if not line or line[-1].onset != note.onset:
            line.append(note)
    ended = (
        replace(note, duration=min(note.duration, after.onset - note.onset)) if after else note
        for line in by_step.values()
        for note, after in pairwise([*line, None])
        if note
    )
    return tuple(sorted(ended))

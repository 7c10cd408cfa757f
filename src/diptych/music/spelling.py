"""Spell pitches: estimate the key, name pitches in it, and give simultaneous notes different staff steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from diptych.errors import DataError
from diptych.music.midi import PlayedNote
from diptych.music.notes import SEMITONES, Note


def estimate_key(notes: Iterable[PlayedNote]) -> int:
    """Return the key signature, -6 to 6 fifths, whose scale covers most of the sounding time; ties go to fewer accidentals."""
    weights = [0.0] * 12
    for note in notes:
        weights[note.pitch % 12] += float(note.end - note.onset)
    scales = {fifths: {(7 * (fifths + k)) % 12 for k in range(-1, 6)} for fifths in range(-6, 7)}
    return max(scales, key=lambda fifths: (sum(weights[pitch] for pitch in scales[fifths]), -abs(fifths)))


def spell(pitch: int, fifths: int, minor: bool = False) -> tuple[int, int]:
    """Return the staff step of a MIDI pitch and its alteration (-1, 0 or 1) in a key.

    Names come from twelve neighbours on the line of fifths. In C major they are the key's own notes, E flat, B flat, F sharp, C
    sharp and G sharp, the leading note of A minor; in A minor D sharp takes the place of E flat.
    """
    lowest = fifths - (2 if minor else 3)
    for nearness in (range(lowest, lowest + 12), range(-8, 13)):
        for tonal in nearness:  # -1 is F, 0 C, 1 G
            letter, alter = (4 * tonal) % 7, (tonal + 1) // 7
            if (7 * tonal - pitch) % 12 == 0 and abs(alter) <= 1:
                octave = (pitch - SEMITONES[letter] - alter) // 12 - 1
                return 7 * octave + letter, alter
    raise AssertionError(pitch)  # unreachable: every pitch has a name between F flat and B sharp


def separate_steps(notes: Iterable[Note]) -> list[Note]:
    """Respell notes so that different pitches that sound together on a staff stand on different steps.

    No pitch may sound twice at once on a staff. Each note respells as few earlier ones as possible. Where respelling is not
    enough, the earlier notes on its step end at its onset. Raises DataError where such notes begin together.
    """
    placed: list[Note] = []
    for note in sorted(notes):
        spelled = _respelled(placed, note)
        if spelled is None:
            chord = _respelled([other for other in placed if other.onset == note.onset], note)
            if chord is None:
                raise DataError(_crowded_chord_message(placed, note))
            before = [other for other in placed if other.onset < note.onset]
            spelled = [
                _until(other, note.onset) if any(_clash(other, each) for each in chord) else other for other in before
            ] + chord
        placed = spelled
    return placed


def _respelled(placed: Sequence[Note], note: Note) -> list[Note] | None:
    """Return the placed notes and one more with the fewest respelled, or None where no spelling works.

    A pitch has at most two spellings, so this is 2-satisfiability with one variable added to a solution: it is enough to follow
    what each of the two spellings forces.
    """
    notes = [*placed, note]
    possible = [spelled for name in (_other_spelling(note), note) if (spelled := _forced(notes, name)) is not None]
    return min(possible, key=lambda spelled: sum(a is not b for a, b in zip(spelled, notes, strict=True)), default=None)


def _forced(notes: Sequence[Note], name: Note) -> list[Note] | None:
    """Spell the last note as given and respell what clashes with it, and so on; None where a note would need both spellings."""
    names, waiting = {len(notes) - 1: name}, [name]
    while waiting:
        name = waiting.pop()
        for index, note in enumerate(notes):
            if _clash(names.get(index, note), name):
                if index in names:
                    return None
                names[index] = _other_spelling(note)
                waiting.append(names[index])
    return [names.get(index, note) for index, note in enumerate(notes)]


def _clash(a: Note, b: Note) -> bool:
    return a.step == b.step and a.staff == b.staff and a.alter != b.alter and a.onset < b.offset and b.onset < a.offset


def _other_spelling(note: Note) -> Note:
    """Return the same pitch on a neighbouring step, or the note itself where there is no such spelling."""
    others = (replace(note, step=step, alter=alter) for step in (note.step - 1, note.step + 1) for alter in (-1, 0, 1))
    return next((other for other in others if other.midi == note.midi), note)


def _until(note: Note, end: Fraction) -> Note:
    return replace(note, duration=end - note.onset)


def _crowded_chord_message(placed: Iterable[Note], note: Note) -> str:
    near = {other.midi for other in placed if (other.onset, other.staff) == (note.onset, note.staff)} | {note.midi}
    *pitches, last = sorted(pitch for pitch in near if abs(pitch - note.midi) <= 2)
    return (
        f"the notes {', '.join(map(str, pitches))} and {last} begin together at quarter {float(note.onset):g} and have no staff "
        f"steps of their own; leave one of them out"
    )

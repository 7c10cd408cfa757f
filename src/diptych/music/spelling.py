"""How pitches are written: the key that fits them, their names in it, and a step of its own for each note that sounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from diptych.errors import DataError
from diptych.music.midi import PlayedNote
from diptych.music.notes import SEMITONES, Note


def estimate_key(notes: Iterable[PlayedNote]) -> int:
    """The key signature, -6 to 6 sharps, whose scale holds the most of what sounds; the one with fewer accidentals on a tie."""
    weights = [0.0] * 12
    for note in notes:
        weights[note.pitch % 12] += float(note.end - note.onset)
    scales = {fifths: {(7 * (fifths + k)) % 12 for k in range(-1, 6)} for fifths in range(-6, 7)}
    return max(scales, key=lambda fifths: (sum(weights[pitch] for pitch in scales[fifths]), -abs(fifths)))


def spell(pitch: int, fifths: int) -> tuple[int, int]:
    """The staff step of a MIDI pitch, and its alteration (-1, 0 or 1), in a key.

    From the twelve neighbours of the key on the line of fifths: flat second, third, sixth and seventh, raised fourth.
    """
    for nearness in (range(fifths - 4, fifths + 8), range(-8, 13)):
        for tonal in nearness:  # -1 is F, 0 C, 1 G
            letter, alter = (4 * tonal) % 7, (tonal + 1) // 7
            if (7 * tonal - pitch) % 12 == 0 and abs(alter) <= 1:
                octave = (pitch - SEMITONES[letter] - alter) // 12 - 1
                return 7 * octave + letter, alter
    raise AssertionError(pitch)  # every pitch has a name between F flat and B sharp


def separate_steps(notes: Iterable[Note]) -> list[Note]:
    """The notes with names such that those of different pitches are on different steps as long as they sound.

    No pitch may be twice at once on a staff. For each note that comes, as few as possible are renamed; where names don't suffice,
    those in its way end as it begins. Raises DataError where they begin at once.
    """
    placed: list[Note] = []
    for note in sorted(notes):
        named = _named(placed, note)
        if named is None:
            chord = _named([other for other in placed if other.onset == note.onset], note)
            if chord is None:
                raise DataError(_crowd(placed, note))
            before = [other for other in placed if other.onset < note.onset]
            named = [
                _until(other, note.onset) if any(_clash(other, each) for each in chord) else other for other in before
            ] + chord
        placed = named
    return placed


def _named(placed: Sequence[Note], note: Note) -> list[Note] | None:
    """The placed notes and one more, with the fewest renamed; None where no names are left.

    A pitch has at most two names, so this is 2-satisfiability with one variable added to a solution: it is enough to follow what
    each of the two names forces.
    """
    notes = [*placed, note]
    possible = [named for name in (_renamed(note), note) if (named := _forced(notes, name)) is not None]
    return min(possible, key=lambda named: sum(a is not b for a, b in zip(named, notes, strict=True)), default=None)


def _forced(notes: Sequence[Note], name: Note) -> list[Note] | None:
    """The notes once the last has a name: what is in its way takes its other name, and so on; None where one would need both."""
    names, waiting = {len(notes) - 1: name}, [name]
    while waiting:
        name = waiting.pop()
        for index, note in enumerate(notes):
            if _clash(names.get(index, note), name):
                if index in names:
                    return None
                names[index] = _renamed(note)
                waiting.append(names[index])
    return [names.get(index, note) for index, note in enumerate(notes)]


def _clash(a: Note, b: Note) -> bool:
    return a.step == b.step and a.staff == b.staff and a.alter != b.alter and a.onset < b.offset and b.onset < a.offset


def _renamed(note: Note) -> Note:
    """The same pitch on a neighbouring step, where it has a name there."""
    others = (replace(note, step=step, alter=alter) for step in (note.step - 1, note.step + 1) for alter in (-1, 0, 1))
    return next((other for other in others if other.midi == note.midi), note)


def _until(note: Note, end: Fraction) -> Note:
    return replace(note, duration=end - note.onset)


def _crowd(placed: Iterable[Note], note: Note) -> str:
    near = {other.midi for other in placed if (other.onset, other.staff) == (note.onset, note.staff)} | {note.midi}
    *pitches, last = sorted(pitch for pitch in near if abs(pitch - note.midi) <= 2)
    return (
        f"the notes {', '.join(map(str, pitches))} and {last} begin at once at quarter {float(note.onset):g} and there are no "
        f"steps for all; leave one of them out"
    )

"""Spell pitches: estimate the key, name pitches in it, and give simultaneous notes different staff steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from diptych.errors import DataError
from diptych.music.midi import Key, PlayedNote, Song
from diptych.music.notes import SEMITONES, Note


def estimate_key(notes: Iterable[PlayedNote]) -> int:
    """Return the key signature, -6 to 6 fifths, whose scale covers most of the sounding time; ties go to fewer accidentals."""
    weights = [0.0] * 12
    for note in notes:
        weights[note.pitch % 12] += float(note.end - note.onset)
    scales = {fifths: {(7 * (fifths + k)) % 12 for k in range(-1, 6)} for fifths in range(-6, 7)}
    return max(scales, key=lambda fifths: (sum(weights[pitch] for pitch in scales[fifths]), -abs(fifths)))


def keys_of(song: Song) -> tuple[Key, ...]:
    """Return the keys of a song: those of its file, or the one that is estimated from its notes."""
    known = song.keys or ((Key(Fraction(0), song.fifths),) if song.fifths is not None and abs(song.fifths) <= 7 else ())
    return known or (Key(Fraction(0), estimate_key(song.notes)),)


def key_at(time: Fraction, keys: Sequence[Key]) -> Key:
    """Return the key at a time; the first one holds before it begins too."""
    return keys[max(bisect_right(keys, time, key=lambda key: key.onset) - 1, 0)]


def spell_notes(notes: Sequence[PlayedNote], keys: Sequence[Key], *, doubles: bool = False) -> list[tuple[int, int]]:
    """Return staff step and alteration of each note, from its context and the key signature.

    Every pitch class that sounds nearby votes, as often as it sounds, for the name that the note has if it is the tonic (first
    stage of ps13s1: Meredith, The ps13 pitch spelling algorithm, Journal of New Music Research 2006). Mode and modulations need
    not be known. Tonics have names near the key signature. Without ``doubles``, which rolls cannot show, a note whose name has
    a double accidental gets a plain one.
    """
    found: list[tuple[int, int]] = []
    counts = [0] * 12
    ahead = 0
    for index, note in enumerate(notes):
        while ahead < min(index + CONTEXT_AFTER, len(notes)):
            counts[notes[ahead].pitch % 12] += 1
            ahead += 1
        if index > CONTEXT_BEFORE:
            counts[notes[index - CONTEXT_BEFORE - 1].pitch % 12] -= 1
        fifths = key_at(note.onset, keys).fifths
        votes: dict[int, int] = {}
        for pitch, count in enumerate(counts):
            tonic = _near(pitch, fifths - 3)
            count += KEY_WEIGHT * (-1 <= tonic - fifths <= 5)
            if count:
                tonal = tonic + INTERVALS[(note.pitch - pitch) % 12]
                votes[tonal] = votes.get(tonal, 0) + count
        tonal = max(votes, key=lambda name: (votes[name], -abs(name - fifths - 2)))
        found.append(_placed(note.pitch, tonal, 1 + doubles) or spell(note.pitch, fifths))
    return found


CONTEXT_BEFORE, CONTEXT_AFTER = 10, 20  # notes
KEY_WEIGHT = 1  # further votes of each note of the key's scale, which decide where little else sounds
INTERVALS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)
"""The name of each number of semitones over a tonic, as a distance on the line of fifths: minor second, major second ..."""


def spell(pitch: int, fifths: int, minor: bool = False) -> tuple[int, int]:
    """Return the staff step of a MIDI pitch and its alteration (-1, 0 or 1) in a key, without a context.

    Names come from twelve neighbours on the line of fifths. In C major they are the key's own notes, E flat, B flat, F sharp, C
    sharp and G sharp, the leading note of A minor; in A minor D sharp takes the place of E flat.
    """
    lowest = fifths - (2 if minor else 3)
    for nearness in (range(lowest, lowest + 12), range(-8, 13)):
        for tonal in nearness:
            if (7 * tonal - pitch) % 12 == 0 and (found := _placed(pitch, tonal)):
                return found
    raise AssertionError(pitch)  # unreachable: every pitch has a name between F flat and B sharp


def _near(pitch: int, lowest: int) -> int:
    """Return the name of a pitch among twelve neighbours on the line of fifths, on which -1 is F, 0 C and 1 G."""
    return (7 * pitch - lowest) % 12 + lowest


def _placed(pitch: int, tonal: int, most: int = 1) -> tuple[int, int] | None:
    """Return staff step and alteration of a pitch under its name on the line of fifths, or None where it is altered by more."""
    letter, alter = (4 * tonal) % 7, (tonal + 1) // 7
    return (7 * ((pitch - SEMITONES[letter] - alter) // 12 - 1) + letter, alter) if abs(alter) <= most else None


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

"""Arrange the tracks of a song as the parts of a score: one staff or a keyboard's two, clefs, and spelled notes."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from statistics import fmean
from typing import Literal

from diptych.music.clefs import KEYBOARDS, USUAL, Placement, choose_clefs, takes_octave_signs, usual_clefs
from diptych.music.hands import split_hands
from diptych.music.instruments import NAMES
from diptych.music.midi import Meter, PlayedNote, Song, Tempo, Track
from diptych.music.note_values import MAX_VOICES, changed_notes, limit_voices
from diptych.music.notes import CLEFS, Note, key_alter
from diptych.music.spelling import key_at, keys_of, spell, spell_notes
from diptych.music.staves import measures_of

Staves = Literal["auto", "staff", "grand"]
COMFORTABLE = 9  # steps from the middle line: two ledger lines
MAX_FAR = 0.05  # share of the notes of one staff that may be farther away
MAX_OUT_OF_KEY = 0.25  # share of notes outside the key signature, above which this is said; in tonal songs it is about 0.1
MAX_HEADS = 16  # notes that begin together on a staff; the time of engraving grows with their square, and two hands play ten
MAX_SPAN, MAX_WIDE = 16, 0.02  # semitones from the lowest to the highest note that sound, and the share of onsets with more


@dataclass(frozen=True)
class ScoreMeasure:
    """One measure: onset and length in quarters, its meter, its key signature in fifths, and the length that it would have.

    ``whole`` is more than ``length`` for a pickup at the beginning of a piece; ``ends_double`` says whether a double bar ends it.
    """

    start: Fraction
    length: Fraction
    meter: Meter
    fifths: int
    whole: Fraction
    ends_double: bool = False


@dataclass(frozen=True)
class Part:
    """One part: for each of its staves and each measure, the notes that sound in it, and the placement.

    Notes are timed from the beginning of the piece; one that goes on into the next measures is in each of them.
    """

    name: str
    staves: tuple[tuple[tuple[Note, ...], ...], ...]
    placements: tuple[tuple[Placement, ...], ...]


@dataclass(frozen=True)
class Score:
    """All parts, which share measures.

    ``estimated_key`` says that the key is not the file's but was found from the notes, ``shortened`` counts the notes that end
    early, since no voice of their staff is free, and ``joined`` those without a head of their own, since another note of their
    pitch begins with them on their staff. ``thinned`` counts the notes that are left out of chords of more than MAX_HEADS notes,
    of which the lowest, the highest and an even choice between them are printed. ``tempo_changes`` are those after the beginning.
    """

    parts: tuple[Part, ...]
    measures: tuple[ScoreMeasure, ...]
    title: str = ""
    bpm: float | None = None
    estimated_key: bool = False
    shortened: int = 0
    joined: int = 0
    thinned: int = 0
    tempo_changes: tuple[Tempo, ...] = ()


def arrange(song: Song, staves: Staves = "auto") -> Score:
    """Arrange each track as a part, from the first to the last.

    With ``auto``, a keyboard's track has two staves where one would need many ledger lines, and so has a track without a program;
    two tracks that follow each other are a keyboard's hands where they have one program and, but for the hand, one name, or where
    they are all there is. ``staff`` gives every track one staff, ``grand`` every track two. Names and clefs that the song knows
    are kept, and a track whose clefs are known is one staff.
    """
    keys = keys_of(song)
    spelled = spell_notes(song.notes, keys, doubles=True)
    names = {note: note.name or name for note, name in zip(song.notes, spelled, strict=True)}
    measures = tuple(
        ScoreMeasure(
            start,
            length,
            meter,
            key_at(start, keys).fifths,
            length if start else max(length, meter.length),
            start + length in song.double_bars,
        )
        for start, length, meter in measures_of(song)
    )
    tracks = song.tracks or tuple(Track(number) for number in sorted({note.track for note in song.notes}))
    parts: list[Part] = []
    shortened = joined = thinned = 0
    for group in _grouped(tracks, staves):
        given = _on_staves(group, song, staves)
        found = [_thinned(notes) for notes in given]
        thinned += sum(map(len, given)) - sum(map(len, found))
        whole = [[_spelled(note, k, names) for note in notes] for k, notes in enumerate(found)]
        limited = [limit_voices(notes) for notes in whole]
        for before, after in zip(whole, limited, strict=True):
            heads = Counter((note.onset, note.midi) for note in before)
            joined += len(before) - len(heads)
            shortened += sum(a != b and heads[a.onset, a.midi] == 1 for a, b in zip(before, after, strict=True))
        inside = [_in_measures(notes, measures) for notes in limited]
        clefs = usual_clefs(group[0].name, group[0].program)
        signs = takes_octave_signs(group[0].name, group[0].program)
        placements: list[tuple[Placement, ...]] = []
        for k, notes in enumerate(inside):
            printed = _printed_clefs(group[k], measures) if group[0].clefs and group[k].clefs else []
            usual = tuple(dict.fromkeys(printed)) or (clefs if len(inside) == 1 else (USUAL[k], USUAL[1 - k]))
            placements.append(tuple(choose_clefs(notes, usual, octave_signs=signs, printed=printed)))
        parts.append(Part(_part_name(group), tuple(inside), tuple(placements)))
    estimated = not song.keys and song.fifths is None
    return Score(tuple(parts), measures, song.title, song.bpm, estimated, shortened, joined, thinned, song.tempo_changes)


def _printed_clefs(track: Track, measures: Sequence[ScoreMeasure]) -> list[str]:
    """Return the clef of a track whose clefs are known in each measure."""
    onsets = [onset for onset, _ in track.clefs]
    return [track.clefs[max(0, bisect_right(onsets, measure.start) - 1)][1] for measure in measures]


def count_changed(score: Score) -> dict[str, int]:
    """Count the notes that are printed shorter or longer than they are, or without a head of their own, by the reason for it."""
    changed: set[tuple[int, Note]] = set()
    for number, part in enumerate(score.parts):
        for staff in part.staves:
            for measure, notes in zip(score.measures, staff, strict=True):
                changed.update((number, note) for note in changed_notes(notes, measure.start, measure.length, measure.meter.beat))
    found = {
        f"a staff has {MAX_VOICES} voices at most": score.shortened,
        "another begins with them on their pitch and staff, and one head stands for both": score.joined,
        "no note values fit their times": len(changed),
        f"more than {MAX_HEADS} begin together on a staff, and so many of them are shown": score.thinned,
    }
    return {reason: count for reason, count in found.items() if count}


def count_out_of_key(score: Score) -> int:
    """Count the notes that the key signature of their measure does not give."""
    return sum(
        note.alter != key_alter(note.step, measure.fifths)
        for part in score.parts
        for staff in part.staves
        for measure, notes in zip(score.measures, staff, strict=True)
        for note in notes
        if note.onset >= measure.start
    )


def _thinned(notes: Sequence[PlayedNote]) -> list[PlayedNote]:
    """Keep of the notes that begin together at most MAX_HEADS pitches: the lowest, the highest, and an even choice between."""
    kept: list[PlayedNote] = []
    for _, together in groupby(notes, lambda note: note.onset):
        chord = list(together)
        if len(pitches := sorted({note.pitch for note in chord})) > MAX_HEADS:
            shown = {pitches[round(k * (len(pitches) - 1) / (MAX_HEADS - 1))] for k in range(MAX_HEADS)}
            chord = [note for note in chord if note.pitch in shown]
        kept += chord
    return kept


def _spelled(note: PlayedNote, staff: int, names: Mapping[PlayedNote, tuple[int, int]]) -> Note:
    step, alter = names[note]
    return Note(note.onset, staff, step, alter, note.end - note.onset, "", note.velocity)


def _in_measures(notes: Iterable[Note], measures: Sequence[ScoreMeasure]) -> tuple[tuple[Note, ...], ...]:
    """Return the notes that sound in each measure."""
    starts = [measure.start for measure in measures]
    found: list[list[Note]] = [[] for _ in measures]
    for note in sorted(notes):
        for index in range(bisect_right(starts, note.onset) - 1, bisect_left(starts, note.offset)):
            found[index].append(note)
    return tuple(map(tuple, found))


def _grouped(tracks: Sequence[Track], staves: Staves) -> list[tuple[Track, ...]]:
    """Return the tracks of each part, one, or two where they are the hands of a keyboard."""
    groups: list[tuple[Track, ...]] = []
    for track in tracks:
        before = groups[-1] if groups else ()
        if staves != "staff" and len(before) == 1 and _are_hands(before[0], track, alone=len(tracks) == 2):
            groups[-1] = (before[0], track)
        else:
            groups.append((track,))
    return groups


def _are_hands(first: Track, second: Track, *, alone: bool) -> bool:
    if alone:
        return _may_be_keyboard(first) and _may_be_keyboard(second)
    if first.program not in KEYBOARDS or first.program != second.program:
        return False
    return second.name in ("", first.name) or (HAND.search(first.name) is not None and _stem(first) == _stem(second))


HAND = re.compile(r"\W*\b(right|left|upper|lower|high?|low?|[rl]\.?h|treble|bass)\b\.?(\s+(hand|staff))?\W*", re.IGNORECASE)
"""The part of a track's name that says which hand of a keyboard it is."""


def _stem(track: Track) -> str:
    """Return the name of a track without its hand."""
    return HAND.sub(" ", track.name).strip()


def _part_name(group: Sequence[Track]) -> str:
    """Return the name of a part: that of its track, or of both hands; without one, that of its instrument."""
    program = group[0].program
    return (_stem(group[0]) if len(group) > 1 else group[0].name) or ("" if program is None else NAMES[program])


def count_staves(song: Song) -> int:
    """Count the staves that a score of a song has."""
    return sum(len(_on_staves(group, song, "auto")) for group in _grouped(song.tracks, "auto"))


def _on_staves(group: Sequence[Track], song: Song, staves: Staves) -> list[list[PlayedNote]]:
    """Return the notes of each staff of a part, the upper one first."""
    tracks = [[note for note in song.notes if note.track == track.track] for track in group]
    if group[0].clefs:
        return tracks
    if len(tracks) == 2:
        return sorted(tracks, key=lambda notes: -fmean(note.pitch for note in notes)) if all(tracks) else tracks
    (notes,) = tracks
    if staves == "staff" or (staves == "auto" and not (_may_be_keyboard(group[0]) and _needs_two_staves(notes))):
        return [notes]
    left = split_hands(notes)
    return [[note for note, is_left in zip(notes, left, strict=True) if is_left == side] for side in (False, True)]


def _may_be_keyboard(track: Track) -> bool:
    return track.program is None or track.program in KEYBOARDS


def _needs_two_staves(notes: Sequence[PlayedNote]) -> bool:
    """Return whether many notes are far from one staff, in either usual clef, or many chords are wide."""
    if not notes:
        return False
    steps = [spell(note.pitch, 0)[0] for note in notes]
    far = min(sum(abs(step - CLEFS[clef]) > COMFORTABLE for step in steps) for clef in USUAL) / len(notes)
    if far > MAX_FAR:
        return True
    wide = onsets = 0
    sounding: list[PlayedNote] = []
    for onset, group in groupby(notes, lambda note: note.onset):
        sounding = [note for note in sounding if note.end > onset] + list(group)
        pitches = [note.pitch for note in sounding]
        wide += max(pitches) - min(pitches) > MAX_SPAN
        onsets += 1
    return wide / onsets > MAX_WIDE

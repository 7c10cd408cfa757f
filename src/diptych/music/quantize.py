"""Bring played onsets and ends to note values that can be printed, and count what moves."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise
from statistics import median

from diptych.music.beams import COMPOUND, SIMPLE
from diptych.music.midi import GRID, PlayedNote, Song
from diptych.music.staves import measures_of

TICK = Fraction(1, GRID)
DIVISIONS = {
    SIMPLE: {1: 0.0, 2: 0.5, 4: 1.0, 3: 1.2, 8: 2.5, 6: 2.5, 16: 4.0},
    COMPOUND: {1: 0.0, 3: 0.5, 6: 1.0, 2: 1.2, 12: 2.5, 4: 2.5, 24: 4.0},
}
"""Equal parts of a beat, and what each costs, in ticks of error, beside a simpler one."""
WRITTEN, PERFORMED = (1.0, 24), (3.0, 8)
"""A factor of the costs, and the finest division: for files that follow a beat, and for performances on beats that were found."""
SIXTEENTH, TRIPLET, THIRTY_SECOND, SIXTY_FOURTH = Fraction(1, 4), Fraction(1, 3), Fraction(1, 8), Fraction(1, 16)
MAX_GAP = Fraction(1, 4)  # of the time to the next onset: a shorter gap before it is articulation, not a rest
MAX_DETACHED_GAP = Fraction(1, 2)  # the same in a track that is played detached
DETACHED = 0.85  # a track is where half of its notes sound for less than this share of the time to the next onset
MAX_OVERLAP = Fraction(1, 12)  # in quarters: a shorter overlap with the next onset is legato, not a chord
NO_DIVISIONS = (5, 7, 9, 10, 11, 13)  # parts of a beat that a score is not written in
EXACT = Fraction(1, 190)  # of a beat: how near to such a part an onset is that a file of 96 ticks a quarter means to be there
NOTABLE = Fraction(1, 12)  # in quarters: smaller moves are not counted


@dataclass(frozen=True)
class Quantized:
    """A song on printable note values, and how many of its notes have an onset or an end more than NOTABLE away from it."""

    song: Song
    onsets_moved: int
    ends_moved: int


def quantize(song: Song, *, performed: bool = False) -> Quantized:
    """Move onsets to simple divisions of the beat, track by track, and ends to the next onset or the nearest note value.

    Onsets of a song that all lie on 64ths or on triplets of sixteenths stay where they are, and so do ends that all do; ends on
    64ths stay only in a song that has onsets there, and ends on triplets in quarters that have, since elsewhere they are a way of
    playing. In a song that was ``performed`` without a click, onsets scatter, and finer divisions cost more.
    """
    exact = all(_is_printable(note.onset) or _is_64th(note.onset) for note in song.notes)
    fine = any(_is_64th(note.onset) and not _is_straight(note.onset) for note in song.notes)
    thirds = {note.onset // 1 for note in song.notes if not _is_64th(note.onset)}  # the quarters that have triplets
    ends = {note.end for note in song.notes}
    if exact and all(
        _is_straight(end) or (fine and _is_64th(end)) or (end // 1 in thirds and _is_printable(end)) for end in ends
    ):
        return Quantized(song, 0, 0)
    beats = _beats(song)
    before: list[PlayedNote] = []
    after: list[PlayedNote] = []
    for track in sorted({note.track for note in song.notes}):
        notes = [note for note in song.notes if note.track == track]
        moved = notes if exact else _on_divisions(notes, beats, PERFORMED if performed else WRITTEN)
        onsets = sorted({note.onset for note in moved})
        triplets = {onset // 1 for onset in onsets if not _is_straight(onset)}
        detached = _is_detached(moved, onsets)
        before += notes
        after += [replace(note, end=_end(note, onsets, triplets, detached=detached)) for note in moved]
    pairs = sorted(zip(before, after, strict=True), key=lambda pair: (pair[1].onset, pair[1].pitch, pair[1].track))
    return Quantized(
        replace(song, notes=tuple(note for _, note in pairs)),
        sum(abs(old.onset - new.onset) > NOTABLE for old, new in pairs),
        sum(abs(old.end - new.end) > NOTABLE for old, new in pairs),
    )


def count_unwritten(song: Song) -> int:
    """Count the notes of beats in quintuplets, septuplets and the like, which are printed in the nearest division.

    In such a beat at least half of the equal parts of one of NO_DIVISIONS have onsets, and there are no others. The song has the
    times of its file, on a finer grid than that of scores.
    """
    beats, count = _beats(song), 0
    for track in sorted({note.track for note in song.notes}):
        for (start, length), inside in _by_beat([note for note in song.notes if note.track == track], beats):
            shares = {(note.onset - start) / length for note in inside}
            inner = sum(EXACT < share < 1 - EXACT for share in shares)
            odd = any(inner >= parts // 2 and _lie_on(shares, parts) for parts in NO_DIVISIONS)
            if odd and not any(_lie_on(shares, parts) for parts in DIVISIONS[length]):
                count += len(inside)
    return count


def _lie_on(shares: Set[Fraction], parts: int) -> bool:
    return all(abs(share - _nearest(share, parts)) <= EXACT for share in shares)


def _is_printable(time: Fraction) -> bool:
    return _is_straight(time) or (time / (TRIPLET / 2)).denominator == 1


def _is_64th(time: Fraction) -> bool:
    return (time / SIXTY_FOURTH).denominator == 1


def _is_straight(time: Fraction) -> bool:
    return (time / THIRTY_SECOND).denominator == 1


def _beats(song: Song) -> list[tuple[Fraction, Fraction]]:
    """Return onset and length of all beats."""
    return [
        (start + k * beat, beat)
        for start, length, meter in measures_of(song)
        for beat in [COMPOUND if meter.beat == COMPOUND else SIMPLE]
        for k in range(-(-length // beat))
    ]


def _on_divisions(
    notes: Sequence[PlayedNote], beats: Sequence[tuple[Fraction, Fraction]], strictness: tuple[float, int] = WRITTEN
) -> list[PlayedNote]:
    """Move the onsets in each beat to the division with the least error and cost; ``strictness`` is as for PERFORMED."""
    found: list[PlayedNote] = []
    for (start, length), inside in _by_beat(notes, beats):
        shares = [(note.onset - start) / length for note in inside]
        costs = {parts: strictness[0] * cost for parts, cost in DIVISIONS[length].items() if parts <= strictness[1]}

        def cost(parts: int, shares: Set[Fraction] = frozenset(shares), costs: dict[int, float] = costs) -> float:
            return costs[parts] + float(sum(abs(share - _nearest(share, parts)) for share in shares) / TICK)

        parts = min(costs, key=cost)
        for note, share in zip(inside, shares, strict=True):
            onset = start + _nearest(share, parts) * length
            found.append(replace(note, onset=onset, end=max(note.end, onset + TICK)))
    return found


def _by_beat(
    notes: Sequence[PlayedNote], beats: Sequence[tuple[Fraction, Fraction]]
) -> Iterator[tuple[tuple[Fraction, Fraction], list[PlayedNote]]]:
    """Yield onset and length of each beat in which notes begin, and these notes."""
    for index, group in groupby(notes, lambda note: bisect_right(beats, note.onset, key=lambda beat: beat[0]) - 1):
        yield beats[index], list(group)


def _nearest(share: Fraction, parts: int) -> Fraction:
    return Fraction(round(share * parts), parts)


def _is_detached(notes: Sequence[PlayedNote], onsets: Sequence[Fraction]) -> bool:
    """Return whether most notes of a track end well before the next onset; the last chord has none and does not count."""
    following = dict(pairwise(onsets))
    shares = [(note.end - note.onset) / (following[note.onset] - note.onset) for note in notes if note.onset in following]
    return bool(shares) and float(median(shares)) < DETACHED


def _end(note: PlayedNote, onsets: Sequence[Fraction], triplets: Set[int], *, detached: bool) -> Fraction:
    """Return the end of a note as it is printed.

    It depends on all onsets of its track, on the quarters that have triplets, and on whether the track is played detached.
    """
    index = bisect_left(onsets, note.end)
    later = onsets[index] if index < len(onsets) else None
    earlier = onsets[index - 1] if index and onsets[index - 1] > note.onset else None
    if earlier is not None and note.end - earlier <= min(MAX_OVERLAP, MAX_GAP * (note.end - note.onset)):
        return earlier
    if later is not None and later - note.end <= (MAX_DETACHED_GAP if detached else MAX_GAP) * (later - note.onset):
        return later
    in_triplets = note.end // 1 in triplets
    fine = any(onset // 1 == note.end // 1 and not _is_16th(onset) for onset in (earlier, later, note.onset) if onset is not None)
    if detached and not in_triplets:  # the longest simple value of which it sounds for more than half
        for unit in (4 * SIXTEENTH, 2 * SIXTEENTH, SIXTEENTH):
            end = -(-note.end // unit) * unit
            if note.end - note.onset > (end - note.onset) / 2 and (later is None or end <= later):
                return end
    if _is_16th(note.end) or (fine and _is_straight(note.end)) or (in_triplets and _is_printable(note.end)):
        return note.end
    unit = TRIPLET if in_triplets else SIXTEENTH
    return max((note.end / unit + Fraction(1, 2)) // 1 * unit, note.onset + unit)  # halves up, since players end early


def _is_16th(time: Fraction) -> bool:
    return (time / SIXTEENTH).denominator == 1

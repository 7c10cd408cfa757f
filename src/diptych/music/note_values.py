"""Write the notes of one staff and measure as voices of note values: chords, rests, dots, ties and triplets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise

from diptych.music.beams import COMPOUND, COMPOUND_SIXTEENTHS, SIMPLE
from diptych.music.notes import Note

WHOLE, HALF, QUARTER, EIGHTH = Fraction(4), Fraction(2), Fraction(1), Fraction(1, 2)
SIXTY_FOURTH, TWELFTH = Fraction(1, 16), Fraction(1, 12)
BASES = [Fraction(8) / 2**k for k in range(8)]  # breve to 64th, in quarters
VALUES = {base * (2 - Fraction(1, 2**dots)): (base, dots) for base in BASES for dots in (0, 1) if base > SIXTY_FOURTH or not dots}
"""Durations in quarters that one note can have: the value without dots, and the number of dots."""
THREEFOLD = COMPOUND, COMPOUND_SIXTEENTHS  # beats of three units; values of all other meters are split at quarters
MAX_VOICES = 4  # of a staff
TRIPLET = Fraction(3, 2)  # written length of a note in a triplet, relative to how long it lasts


@dataclass(frozen=True)
class Event:
    """A chord, or a rest without notes, in a measure; times are in quarters from its beginning.

    ``base`` is the note value without its dots. In a triplet of any size ``triplet`` is true, and ``begins`` and ``ends`` say
    whether the event is its first and its last. ``tied_in`` and ``tied_out`` say whether ties lead into and out of it.
    """

    onset: Fraction
    duration: Fraction
    base: Fraction
    dots: int = 0
    notes: tuple[Note, ...] = ()
    tied_in: bool = False
    tied_out: bool = False
    triplet: bool = False
    begins: bool = False
    ends: bool = False

    @property
    def offset(self) -> Fraction:
        """The end of the event."""
        return self.onset + self.duration


def write_measure(
    notes: Iterable[Note], start: Fraction, length: Fraction, beat: Fraction, missing: Fraction = Fraction(0)
) -> list[list[Event]]:
    """Return the voices of a measure, the highest first; each fills the measure. Without notes there is one voice of rests.

    ``notes`` are timed from the beginning of the piece; parts of them outside the measure are tied to. A pickup lacks the first
    ``missing`` quarters of a whole measure. No staff has more than MAX_VOICES: a note for which none is free shortens the one
    before it, or takes the length of the chord that begins with it.
    """
    beat = beat if beat in THREEFOLD else SIMPLE
    return [_written(voice, length, beat, missing)[1] for voice in _voices(_chords(notes, start, length)) or [[]]]


def _written(voice: Sequence[Event], length: Fraction, beat: Fraction, missing: Fraction) -> tuple[Sequence[Event], list[Event]]:
    """Return a voice and its events in printable values; where its times have no values, they are moved to some that do."""
    try:
        events = _valued(_filled(voice, length), length, beat, missing)
    except ValueError:  # of what is left over, no value is short enough
        events = []
    if events and all(event.base for event in events):
        return voice, events
    moved = _printable(voice, length)
    return moved, _valued(_filled(moved, length), length, beat, missing)


def limit_voices(notes: Sequence[Note]) -> list[Note]:
    """Shorten notes of one staff, as few as possible, so that they need no more than MAX_VOICES.

    Where a note begins and no voice is free, the one in the voice nearest in pitch ends.
    """
    end = max((note.offset for note in notes), default=Fraction(0))
    ends: dict[tuple[Fraction, int], Fraction] = {}
    for voice in _voices(_chords(notes, Fraction(0), end)):
        for event in voice:
            for note in event.notes:
                ends[event.onset, note.midi] = max(event.offset, ends.get((event.onset, note.midi), event.offset))
    return [replace(note, duration=ends[note.onset, note.midi] - note.onset) for note in notes]


def changed_notes(notes: Sequence[Note], start: Fraction, length: Fraction, beat: Fraction) -> list[Note]:
    """Return the notes of a measure that ``write_measure`` does not give their own length: no voice is free, or no value fits."""
    beat = beat if beat in THREEFOLD else SIMPLE
    voices = [_written(voice, length, beat, Fraction(0))[0] for voice in _voices(_chords(notes, start, length))]
    printed = {
        (event.onset + start, event.offset + start, note.midi) for voice in voices for event in voice for note in event.notes
    }
    return [note for note in notes if (max(note.onset, start), min(note.offset, start + length), note.midi) not in printed]


def _chords(notes: Iterable[Note], start: Fraction, length: Fraction) -> list[Event]:
    """Return the notes of a measure, those with one onset and one end as one event, each pitch once."""
    chords: dict[tuple[Fraction, Fraction, bool, bool], dict[int, Note]] = {}
    for note in notes:
        onset, offset = max(note.onset, start), min(note.offset, start + length)
        if onset < offset:
            chord = onset - start, offset - start, note.onset < start, note.offset > start + length
            chords.setdefault(chord, {})[note.midi] = note
    return [
        Event(onset, offset - onset, Fraction(0), notes=tuple(found[midi] for midi in sorted(found)), tied_in=into, tied_out=out)
        for (onset, offset, into, out), found in chords.items()
    ]


def _voices(events: Iterable[Event]) -> list[list[Event]]:
    """Share out chords on voices that don't overlap, each to the free voice that rests least before it, the upper one of several.

    Where no voice is free and none may be added, a chord cuts the one that is nearest in pitch short.
    """
    voices: list[list[Event]] = []
    for event in sorted(events, key=lambda event: (event.onset, -_height(event))):
        free = [voice for voice in voices if voice[-1].offset <= event.onset]
        if not free and len(voices) < MAX_VOICES:
            voices.append([event])
            continue
        if free:
            max(free, key=lambda voice: voice[-1].offset).append(event)
            continue
        voice = min(voices, key=lambda voice: abs(_height(voice[-1]) - _height(event)))
        last = voice[-1]
        if last.onset == event.onset:
            pitches = {note.midi for note in last.notes}
            together = [*last.notes, *(note for note in event.notes if note.midi not in pitches)]
            voice[-1] = replace(last, notes=tuple(sorted(together, key=lambda note: note.midi)))
            continue
        voice[-1] = replace(last, duration=event.onset - last.onset, tied_out=False)
        voice.append(event)
    return sorted(voices, key=lambda voice: -sum(map(_height, voice)) / len(voice))


def _height(event: Event) -> float:
    return sum(note.midi for note in event.notes) / len(event.notes)


def _printable(voice: Sequence[Event], length: Fraction) -> list[Event]:
    """Move the times of a voice to twelfths in quarters where an onset needs triplets, else to 64ths.

    A chord that would have no time left joins the next one.
    """
    odd = {event.onset // 1 for event in voice if (event.onset / SIXTY_FOURTH).denominator != 1}

    def near(time: Fraction, quarter: int) -> Fraction:
        unit = TWELFTH if quarter in odd else SIXTY_FOURTH
        return min(round(time / unit) * unit, length)

    found: list[Event] = []
    times = [(near(event.onset, event.onset // 1), near(event.offset, -(-event.offset // 1) - 1)) for event in voice]
    waiting: tuple[Note, ...] = ()
    for index, (event, (onset, offset)) in enumerate(zip(voice, times, strict=True)):
        offset = min(offset, times[index + 1][0]) if index + 1 < len(times) else offset
        notes = (*waiting, *(note for note in event.notes if note.midi not in {other.midi for other in waiting}))
        waiting = notes if offset <= onset else ()
        if offset > onset:
            found.append(replace(event, onset=onset, duration=offset - onset, notes=notes))
    if waiting and found:
        found[-1] = replace(found[-1], notes=(*found[-1].notes, *waiting))
    return found


def _filled(voice: Sequence[Event], length: Fraction) -> list[Event]:
    """Put rests in the gaps of a voice."""
    found: list[Event] = []
    time = Fraction(0)
    for event in voice:
        if event.onset > time:
            found.append(Event(time, event.onset - time, Fraction(0)))
        found.append(event)
        time = event.offset
    if time < length:
        found.append(Event(time, length - time, Fraction(0)))
    return found


def _valued(events: Sequence[Event], length: Fraction, beat: Fraction, missing: Fraction) -> list[Event]:
    """Split events into printable values, with triplets where their onsets and ends need these."""
    if len(events) == 1 and not events[0].notes:
        return [replace(events[0], base=WHOLE)]  # a rest for the whole measure, however long that is
    triplets = list(_triplets({time for event in events for time in (event.onset, event.offset)}, length, beat, missing))
    borders = sorted({border for triplet in triplets for border in triplet})
    pieces = [piece for event in events for piece in _split(event, borders)]
    found: list[Event] = []
    for triplet, group in groupby(pieces, lambda piece: next((t for t in triplets if t[0] <= piece.onset < t[1]), None)):
        if triplet is None:
            found += [each for piece in group for each in _pieces(piece, list(_plain_values(piece, beat, missing)))]
        else:
            inside = [each for piece in group for each in _pieces(piece, list(_values(piece.duration * TRIPLET)), TRIPLET)]
            inside = [replace(each, triplet=True) for each in inside]
            inside[0] = replace(inside[0], begins=True)
            inside[-1] = replace(inside[-1], ends=True)
            found += inside
    return found


def _triplets(times: set[Fraction], length: Fraction, beat: Fraction, missing: Fraction) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield beginning and end of the triplets that the times of a voice need, each as long as its notes allow."""

    def search(start: Fraction, size: Fraction) -> Iterator[tuple[Fraction, Fraction]]:  # within a block of time
        inner = [time - start for time in times if start < time < start + size]
        odd = [time for time in inner if (time / SIXTY_FOURTH).denominator != 1]
        if not odd:
            return
        half = size / 2
        parted = half in inner and (all(time > half for time in odd) or all(time < half for time in odd))
        fine = size / 3 if size > QUARTER else size / 6
        whole = start + size <= length and all((time / fine).denominator == 1 for time in inner)
        if size > EIGHTH and (parted or not whole) and (size > QUARTER or parted):
            yield from search(start, half)
            yield from search(start + half, half)
        else:
            yield start, start + size

    size = WHOLE if beat == SIMPLE else EIGHTH
    start = -(missing % size)
    while start < length:
        yield from search(start, size)
        start += size


def _split(event: Event, borders: Iterable[Fraction]) -> list[Event]:
    """Split an event at these times."""
    inside = [border for border in borders if event.onset < border < event.offset]
    times = [event.onset, *inside, event.offset]
    return _pieces(event, [b - a for a, b in pairwise(times)])


def _pieces(event: Event, written: Sequence[Fraction], scale: Fraction = QUARTER) -> list[Event]:
    """Split an event into pieces of these written lengths, tied where it has notes; pieces that are no value have base 0."""
    found: list[Event] = []
    time = event.onset
    for index, length in enumerate(written):
        base, dots = VALUES.get(length, (Fraction(0), 0))
        first, last = index == 0, index == len(written) - 1
        sounds = bool(event.notes)
        found.append(
            replace(
                event,
                onset=time,
                duration=length / scale,
                base=base,
                dots=dots,
                tied_in=sounds and (event.tied_in or not first),
                tied_out=sounds and (event.tied_out or not last),
            )
        )
        time += length / scale
    return found


def _plain_values(event: Event, beat: Fraction, missing: Fraction) -> Iterator[Fraction]:
    """Yield the values of an event outside triplets, so that beats are easy to see."""
    position, left = event.onset + missing, event.duration
    while left:
        value = _first_value(position, left, beat, rest=not event.notes)
        yield value
        position += value
        left -= value


def _first_value(position: Fraction, left: Fraction, beat: Fraction, *, rest: bool) -> Fraction:
    into = position % beat
    to_beat = beat - into
    if rest:  # each rest begins at a multiple of its length, or is a beat of three
        fitting = [
            base
            for base in BASES
            if base <= left and (position / base).denominator == 1 and (into or base <= beat or beat == SIMPLE)
        ]
        return beat if beat != SIMPLE and not into and left >= beat else max(fitting, default=min(left, to_beat))
    crosses = left > to_beat
    if left in VALUES:
        if not crosses or (not into and (beat == SIMPLE or (left / beat).denominator == 1)):
            return left
        if beat == SIMPLE and left == QUARTER and into == EIGHTH and (position + EIGHTH) % HALF != 0:
            return left  # a quarter off the beat, but not over the middle of a measure
    return next(_values(to_beat if crosses and into else left))


def _values(length: Fraction) -> Iterator[Fraction]:
    """Yield values that add up to a length: itself, or the longest that fits, again and again."""
    while length:
        value = length if length in VALUES else max(value for value in VALUES if value <= length)
        yield value
        length -= value

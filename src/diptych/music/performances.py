"""Tell performances, which follow no beat of their file, from scores, and set them on the beats and bars that are found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import median

import numpy as np

from diptych.music.beams import COMPOUND, SIMPLE
from diptych.music.beat_tracking import Beats, find_beats
from diptych.music.midi import SCORE_GRID, Meter, PlayedNote, Song

MIN_ONSETS = 24  # fewer onsets show no beat, and are taken to follow the file's
MIN_AGREEMENT = 0.3  # with a division of the file's beat; chance gives about 0.2 for 24 onsets, and less for more
DIVISIONS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)  # equal parts of a quarter
MIN_EVIDENCE = 1.4  # nats per second; onsets at random times give 0.6 to 0.9, whether they are one or six a second
MAX_SECONDS = 3600  # of music that beats are found in
USUAL_BPM = 120.0  # of a MIDI file that states no tempo


@dataclass(frozen=True)
class Barred:
    """A performance on beats that were found: its meter, the median tempo in quarters per minute, and the beats in seconds.

    The time of a beat is one quarter, or a dotted one in a compound meter. ``song`` begins with the first bar, or with a pickup.
    """

    song: Song
    meter: Meter
    bpm: float
    beats: Beats


def is_performance(song: Song) -> bool:
    """Return whether onsets lie anywhere in the quarters of the file, instead of on or near some division of them.

    Agreement with a division is the mean of the cosine of the onsets' phase in it: 1 where all onsets are on it, about 0 where
    they lie anywhere, and 0.6 for onsets within 20 ms (standard deviation) of sixteenths at 120 quarters per minute.
    """
    onsets = np.array(sorted({float(note.onset) for note in song.notes}))
    return len(onsets) >= MIN_ONSETS and agreement(onsets) < MIN_AGREEMENT


def agreement(onsets: Sequence[float] | np.ndarray) -> float:
    """Return the best mean cosine of the phase of onsets (in quarters) over DIVISIONS."""
    return max(float(np.mean(np.cos(2 * np.pi * parts * np.asarray(onsets)))) for parts in DIVISIONS)


def bar_performance(song: Song) -> Barred | None:
    """Find beats and bars, and move all notes with them, so that a beat of the result is as long as every other.

    Returns None where no steady beat is found: onsets are hardly more probable on the best beats than anywhere. Time is that of
    the file's first tempo, or of 120 quarters per minute. Keys of the file keep their place in the music.
    """
    seconds = 60 / (song.bpm or USUAL_BPM)
    if float(song.notes[-1].onset) * seconds > MAX_SECONDS:
        return None
    beats = find_beats(song.notes, seconds)
    if beats.evidence < MIN_EVIDENCE:
        return None
    length = COMPOUND if beats.compound else SIMPLE
    meter = Meter(Fraction(0), beats.per_bar * length, length, 8 if beats.compound else 4)
    times, place = _from_first_note(beats, float(song.notes[0].onset) * seconds)
    pickup = -place % beats.per_bar * length
    meters = (Meter(Fraction(0), pickup, length, meter.unit), replace(meter, onset=pickup)) if pickup else (meter,)
    intervals = [after - before for before, after in pairwise(times)]

    def on_beats(quarters: Fraction) -> Fraction:
        time = float(quarters) * seconds
        k = min(max(bisect_right(times, time) - 1, 0), len(intervals) - 1)
        beat = k + (time - times[k]) / intervals[k]
        return max(Fraction(round(beat * float(length) * SCORE_GRID), SCORE_GRID), Fraction(0))

    notes = [_moved(note, on_beats(note.onset), on_beats(note.end)) for note in song.notes]
    bpm = 60 * float(length) / median(intervals)
    keys = tuple(replace(key, onset=on_beats(key.onset)) for key in song.keys)
    ordered = tuple(sorted(notes, key=lambda note: (note.onset, note.pitch, note.track)))
    barred = replace(song, notes=ordered, meters=meters, keys=keys, bpm=bpm, tempo_changes=())  # its beats follow the notes
    return Barred(barred, meter, bpm, beats)


def _moved(note: PlayedNote, onset: Fraction, end: Fraction) -> PlayedNote:
    return replace(note, onset=onset, end=max(end, onset + Fraction(1, SCORE_GRID)))


def _from_first_note(beats: Beats, onset: float) -> tuple[list[float], int]:
    """Return the beats from the last one that is no later than the first note, and the place in the bar of the first of them."""
    margin = 0.25 * (beats.times[1] - beats.times[0])  # a note a little before its beat belongs to it
    first = max(bisect_right(beats.times, onset + margin) - 1, 0)
    return list(beats.times[first:]), (beats.first + first) % beats.per_bar

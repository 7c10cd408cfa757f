"""Find the beats and bars of a performance from its onsets alone.

The model is a bar pointer (Krebs, Böck and Widmer, "An efficient state-space model for joint tempo and meter tracking", ISMIR
2015), written as a semi-Markov chain of whole beats. A beat has a place in its bar and a length, which changes little from one
beat to the next, and onsets prefer the beat and its simple divisions. Dynamic programming finds the most probable beats for each
meter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.music.midi import PlayedNote

Floats = NDArray[np.float64]

FRAME = 0.02  # seconds
SHORTEST, LONGEST = 15, 75  # frames of a beat: 200 and 40 beats per minute
TYPICAL, TEMPO_SPREAD, TEMPO_WEIGHT = 0.6, 0.45, 0.6
"""Beats are around 0.6 s long, within a factor of about exp(0.45); the weight of that is in nats per second."""
LENGTHS = np.unique(np.rint(np.geomspace(SHORTEST, LONGEST, 36)).astype(int))  # those that are tried, about 5 % apart
RUBATO = 0.08  # standard deviation of the logarithm of the ratio of two neighbouring beats
JITTER = 0.025  # seconds, standard deviation of onsets around their place in the beat
CHORD = 0.05  # seconds: onsets closer than this are one
FLOOR = 0.06  # share of onsets that lie anywhere in the beat
SIMPLE_PLACES = {1 / 2: 0.62, 1 / 4: 0.11, 3 / 4: 0.15, 1 / 3: 0.06, 2 / 3: 0.06}
COMPOUND_PLACES = {1 / 3: 0.32, 2 / 3: 0.34, 1 / 6: 0.11, 1 / 2: 0.12, 5 / 6: 0.11}
"""The share of the onsets off the beat at each place in it."""
LEVELS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.9)
"""Onsets are sorted by these probabilities that they are on a beat."""
ON_BEAT = np.array([1.2, 2.3, 0.0])
SIMPLE_ODDS, COMPOUND_ODDS = -0.16, -1.2
DOWNBEAT = np.array([1.3, 1.0, -0.4])
DOWNBEAT_ODDS, DOWNBEAT_SHARE = -1.05, 0.39
"""Logistic regressions of being on a beat, and of being a downbeat for what is on a beat, on bass, length and number of notes.

They were fitted to the pianos of 35 songs of OpenScore Lieder (CC0), as were the shares of places."""
SILENT = (-0.5, 0.2)  # log odds of a downbeat and of another beat without an onset
METERS = ((2, False), (3, False), (4, False), (2, True))
"""The meters that are tried: beats in a bar, and whether a beat has three parts, as in 6/8."""


@dataclass(frozen=True)
class Beats:
    """Beats in seconds from before the first onset to after the last one.

    ``first`` is the place of the first of them in its bar, ``per_bar`` the number of beats in a bar, and ``compound`` says that a
    beat has three parts. ``evidence`` is how much more probable the onsets are than without beats, in nats per second.
    """

    times: tuple[float, ...]
    first: int
    per_bar: int
    compound: bool
    evidence: float


def find_beats(notes: Sequence[PlayedNote], seconds_per_quarter: float) -> Beats:
    """Return the most probable beats, in the most probable of METERS; ``seconds_per_quarter`` is the file's clock."""
    onsets, short, long = _clusters(notes, seconds_per_quarter)
    start = onsets[0] - LONGEST * FRAME
    size = int((onsets[-1] - start) / FRAME) + 2 * LONGEST
    frames = np.rint((onsets - start) / FRAME).astype(int)
    downbeat = _sigmoid(long @ DOWNBEAT + DOWNBEAT_ODDS)
    down, other = np.full(size, SILENT[0]), np.full(size, SILENT[1])
    for shift in (-2, 2, -1, 1, 0):  # a beat is at the nearest onset within two frames
        down[frames + shift] = np.log(downbeat / DOWNBEAT_SHARE)
        other[frames + shift] = np.log((1 - downbeat) / (1 - DOWNBEAT_SHARE))
    best: tuple[float, Beats] | None = None
    fits = {}
    for compound, places, odds in ((False, SIMPLE_PLACES, SIMPLE_ODDS), (True, COMPOUND_PLACES, COMPOUND_ODDS)):
        level = np.abs(_sigmoid(short @ ON_BEAT + odds)[:, None] - LEVELS).argmin(1)
        series = np.zeros((len(LEVELS), size))
        np.add.at(series, (level, frames), 1.0)
        fits[compound] = _fit(series, places)
    for per_bar, compound in METERS:
        score, ends, first = _decode(fits[compound], down, other, per_bar)
        if best is None or score > best[0]:
            times = start + FRAME * ends
            best = score, Beats(tuple(_snapped(times, onsets)), first, per_bar, compound, score / (FRAME * size))
    assert best is not None
    return best[1]


def downbeat_odds(notes: Sequence[PlayedNote], seconds_per_quarter: float) -> tuple[Floats, Floats]:
    """Return the onsets of a song in quarters and the log odds that each is a downbeat, if it is on a beat."""
    onsets, _, long = _clusters(notes, seconds_per_quarter)
    return onsets / seconds_per_quarter, long @ DOWNBEAT + DOWNBEAT_ODDS


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def _clusters(notes: Sequence[PlayedNote], seconds_per_quarter: float) -> tuple[Floats, Floats, Floats]:
    """Return the times of chords and single notes, and what tells beats and downbeats: bass, length and number of notes.

    The lowest note in 0.6 s around is a bass for beats, and in 1.5 s for downbeats. Lengths and numbers are logarithms, less
    their means in 2 s around.
    """
    found: list[list[PlayedNote]] = []
    for note in notes:  # by onset
        if found and float(note.onset - found[-1][0].onset) * seconds_per_quarter < CHORD:
            found[-1].append(note)
        else:
            found.append([note])
    onsets = np.array([np.mean([float(note.onset) for note in group]) for group in found]) * seconds_per_quarter
    lowest = np.array([min(note.pitch for note in group) for group in found])
    lengths = np.log([max(float(note.end - note.onset) for note in group) for group in found])
    counts = np.log([len(group) for group in found])
    short, long = [], []
    for k, time in enumerate(onsets):
        near, far, around = (slice(*np.searchsorted(onsets, (time - reach, time + reach), "right")) for reach in (0.6, 1.5, 2.0))
        stands_out = lengths[k] - lengths[around].mean(), counts[k] - counts[around].mean()
        short.append((lowest[k] <= lowest[near].min(), *stands_out))
        long.append((lowest[k] <= lowest[far].min(), *stands_out))
    return onsets, np.array(short, float), np.array(long, float)


def _fit(series: Floats, places: dict[float, float]) -> Floats:
    """Return how well a beat of each length that ends at each frame agrees with the onsets of each level in it, as log odds.

    ``series`` has the shape (levels, frames), the result (lengths, frames).
    """
    size = series.shape[1]
    found = np.full((len(LENGTHS), size), -np.inf)
    width = JITTER / FRAME
    for row, length in enumerate(LENGTHS.tolist()):
        at = np.arange(length, dtype=float)

        def bells(place: float, at: Floats = at, length: int = length) -> Floats:
            return length * np.exp(-0.5 * ((at - place * length) / width) ** 2) / (width * np.sqrt(2 * np.pi))

        on = bells(0) + bells(1)
        off = np.sum([share * bells(place) for place, share in places.items()], axis=0)
        prior = TEMPO_WEIGHT * length * FRAME * -0.5 * (np.log(length * FRAME / TYPICAL) / TEMPO_SPREAD) ** 2
        found[row, length:] = prior
        for share, onsets in zip(LEVELS, series, strict=True):
            density = FLOOR + (1 - FLOOR) * (share * on + (1 - share) * off)
            found[row, length:] += np.correlate(onsets, np.log(density), "valid")[: size - length]
    return found


def _decode(fit: Floats, down: Floats, other: Floats, per_bar: int) -> tuple[float, NDArray[np.int64], int]:
    """Return the best score, the frames of its beats, and the place in the bar of the first of them."""
    lengths = LENGTHS
    change = -0.5 * (np.log(lengths[:, None] / lengths) / RUBATO) ** 2  # from, to
    bonus = np.array([down] + [other] * (per_bar - 1))
    if per_bar == 4:  # the third beat is between the two
        bonus[2] = np.logaddexp(down, other) - np.log(2)
    size = fit.shape[1]
    # ready[t, b, n]: the best score of all beats up to t, where beat b begins, and the beat before t is in the n-th length
    ready = np.zeros((size, per_bar, len(lengths)))
    came = np.full((size, per_bar, len(lengths)), -1, np.int16)  # the length of the beat before, or -1 at the beginning
    rows = np.arange(len(lengths))
    for t in range(LONGEST, size):
        scores = ready[t - lengths, :, rows] + fit[:, t, None]  # lengths, beat that ends here
        scores = np.roll(scores, 1, axis=1).T + bonus[:, t, None]  # beat that begins here, lengths of the one before
        options = scores[:, :, None] + change
        from_ = options.argmax(1)
        came[t] = from_
        ready[t] = np.take_along_axis(options, from_[:, None], 1)[:, 0]
    tail = ready[size - LONGEST :].max(2)
    t, beat = (int(k) for k in np.unravel_index(tail.argmax(), tail.shape))
    score = float(tail[t, beat])
    t += size - LONGEST
    following = int(ready[t, beat].argmax())
    ends = [t]
    while (before := int(came[t, beat, following])) >= 0:
        t -= int(lengths[before])
        beat = (beat - 1) % per_bar
        following = before
        ends.append(t)
    return score, np.array(ends[::-1]), beat


def _snapped(times: Floats, onsets: Floats) -> list[float]:
    """Move each beat to the nearest onset within twice the jitter, and keep it where there is none."""
    found = []
    for time in times:
        nearest = float(onsets[np.abs(onsets - time).argmin()])
        found.append(nearest if abs(nearest - time) <= 2 * JITTER else float(time))
    return found

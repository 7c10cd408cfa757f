"""Split the notes of a keyboard into two hands, by a split point that follows the music (dynamic programming)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Float, Int

from diptych.music.midi import PlayedNote

LOWEST, HIGHEST = 36, 84  # MIDI pitches that the split point can have; notes below it are the left hand's
HOME = 60  # middle C, where the split point rests
OCTAVE_SPAN = 12  # semitones that one hand reaches with ease
SPAN, FAR, MOVE = 4.0, 0.01, 1.0
"""Costs per onset of a semitone: of a hand's span beyond an octave, of the split point's distance from HOME, of its movement."""


def split_hands(notes: Sequence[PlayedNote]) -> list[bool]:
    """Return for each note, in the order of onsets, whether the left hand plays it.

    The split point minimises a sum over onsets: how far the notes that sound exceed an octave in either hand, its distance from
    middle C, and its movement (Viterbi).
    """
    points = np.arange(LOWEST, HIGHEST + 1)
    moves = MOVE * np.abs(points[:, None] - points[None, :])
    chords = [list(group) for _, group in groupby(notes, lambda note: note.onset)]
    total = FAR * np.abs(points - HOME)
    choices: list[Int[np.ndarray, " p"]] = []
    sounding: list[PlayedNote] = []
    for chord in chords:
        sounding = [note for note in sounding if note.end > chord[0].onset] + chord
        ways = total[:, None] + moves
        choices.append(ways.argmin(0))
        total = ways.min(0) + _cost(np.array([note.pitch for note in sounding]), points)
    point = int(total.argmin())
    found: list[bool] = []
    for chord, choice in zip(reversed(chords), reversed(choices), strict=True):
        found += [note.pitch < points[point] for note in reversed(chord)]
        point = int(choice[point])
    return found[::-1]


def _cost(pitches: Int[np.ndarray, " n"], points: Int[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    """Return the cost of each split point for the pitches that sound."""
    left = pitches[None, :] < points[:, None]
    lowest, highest = pitches.min(), pitches.max()
    top = np.where(left, pitches[None, :], lowest).max(1)  # of the left hand
    bottom = np.where(left, highest, pitches[None, :]).min(1)  # of the right hand
    spans = np.where(left.any(1), top - lowest, 0), np.where(left.all(1), 0, highest - bottom)
    return SPAN * sum(np.maximum(span - OCTAVE_SPAN, 0) for span in spans) + FAR * np.abs(points - HOME)

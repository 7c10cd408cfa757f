"""Begin a song with a pickup, and see from its notes whether its bars begin where its file has them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from diptych.errors import ConfigError
from diptych.music.beat_tracking import downbeat_odds
from diptych.music.midi import Meter, Song, signature_of

MIN_BARS = 12  # fewer bars show no accents
NO_ONSET = -0.5  # log odds of a downbeat without an onset
MIN_ADVANTAGE = 0.5  # of the log odds of a downbeat, of the bars' best beginning over the file's, on average


def with_pickup(song: Song, units: Fraction) -> Song:
    """Return a song whose first measure is a pickup of so many units of its meter: quarters in 4/4, eighths in 6/8.

    Raises ConfigError for a pickup that is not shorter than a measure, or that is over when the next meter begins.
    """
    meter, *later = song.meters
    count, unit = signature_of(meter) or (0, 4)
    length = units * 4 / unit
    if not 0 < length < meter.length:
        raise ConfigError(
            f"--pickup must be more than 0 and less than {count}, the units of a measure of {count}/{unit}, found {units}"
        )
    if later and later[0].onset <= length:
        raise ConfigError(f"--pickup {units}: the meter changes at quarter {later[0].onset}, within the pickup; leave it out")
    first = Meter(Fraction(0), length, meter.beat, unit)
    return replace(song, meters=(first, replace(meter, onset=length, unit=unit), *later))


def likely_pickup(song: Song) -> Fraction | None:
    """Return the pickup, in units of the meter, after which the bars of a song begin where its accents are.

    Accents are low, long and full chords, as for downbeats of performances. Returns None where they agree with the file's bars or
    say little, and where the meter changes.
    """
    meter, *later = song.meters
    signature = signature_of(meter)
    if later or signature is None or float(song.notes[-1].onset / meter.length) < MIN_BARS:
        return None
    onsets, odds = downbeat_odds(song.notes, 60 / (song.bpm or 120))
    beats = int(meter.length / meter.beat)
    means = []
    for beat in range(beats):
        at = np.abs((onsets / float(meter.length) - beat / beats + 0.5) % 1 - 0.5) * float(meter.length) < 1 / 24
        bars = float(song.notes[-1].onset / meter.length)
        means.append(float(odds[at].sum()) / bars + NO_ONSET * max(0.0, 1 - at.sum() / bars))
    best = int(np.argmax(means))
    return best * meter.beat * signature[1] / 4 if means[best] - means[0] >= MIN_ADVANTAGE else None

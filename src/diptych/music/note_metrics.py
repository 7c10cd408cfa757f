"""Note-level metrics of read music against the reference: precision, recall and F1 of pitch and onset (mir_eval).

A note matches when its pitch is exact and its onset within 50 ms at 120 quarters per minute; each note matches once (MIREX).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from diptych.extras import extra
from diptych.metrics.estimate import Estimate, jackknife_estimate
from diptych.music.notes import Note, System

SECONDS_PER_QUARTER = 0.5  # at 120 quarters per minute
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class NoteCounts:
    """Counts of notes, summed over systems.

    ``reference`` and ``estimated`` are true and read notes, ``matched`` those with pitch and onset right, and
    ``matched_with_offset`` those whose end is right too. ``out_of_key`` are reference notes that the key signature does not
    give. ``perfect`` of ``systems`` have every note matched and none too many.
    """

    reference: int = 0
    estimated: int = 0
    matched: int = 0
    matched_with_offset: int = 0
    out_of_key: int = 0
    out_of_key_matched: int = 0
    perfect: int = 0
    systems: int = 0

    def __add__(self, other: NoteCounts) -> NoteCounts:
        return NoteCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_matches(reference: System, estimated: System) -> NoteCounts:
    """Match the notes of one system, staff by staff, and count them."""
    total = sum((count_staff(reference, estimated, staff) for staff in range(len(reference.clefs))), NoteCounts(systems=1))
    return total + NoteCounts(perfect=int(total.reference == total.estimated == total.matched))


def count_staff(reference: System, estimated: System, staff: int) -> NoteCounts:
    """Match the notes of one staff and count them."""
    true = [note for note in reference.notes if note.staff == staff]
    read = [note for note in estimated.notes if note.staff == staff]
    matched = {index for index, _ in _matches(true, read, offsets=False)}
    with_offset = _matches(true, read, offsets=True)
    out_of_key = [k for k, note in enumerate(true) if note.alter != reference.key_alter_of(note)]
    return NoteCounts(
        len(true), len(read), len(matched), len(with_offset), len(out_of_key), len(matched.intersection(out_of_key))
    )


def _matches(true: list[Note], read: list[Note], *, offsets: bool) -> list[tuple[int, int]]:
    if not true or not read:
        return []
    transcription = extra("mir_eval", "music", "scores of notes").transcription
    options: dict[str, Any] = {} if offsets else {"offset_ratio": None}
    return transcription.match_notes(*_intervals(true), *_intervals(read), **options)


def _intervals(notes: Iterable[Note]) -> tuple[np.ndarray, np.ndarray]:
    """Return onsets and offsets in seconds, and frequencies in Hz, as mir_eval takes them."""
    notes = list(notes)
    times = np.array([(float(n.onset) * SECONDS_PER_QUARTER, float(n.offset) * SECONDS_PER_QUARTER) for n in notes])
    return times, 440.0 * 2.0 ** ((np.array([n.midi for n in notes]) - 69) / 12)


def f1(matched: float, estimated: float, reference: float) -> float:
    """Return the harmonic mean of precision and recall, 0 where there are no notes at all."""
    return 2 * matched / (estimated + reference) if estimated + reference else 0.0


METRICS: dict[str, Callable[[NoteCounts], float]] = {
    "precision": lambda c: c.matched / c.estimated if c.estimated else 0.0,
    "recall": lambda c: c.matched / c.reference if c.reference else 0.0,
    "f1": lambda c: f1(c.matched, c.estimated, c.reference),
    "f1_offsets": lambda c: f1(c.matched_with_offset, c.estimated, c.reference),
    "recall_out_of_key": lambda c: c.out_of_key_matched / c.out_of_key if c.out_of_key else 0.0,
    "recall_in_key": lambda c: (
        (c.matched - c.out_of_key_matched) / (c.reference - c.out_of_key) if c.reference > c.out_of_key else 0.0
    ),
    "perfect": lambda c: c.perfect / c.systems if c.systems else 0.0,
}


def share_estimate(statistic: Statistic, n: int) -> Estimate:
    """Return jackknife_estimate of a statistic from 0 to 1, with Student's interval, which is symmetric, cut at 0 and 1."""
    found = jackknife_estimate(statistic, n)
    low, high = (each if math.isnan(each) else min(1.0, max(0.0, each)) for each in (found.low, found.high))
    return replace(found, low=low, high=high)


def summarise(by_composer: Mapping[str, NoteCounts]) -> dict[str, Estimate]:
    """Return every metric over all systems, with a 95 % interval by leaving out each composer, or each work, in turn.

    Intervals are cut at 0 and 1, beyond which no metric goes (see share_estimate).
    """
    rows = np.array([astuple(counts) for counts in by_composer.values()], np.float64)

    def resampled(metric: Callable[[NoteCounts], float]) -> Statistic:
        return lambda drawn: metric(NoteCounts(*rows[drawn].sum(0)))

    return {name: share_estimate(resampled(metric), len(rows)) for name, metric in METRICS.items()}

"""Note-level scores of read music against the truth: precision, recall and F1 of pitch and onset (mir_eval), by work.

A note is found when its pitch is exact and its onset within 50 ms at 120 quarters a minute; each counts once (MIREX).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from diptych.extras import extra
from diptych.metrics.estimate import Estimate, bootstrap
from diptych.music.notes import Note, System

SECONDS_PER_QUARTER = 0.5  # a quarter at 120 a minute
Counting = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class NoteCounts:
    """Notes of some systems: true ones, read ones, found ones, those found with their ends; and of the true ones, out of key.

    ``perfect`` of ``systems`` have every note found and none too many.
    """

    truth: int = 0
    read: int = 0
    found: int = 0
    held: int = 0
    outside: int = 0
    outside_found: int = 0
    perfect: int = 0
    systems: int = 0

    def __add__(self, other: NoteCounts) -> NoteCounts:
        return NoteCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def count_matches(truth: System, read: System) -> NoteCounts:
    """What was found of one system, staff by staff."""
    total = NoteCounts(systems=1)
    for staff in range(len(truth.clefs)):
        true = [note for note in truth.notes if note.staff == staff]
        seen = [note for note in read.notes if note.staff == staff]
        pairs, held = _matches(true, seen, offsets=False), _matches(true, seen, offsets=True)
        found = {index for index, _ in pairs}
        outside = [k for k, note in enumerate(true) if note.alter != truth.key_alter_of(note)]
        total += NoteCounts(len(true), len(seen), len(pairs), len(held), len(outside), len(found.intersection(outside)))
    return total + NoteCounts(perfect=int(total.truth == total.read == total.found))


def _matches(true: list[Note], seen: list[Note], *, offsets: bool) -> list[tuple[int, int]]:
    if not true or not seen:
        return []
    transcription = extra("mir_eval", "music", "scores of notes").transcription
    options: dict[str, Any] = {} if offsets else {"offset_ratio": None}
    return transcription.match_notes(*_intervals(true), *_intervals(seen), **options)


def _intervals(notes: Iterable[Note]) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and offsets in seconds, and frequencies, as mir_eval takes them."""
    notes = list(notes)
    times = np.array([(float(n.onset) * SECONDS_PER_QUARTER, float(n.offset) * SECONDS_PER_QUARTER) for n in notes])
    return times, 440.0 * 2.0 ** ((np.array([n.midi for n in notes]) - 69) / 12)


def f1(found: float, read: float, truth: float) -> float:
    """The harmonic mean of precision and recall; 0 where there is nothing."""
    return 2 * found / (read + truth) if read + truth else 0.0


METRICS: dict[str, Callable[[NoteCounts], float]] = {
    "precision": lambda c: c.found / c.read if c.read else 0.0,
    "recall": lambda c: c.found / c.truth if c.truth else 0.0,
    "f1": lambda c: f1(c.found, c.read, c.truth),
    "f1_offsets": lambda c: f1(c.held, c.read, c.truth),
    "recall_out_of_key": lambda c: c.outside_found / c.outside if c.outside else 0.0,
    "recall_in_key": lambda c: (c.found - c.outside_found) / (c.truth - c.outside) if c.truth > c.outside else 0.0,
    "perfect": lambda c: c.perfect / c.systems if c.systems else 0.0,
}


def summarise(by_work: Mapping[str, NoteCounts]) -> dict[str, Estimate]:
    """Every score over all systems, with a 95 % interval from the works, drawn again with replacement."""
    rows = np.array([astuple(counts) for counts in by_work.values()], np.float64)

    def of(score: Callable[[NoteCounts], float]) -> Counting:
        return lambda drawn: score(NoteCounts(*rows[drawn].sum(0)))

    return {name: bootstrap(of(score), len(rows)) for name, score in METRICS.items()}

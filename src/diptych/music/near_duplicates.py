"""Find works of different splits that share most of their melody, such as arrangements and transpositions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from diptych.music.dataset import from_json

LENGTH = 8  # of the runs of intervals that are compared
MIN_DISTINCT = 4  # different intervals in a run that says something; scales and repeated notes are everywhere
MIN_RUNS = 12  # of a work; fewer show no melody
SHARED = 0.5  # of the runs of the shorter work, from which two works are near-duplicates
COMMON = 20  # works; a run that more of them have is a formula


@dataclass(frozen=True)
class NearDuplicate:
    """Two works of different splits, and the share of the shorter one's runs of intervals that the other has too."""

    first: str
    first_split: str
    second: str
    second_split: str
    shared: float


def near_duplicates(records: Iterable[Mapping[str, Any]]) -> list[NearDuplicate]:
    """Compare works of different splits by the records of their systems (notes.jsonl); return the pairs, the most alike first.

    A melody is the highest note at each onset of a part's upper staff. Runs of 8 intervals in semitones are compared, so that
    transpositions are found, whatever the rhythm.
    """
    melodies: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    split_of: dict[str, str] = {}
    for record in records:  # in the order of the music
        split_of[record["work"]] = record["split"]
        melodies[record["work"], record["part"]] += _melody(record)
    runs: defaultdict[str, set[tuple[int, ...]]] = defaultdict(set)
    for (work, _), melody in melodies.items():
        runs[work] |= _runs(melody)
    works_of: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for work, found in runs.items():
        for run in found:
            works_of[run].append(work)
    shared: Counter[tuple[str, str]] = Counter()
    for works in works_of.values():
        if len(works) <= COMMON:
            ordered = sorted(works)
            shared.update((a, b) for k, a in enumerate(ordered) for b in ordered[k + 1 :] if split_of[a] != split_of[b])
    pairs = []
    for (a, b), count in shared.items():
        least = min(len(runs[a]), len(runs[b]))
        if least >= MIN_RUNS and count >= SHARED * least:
            pairs.append(NearDuplicate(a, split_of[a], b, split_of[b], round(count / least, 3)))
    return sorted(pairs, key=lambda pair: (-pair.shared, pair.first, pair.second))


def _melody(record: Mapping[str, Any]) -> list[int]:
    top: dict[Fraction, int] = {}
    for note in from_json(dict(record)).notes:
        if note.staff == 0 and not note.continued:
            top[note.onset] = max(note.midi, top.get(note.onset, 0))
    return [top[onset] for onset in sorted(top)]


def _runs(melody: Sequence[int]) -> set[tuple[int, ...]]:
    intervals = [after - before for before, after in pairwise(melody)]
    found = (tuple(intervals[k : k + LENGTH]) for k in range(len(intervals) - LENGTH + 1))
    return {run for run in found if len(set(run)) >= MIN_DISTINCT}

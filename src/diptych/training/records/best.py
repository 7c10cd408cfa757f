"""Validation: snapshots are scored on held-out images while training goes on, and the best one is kept.

Training knows no metrics: its caller says how a snapshot is scored.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from diptych.data.census import Census, still_usable
from diptych.data.folders import Split
from diptych.errors import DataError
from diptych.messages import show
from diptych.snapshot import Snapshot

log = logging.getLogger(__name__)
Poll = Callable[[], None]
"""A function that long work calls now and then; it raises Interrupted when a signal asked to stop."""


@dataclass(frozen=True)
class Validation:
    """How a snapshot is scored on ``census.val``, and by which of its scores the best snapshot is selected."""

    score: Callable[[Snapshot, Census, Poll], dict[str, float]]
    select: str
    higher_is_better: bool

    @property
    def rule(self) -> str:
        """The rule in words, such as ``lowest lpips on the validation split``."""
        return f"{'highest' if self.higher_is_better else 'lowest'} {self.select} on the validation split"


class BestScore:
    """The best score so far, ``value``; NaN before the first. It is read from the lines of statistics when a run is resumed."""

    def __init__(self, validation: Validation, lines: Iterable[Mapping[str, Any]]) -> None:
        self.validation = validation
        self.value = math.nan
        for line in lines:
            self.improves(line.get("validation", {}))

    def improves(self, scores: Mapping[str, float]) -> bool:
        """Whether these scores are better than all before, and not just equal; if so, they are the best from now on."""
        value = scores.get(self.validation.select, math.nan)
        gain = value - self.value if self.validation.higher_is_better else self.value - value
        if math.isfinite(value) and (gain > 0 or math.isnan(self.value)):
            self.value = value
            return True
        return False


def usable_scores(validation: Validation, snapshot: Snapshot, census: Census, poll: Poll) -> tuple[dict[str, float], Census]:
    """Score a snapshot; return the scores, and the census without the validation images that have become unreadable.

    These images are left out with a warning. When a side has none left, there are no scores, and the returned census has no
    validation split. Raises the DataError of the score when every image can be read.
    """
    if census.val is None:
        return {}, census
    try:
        return validation.score(snapshot, census, poll), census
    except DataError:
        left, lost = still_usable(census.val, census)
        if not lost:
            raise
        for skipped in lost:
            log.warning("left out of validation from now on: %s", skipped)
    if not (left.a and left.b):
        log.warning("no validation images are left; the training goes on without validation")
        return {}, replace(census, val=None)
    return usable_scores(validation, snapshot, replace(census, val=left), poll)


def refuse_test(val: Split, test: Split | None) -> None:
    """Raise DataError when an image is in both splits: test scores of a snapshot that was selected on them would be worthless."""
    if test is None:
        return
    tested = {ref.path.resolve() for ref in (*test.a, *test.b)}
    for ref in (*val.a, *val.b):
        if ref.path.resolve() in tested:
            raise DataError(
                f"{show(ref.path)}: is in the validation and in the test split, but a snapshot must not be selected on "
                "test images; remove it from one of them"
            )

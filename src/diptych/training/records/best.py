"""Scores on held-out images while training goes on, and the best snapshot by one of them.

Training knows no metrics: whoever starts it says how a snapshot is scored.
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
"""Called now and then in long work; raises Interrupted when a signal asked to stop."""


@dataclass(frozen=True)
class Validation:
    """How a snapshot is scored on ``census.val``, and which of the scores chooses the best one."""

    score: Callable[[Snapshot, Census, Poll], dict[str, float]]
    select: str
    higher_is_better: bool

    @property
    def rule(self) -> str:
        """The rule in words: ``lowest lpips on the validation split``."""
        return f"{'highest' if self.higher_is_better else 'lowest'} {self.select} on the validation split"


class BestScore:
    """The best score so far. It lives in the lines of statistics, so that a resumed run goes on from there."""

    def __init__(self, validation: Validation, lines: Iterable[Mapping[str, Any]]) -> None:
        self.validation = validation
        self.best = math.nan
        for line in lines:
            self.improves(line.get("validation", {}))

    def improves(self, scores: Mapping[str, float]) -> bool:
        """Whether these scores are better than all before them; takes note of them if so. Equal is not better."""
        value = scores.get(self.validation.select, math.nan)
        gain = value - self.best if self.validation.higher_is_better else self.best - value
        if math.isfinite(value) and (gain > 0 or math.isnan(self.best)):
            self.best = value
            return True
        return False


def usable_scores(validation: Validation, snapshot: Snapshot, census: Census, poll: Poll) -> tuple[dict[str, float], Census]:
    """The scores of a snapshot, and the census without the validation images that went bad since it was taken.

    Those are left out of the scores with a warning. Where they leave nothing on a side there are no scores, and no more
    validation. Raises DataError where every image can be read.
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
    """Raise DataError where an image validates and tests: a snapshot chosen on test images makes their scores worthless."""
    if test is None:
        return
    tested = {ref.path.resolve() for ref in (*test.a, *test.b)}
    for ref in (*val.a, *val.b):
        if ref.path.resolve() in tested:
            raise DataError(
                f"{show(ref.path)}: is in the validation and in the test split; selection on test images is refused, "
                "remove it from one of them"
            )

"""Scores on held-out images while training goes on, and the best snapshot by one of them.

Training knows no metrics: whoever starts it says how a snapshot is scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diptych.data.census import Census
from diptych.data.folders import Split
from diptych.errors import DataError
from diptych.messages import show
from diptych.snapshot import Snapshot

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


class Selection:
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

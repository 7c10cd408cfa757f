"""Says once, within the first half minute of a long training on a CPU, how long it will take and what would be shorter."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diptych.cli.progress import duration

if TYPE_CHECKING:  # at run time this would import torch, before wrong words are refused
    from diptych.data.census import Census
    from diptych.recipe import Recipe
    from diptych.training.progress import Progress

WAIT = 15.0  # seconds of training that the estimate is made from, or the first step where it is longer
LONG = 6 * 3600.0  # seconds; a shorter training needs no warning


@dataclass
class Estimate:
    """Watches the first steps of a training, and tells its duration in words, once."""

    began: float | None = None
    before: int = 0
    told: bool = False

    def seconds(self, step: Progress) -> float | None:
        """The seconds that the training takes from here, once they can be estimated; None before and after that."""
        if step.task != "training" or self.told:
            return None
        now = time.monotonic()
        if self.began is None:
            self.began, self.before = now, step.done
        elapsed, done = now - self.began, step.done - self.before
        if done < 1 or elapsed < WAIT:
            return None
        self.told = True
        return elapsed / done * (step.total - step.done)


def advice(seconds: float, recipe: Recipe, census: Census, may_take_preset: bool) -> str | None:
    """A sentence about a training that takes so long on a CPU; None for one that is short enough."""
    from diptych.presets import with_preset
    from diptych.recipe import Recipe
    from diptych.training.planning.relative import relative_time

    if seconds < LONG:
        return None
    text = f"at this speed the training takes about {duration(seconds)} on this CPU"
    values = recipe.to_dict()
    small = Recipe.from_dict(with_preset(values, "laptop"))
    share = relative_time(recipe, small, census.a, census.b) if may_take_preset else None
    if share is not None and share < 0.7:
        return f"{text}; with --preset laptop (128 px, half the epochs) it would take about {duration(seconds * share)}"
    return f"{text}; a GPU, fewer epochs (--train.epochs) or smaller crops (--data.crop_size) shorten it"

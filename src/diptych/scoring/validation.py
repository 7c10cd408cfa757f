"""Validation during training, composed of translators and metrics, which training itself must not know."""

from __future__ import annotations

from diptych.data.census import Census
from diptych.device import pick_device
from diptych.evaluation.validator import Validator
from diptych.recipe import Recipe
from diptych.scoring.snapshots import Loaded
from diptych.snapshot import Snapshot
from diptych.training.records.best import Poll, Validation


def validation_of(recipe: Recipe, device: str) -> Validation:
    """How snapshots of a recipe are scored on the images that are held out, for ``diptych.train(..., validation=...)``."""
    device = str(pick_device(device))
    validator = Validator(recipe.method.paired, device)

    def score(snapshot: Snapshot, census: Census, poll: Poll) -> dict[str, float]:
        assert census.val is not None, "the loop validates only where there is something to validate on"
        functions = Loaded.on(snapshot, device).functions
        return validator(functions, census.val, census.a, census.b, recipe.data, poll)

    return Validation(score, validator.select, validator.higher_is_better)

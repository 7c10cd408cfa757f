"""Validation during training, composed of what training must not know: translators and metrics."""

from __future__ import annotations

from diptych.data.census import Census
from diptych.device import pick_device
from diptych.evaluation.validator import Validator
from diptych.inference.translator import Translator
from diptych.recipe import Recipe
from diptych.snapshot import Snapshot
from diptych.training.validation import Poll, Validation


def validation_of(recipe: Recipe, device: str) -> Validation:
    """How snapshots of a recipe are scored on the images that are held out."""
    device = str(pick_device(device))
    validator = Validator(recipe.method.paired, device)

    def score(snapshot: Snapshot, census: Census, poll: Poll) -> dict[str, float]:
        assert census.val is not None, "the loop validates only where there is something to validate on"
        translators = {direction: Translator(snapshot, direction, device=device).tensors for direction in snapshot.generators}
        return validator(translators, census.val, census.a, census.b, recipe.data, poll)

    return Validation(score, validator.select, validator.higher_is_better)

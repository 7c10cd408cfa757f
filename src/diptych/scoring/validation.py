"""Validation during training, composed of translators and metrics, which training itself must not know."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from diptych.data.census import Census
from diptych.data.splits import Ref
from diptych.device import pick_device
from diptych.errors import DataError
from diptych.evaluation.validator import Validator
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.scoring.snapshots import Loaded
from diptych.snapshot import Snapshot
from diptych.training.records.best import Poll, Validation
from diptych.training.same_data import find_again

log = logging.getLogger(__name__)


def validation_of(recipe: Recipe, device: str, run: Path | None = None) -> Validation:
    """How snapshots of a recipe are scored on the images that are held out, for ``diptych.train(..., validation=...)``.

    The log says so at once when no score can choose the best snapshot. Raises DataError where there is no data; where the folder
    ``run`` holds a run that goes on, it says what changed since it began.
    """
    device = str(pick_device(device))
    layout = find_again(recipe, Run(run).census() if run else None)
    train = recipe.data.oriented(layout.train)
    validator = Validator(recipe.method.paired, device, (channels_of(train.a), channels_of(train.b)))
    if validator.select is None:
        found = " and ".join(map(str, validator.channels))
        log.warning("no score chooses a best snapshot: KID takes gray or RGB images, these have %s channels", found)
    elif validator.select == "kid" and layout.val and min(len(layout.val.a), len(layout.val.b)) < 2:
        log.warning("no score chooses a best snapshot: KID needs at least 2 validation images on each side")

    def score(snapshot: Snapshot, census: Census, poll: Poll) -> dict[str, float]:
        assert census.val is not None, "the loop validates only where there is something to validate on"
        functions = Loaded.on(snapshot, device).functions
        return validator(functions, census.val, census.a, census.b, recipe.data, poll)

    return Validation(score, validator.select or "nothing", validator.higher_is_better)


def channels_of(refs: Sequence[Ref]) -> int:
    """The channels of the first image that can be read, 3 where none can; the census is what judges all of them."""
    for ref in refs:
        with suppress(DataError):
            return int(ref.read().shape[2])
    return 3

"""Real images to score on: those that a recipe's training never saw."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.data.census import Census, take_census
from diptych.data.folders import Layout, Split, find_data
from diptych.data.frames import Fitting
from diptych.errors import DataError
from diptych.messages import show
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.recorded import Recorded

log = logging.getLogger(__name__)
SplitName = Literal["test", "val"]
TRAINING_FOLDER = re.compile(r"train(ing)?[-_ ]?[ab]?", re.IGNORECASE)


@dataclass(frozen=True)
class RealImages:
    """Images of both sides as the recipe means them, and a sentence that says where they were found."""

    split: Split
    description: str


def find_real_images(
    recipe: Recipe | Recorded, split_name: SplitName = "test", *, paired: bool | None = None, data: Sequence[str | Path] = ()
) -> RealImages | None:
    """The test or validation images of a recipe's folders, or of other ``data``; None where the recipe's folders have none.

    ``paired`` takes images of equal names as pairs, or as two sets; None takes them as the recipe does. Other data without that
    split is taken whole, but raises DataError when it lies in a folder of training images.
    """
    recorded = Recorded.of(recipe) if isinstance(recipe, Recipe) else recipe
    paired = bool(recorded.paired) if paired is None else paired
    given = "auto" if data else recipe.data.layout
    layout = find_data(data or recipe.data.source, paired=paired, layout=given, axis=recipe.data.axis)
    found = unseen_split(layout, split_name, data) if data else split_of(layout, split_name)
    return RealImages(recipe.data.oriented(found), layout.description) if found else None


def split_of(layout: Layout, split_name: SplitName) -> Split | None:
    """The test or validation split of a layout."""
    return layout.val if split_name == "val" else layout.test


def unseen_split(layout: Layout, split_name: SplitName, data: Sequence[str | Path]) -> Split:
    """The split of that name, or all of a folder without splits.

    Raises DataError when all that there is lies in a folder called train, whose images would flatter the scores.
    """
    if found := split_of(layout, split_name):
        return found
    roots = [Path(source).resolve() for source in data]
    for ref in (layout.train.a[0], layout.train.b[0]):
        path = ref.path.resolve()
        inside = [path.relative_to(root).parts[:-1] for root in roots if path.is_relative_to(root)]
        folders = [*(part for parts in inside for part in parts), *(root.name for root in roots)]
        if any(TRAINING_FOLDER.fullmatch(folder) for folder in folders):
            where = ", ".join(map(show, data))
            raise DataError(f"{where}: lies in a folder of training images, and has no {split_name} images; give unseen ones")
    return layout.train


def readable(
    split: Split,
    on_progress: Callable[[int, int], None] | None = None,
    fitting: Fitting = "none",
    labels: tuple[Domain | None, Domain | None] = (None, None),
) -> Census:
    """The census of images to score; the log names those that cannot be read, which are left out.

    ``fitting`` brings the images of pairs to one size; ``labels`` are domains, of which those of labels judge their side. Raises
    DataError as take_census does, when more than a few cannot be read.
    """
    census = take_census(split, on_progress=on_progress, fitting=fitting, labels=labels)
    for skipped in census.skipped:
        log.warning("not scored: %s", skipped)
    return census


def data_name(sources: Sequence[str | Path]) -> str:
    """What a title calls one or two folders: ``horses and zebras``."""
    return " and ".join(show(Path(source).name) for source in sources)

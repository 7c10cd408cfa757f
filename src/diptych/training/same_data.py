"""A run that goes on, and its images: they may lie elsewhere now, and what changed about them is said."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from diptych.data.archives import entries, is_there
from diptych.data.census import Census
from diptych.data.fingerprints import compare, names_of, prints_of, relocated, take_prints
from diptych.data.folders import Layout, Ref, find_data
from diptych.data.formats import SUFFIXES
from diptych.data.listing import suffix_of
from diptych.errors import DataError
from diptych.messages import show
from diptych.recipe import Recipe
from diptych.run import Run

log = logging.getLogger(__name__)


def keep_prints(run: Run, layout: Layout, recipe: Recipe) -> None:
    """Write down the names and sizes of a run's image files and hashes of some, by which they are known again."""
    run.keep_prints(take_prints(_images(layout, recipe)))


def same_images(run: Run, census: Census, layout: Layout, recipe: Recipe, strict: bool) -> Census:
    """The census of a run that goes on, with its images where they lie now; the log names new, missing and changed ones.

    Raises DataError when more are missing or changed than a training may lack, or, if ``strict``, any is, or was left out.
    """
    if strict and census.skipped:
        first = census.skipped[0]
        raise DataError(f"{show(run.folder)}: {len(census.skipped)} images were left out, and strict allows none: {first}")
    images, own_val = _images(layout, recipe), layout.val is not None
    kept = run.prints() or prints_of(census, own_val)
    changes = compare(kept, images, [item.path for item in census.skipped])
    if changes.too_many() or (strict and (changes.gone or changes.changed)):
        limit = "strict allows none" if strict else "at most 5 % of the images may be gone or changed"
        raise DataError(
            f"{show(run.folder)}: was trained on other images ({changes}), and {limit}; restore them, "
            f"or begin a run from this one with `diptych train --from {show(run.folder)} --more-epochs N`"
        )
    if changes.gone or changes.changed:
        log.warning("the data changed since this run began (%s); images that are gone are passed over", changes)
    elif changes.new:
        log.warning("the data changed since this run began (%s); this run does not train on new images", changes)
    found = relocated(census, images, own_val)
    if found != census:
        log.info("the images lie elsewhere now: %s", layout.description)
        run.keep_census(found)
    run.keep_source(recipe)
    return found


def find_again(recipe: Recipe, census: Census | None) -> Layout:
    """Find the images of a recipe. ``census`` is that of a run which goes on: an error then says what changed since it began."""
    try:
        return find_data(recipe.data.source, paired=recipe.method.paired, layout=recipe.data.layout, axis=recipe.data.axis)
    except DataError as error:
        if not (census and (changed := _since_it_began(census))):
            raise
        raise DataError(f"{error}; {changed}") from error


def _since_it_began(census: Census) -> str:
    """Say which files of a run are gone, and which are new where they were; '' where none is gone."""
    refs = (*census.split.a, *census.split.b, *(census.val.a if census.val else ()), *(census.val.b if census.val else ()))
    known = {ref.path for ref in refs} | {item.path for item in census.skipped}
    gone = sorted(path for path in known if not is_there(path))
    if not gone:
        return ""
    places = {path.parent for path in gone if path.parent.is_dir()}
    there = {path for place in places for path, is_dir in entries(place) if not is_dir and suffix_of(str(path)) in SUFFIXES}
    new = sorted(there - known)
    found = f", and came {_some(new)}" if new else ""
    return f"since this run began {_some(gone)} went{found}; restore the files as they were to go on with it"


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 3:,} more" if len(paths) > 3 else ""
    return ", ".join(show(path) for path in paths[:3]) + more


def _images(layout: Layout, recipe: Recipe) -> dict[str, Ref]:
    train, val = recipe.data.oriented(layout.train), layout.val
    return names_of({"train": train, "val": recipe.data.oriented(val) if val else None})

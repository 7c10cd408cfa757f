"""The run folder of a training whose --out was not given: named after the recipe and the data, and never that of another run."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the real import waits until wrong words are refused
    from diptych.recipe import Recipe

ROOT = Path("runs")
LONGEST = 60  # characters of the data's names


def default_out(word: str, recipe: Recipe) -> Path:
    """``runs/cyclegan-horses-zebras``, numbered where a run of another recipe or other data has that name.

    The run of the same recipe on the same data is found again, so that the same command resumes it; also under the name
    ``runs/cyclegan`` that earlier versions gave it. A recipe file gives the run its own name.
    """
    stem = re.sub(r"\.(ya?ml|json)$", "", Path(word).name).replace(":", "-")
    if holds(ROOT / stem, recipe):
        return ROOT / stem
    name = stem if word.endswith((".yaml", ".yml", ".json")) else "-".join([stem, *data_words(recipe)])
    return numbered(ROOT / name, recipe)


def follow_up(run: Path, recipe: Recipe) -> Path:
    """``runs/x-more`` beside ``runs/x``, numbered, for the run that goes on where it ended."""
    return numbered(run.with_name(f"{run.name}-more"), recipe)


def numbered(folder: Path, recipe: Recipe) -> Path:
    """A folder that is free or holds the run of this recipe: this one, or the same with the first number that is."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([folder], names) if holds(each, recipe) or is_free(each))


def data_words(recipe: Recipe) -> list[str]:
    """The names of the data's folders, as a part of a folder's name."""
    names = [Path(source).expanduser().resolve().name for source in recipe.data.source]
    words = [re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.") for name in names]
    return [word[: LONGEST // len(words)] for word in words if word]


def is_free(folder: Path) -> bool:
    """Whether a new run may take a folder: it is not there, or empty but for a lock."""
    return not folder.exists() or (folder.is_dir() and all(path.name == ".lock" for path in folder.iterdir()))


def holds(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder holds a run of this recipe on these data."""
    from diptych.errors import ConfigError
    from diptych.recipe import Recipe, first_difference
    from diptych.recipe_files import read_values
    from diptych.training.start import with_hashes

    try:
        kept = Recipe.from_dict(read_values(folder / "recipe.json"))
    except (OSError, ValueError, ConfigError, AttributeError):
        return False
    same_data = [*map(real, kept.data.source)] == [*map(real, recipe.data.source)]
    return same_data and first_difference(kept.to_dict(), with_hashes(recipe, folder).to_dict()) is None


def real(source: str) -> Path:
    """A folder by its one true path."""
    return Path(source).expanduser().resolve()

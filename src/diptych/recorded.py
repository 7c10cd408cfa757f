"""What a run's recipe says, for commands that train nothing: a run folder is data, and code that it names is never imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.data.datasets import DataConfig
from diptych.errors import ConfigError
from diptych.messages import show
from diptych.methods import METHODS, is_here
from diptych.recipe import Recipe, TrainConfig
from diptych.recipe_files import method_named, read_values
from diptych.renamed import translated


@dataclass(frozen=True)
class Recorded:
    """The settings of a training as its folder has them.

    ``method`` is what people call the method, or module:Class of a user's own. ``paired`` says whether it trained on aligned
    pairs; None where only code knows that which is not imported. ``values`` are those of Recipe.to_dict.
    """

    method: str
    paired: bool | None
    data: DataConfig
    train: TrainConfig
    values: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Recorded:
        """Read a recipe.json. Raises ConfigError for one that is damaged."""
        values, name = named_in(path)
        if name in METHODS or is_here(name):
            return cls.of(Recipe.load(path))
        if ":" not in name:
            raise ConfigError(f"{show(path)}: no method is called {name!r}")
        # Data and training are read beside a method that is known, so that they are checked as in any recipe.
        known = {key: values.get(key, {}) for key in ("data", "train")}
        recipe = Recipe.from_dict({"method": {"name": next(iter(METHODS))}} | known)
        return cls(
            name, None, recipe.data, recipe.train, values | {"data": recipe.to_dict()["data"], "train": recipe.to_dict()["train"]}
        )

    @classmethod
    def of(cls, recipe: Recipe) -> Recorded:
        """What a recipe's file would say."""
        return cls(recipe.method.name, recipe.method.paired, recipe.data, recipe.train, recipe.to_dict())


def named_in(path: str | Path) -> tuple[dict[str, Any], str]:
    """The values in a recipe.json and the method that they name. Raises ConfigError, which names a damaged file."""
    values = read_values(path)
    try:
        return values, method_named(translated(values))
    except ConfigError as error:
        raise ConfigError(f"{show(path)}: {error}") from error

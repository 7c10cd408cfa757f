"""``diptych.train``: a training from Python, of a Recipe or in the plain words of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.errors import ConfigError
from diptych.presets import preset, with_preset
from diptych.recipe import Recipe
from diptych.recipes import RECIPES, named
from diptych.scoring.validation import validation_of
from diptych.training import loop

FILES = (".yaml", ".yml", ".json")


def train(
    recipe: Recipe | str,
    out: str | Path,
    *,
    data: str | Path | Sequence[str | Path] = (),
    preset: str | None = None,
    weights: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Train into a run folder, or resume the run that is there; return the path of its snapshot.

    >>> diptych.train("cyclegan", "runs/x", data=["horses/", "zebras/"], preset="laptop", settings={"train.epochs": 20})

    recipe: a Recipe, or what the command takes: a method, a published experiment, module:Class, or a recipe file.
    out: the run folder; it is made if it is not there.
    data: one or two folders, or ``relief``, where the recipe does not name them.
    preset: ``paper`` or ``laptop``, as in the command.
    weights: a snapshot, run folder or file of another tool to begin with.
    settings: changes by dotted name, such as ``{"train.lr": 1e-4}``.
    options: those of ``diptych.training.loop.train``: device, workers, patience, keep_every and others.

    Where the recipe is given in words, held-out images choose the best snapshot as in the command, or ``validation`` does.
    Raises ConfigError and DataError for what is wrong with the words, and what the training raises.
    """
    if isinstance(recipe, Recipe):
        words = {"data": data, "preset": preset, "weights": weights, "settings": settings}
        if given := next((word for word, value in words.items() if value), None):
            raise ConfigError(f"{given}: the recipe says everything itself; change it, as in recipe.replace(...)")
        return loop.train(recipe, out, **options)
    made = recipe_in_words(recipe, data, preset, weights, settings or {})
    if "validation" not in options:
        options["validation"] = validation_of(made, options.get("device", "auto"), Path(out))
    return loop.train(made, out, **options)


def recipe_in_words(
    name: str,
    data: str | Path | Sequence[str | Path],
    preset_name: str | None,
    weights: str | Path | None,
    settings: Mapping[str, Any],
) -> Recipe:
    """The recipe that these words mean. Raises ConfigError for an unknown word, naming the nearest."""
    if name.endswith(FILES):
        if preset_name:
            raise ConfigError(f"preset {preset_name}: {name} holds its own settings; change single ones with settings")
        base = Recipe.load(name)
    else:
        base = named(name) if name in RECIPES else Recipe.create(name, preset(preset_name or "paper", name))
    values = base.to_dict()
    if preset_name and name in RECIPES:
        values = with_preset(values, preset_name, name)
    if folders := [data] if isinstance(data, str | Path) else list(data):
        values["data"]["source"] = [str(folder) for folder in folders]
    if weights:
        values.setdefault("start", {})["weights"] = str(weights)
    for key, value in settings.items():
        *groups, last = key.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    found = Recipe.from_dict(values)
    if not found.data.source:
        raise ConfigError(f"{name}: no data given; name one or two folders with data=, or relief, the embedded data")
    return found

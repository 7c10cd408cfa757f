"""What takes part in a bench: each method with each seed, as a recipe that fits into one budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.errors import ConfigError
from diptych.recipe import Recipe


@dataclass(frozen=True)
class Cost:
    """What a step of a method takes on this machine: seconds, bytes of memory, and steps of an epoch."""

    seconds: float
    memory: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Entry:
    """One method with one seed, in its run folder."""

    method: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """The name for people: ``cut, seed 2``."""
        return f"{self.method}, seed {self.seed}"


def entries_of(recipes: Mapping[str, Recipe], num_seeds: int, out: Path) -> list[Entry]:
    """All trainings, seed by seed, so that a first table can be read early. Raises ConfigError for methods that do not compare.

    Recipes must be of the same data, as images of one crop size, since they are scored on the same test images.
    """
    first_name, first = next(iter(recipes.items()))
    for name, recipe in recipes.items():
        for setting in ("source", "crop_size", "load_size", "resize", "direction"):
            one, other = getattr(first.data, setting), getattr(recipe.data, setting)
            if one != other:
                raise ConfigError(
                    f"bench: {first_name} has data.{setting} {one} and {name} has {other}; give one for all, as --data.{setting}"
                )
    seeds = range(first.train.seed, first.train.seed + num_seeds)
    return [
        Entry(name, seed, replace(recipe, train=replace(recipe.train, seed=seed)), out / name / f"seed-{seed}")
        for seed in seeds
        for name, recipe in recipes.items()
    ]


def within(recipes: Mapping[str, Recipe], costs: Mapping[str, Cost], hours: float) -> dict[str, Recipe]:
    """The recipes with as many whole epochs as fit into so many hours, the share of a falling rate being that of each recipe.

    Raises ConfigError where less than an epoch fits.
    """
    return {name: _as_long(name, recipe, hours * 3600 / costs[name].seconds, costs[name]) for name, recipe in recipes.items()}


def as_long_as(recipes: Mapping[str, Recipe], costs: Mapping[str, Cost], epochs: int) -> dict[str, Recipe]:
    """The recipes with as many epochs each, shared between their parts as above."""
    return {name: _as_long(name, recipe, epochs * costs[name].steps_per_epoch, costs[name]) for name, recipe in recipes.items()}


def _as_long(name: str, recipe: Recipe, steps: float, cost: Cost) -> Recipe:
    total = int(steps / cost.steps_per_epoch + 1e-6)
    if not total:
        epoch, budget = (f"{n * cost.seconds / 60:.3g} minutes" for n in (cost.steps_per_epoch, steps))
        raise ConfigError(
            f"bench: an epoch of {name} takes {epoch}, and the budget is {budget}; "
            "raise --hours, or take smaller images or networks"
        )
    whole, falling = recipe.train.epochs, recipe.train.decay_epochs
    falls = round(total * falling / (whole + falling))
    if whole and falling and total > 1:  # each part keeps at least an epoch
        falls = min(max(1, falls), total - 1)
    return replace(recipe, train=replace(recipe.train, epochs=total - falls, decay_epochs=falls))


def groups_of(entries: Sequence[Entry]) -> list[list[str]]:
    """The run folders of each method, in the order in which methods were named."""
    folders: dict[str, list[str]] = {}
    for entry in entries:
        folders.setdefault(entry.method, []).append(str(entry.folder))
    return list(folders.values())

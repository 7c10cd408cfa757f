"""Methods compared under one budget and one protocol: trained with every seed, and scored on the same images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from diptych.bench.entries import Cost, as_long_as, entries_of, groups_of, within
from diptych.bench.table import markdown, rows_of
from diptych.data.listing import refuse_out_in_data
from diptych.device import pick_device
from diptych.errors import ConfigError, DataError
from diptych.evaluation.offers import check_names
from diptych.files import refuse_links_out, write_atomic
from diptych.messages import counted
from diptych.recipe import Recipe
from diptych.run import write_json
from diptych.schemas import read_json
from diptych.scoring.compare import ComparisonOfSystems, compare_systems
from diptych.scoring.many import train_all
from diptych.scoring.real_images import find_real_images
from diptych.scoring.systems import COMPARABLE, score_systems
from diptych.scoring.task import Request
from diptych.training.progress import Watch

METRICS = (*COMPARABLE, "mind")
"""The metrics of the table. MIND is a column, though nothing tests its differences."""
Measure = Callable[[str, Recipe], Cost]


class _Cost(TypedDict):
    """The fields of a Cost."""

    seconds: float
    memory: int
    steps_per_epoch: int


class _Kept(TypedDict):
    """What costs.json says of a method: the recipe, as JSON, and what it was found to cost."""

    recipe: str
    cost: _Cost


COSTS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, _Kept])


def bench(
    recipes: Mapping[str, Recipe],
    out: Path,
    measure: Measure,
    *,
    hours: float = 0.0,
    epochs: int = 0,
    num_seeds: int = 3,
    metrics: Sequence[str] | None = None,
    words: Mapping[str, Any] | None = None,
    devices: Sequence[str] = ("cpu",),
    watch: Callable[[str], Watch] = lambda name: lambda step: None,
    watch_scoring: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> tuple[str, ComparisonOfSystems]:
    """Train every recipe with every seed, score all alike, and return the table as Markdown and the comparison behind it.

    ``recipes`` are by the names of methods. ``measure`` says what a step of one costs; it is asked once, and what it said is kept
    in ``out / "costs.json"``, so that an interrupted bench goes on with the same budget. With ``hours`` each training gets as
    many whole epochs as fit, with ``epochs`` as many epochs; with neither each recipe keeps its own length. ``metrics`` and
    ``words`` are those of diptych.scoring.systems.score_systems.

    Writes run folders, ``bench.md`` and ``bench.json`` into ``out``. The last snapshot of each run is scored, never the best.
    Raises DataError without test images, ConfigError for recipes that cannot be compared or do not fit, and what a training or an
    evaluation raises.
    """
    if len(recipes) < 2:
        raise ConfigError(f"bench: compares two methods or more, found {', '.join(recipes) or 'none'}; name another one")
    check_names(metrics or ())
    if wrong := [name for name in metrics or () if name not in METRICS]:
        raise ConfigError(f"bench: {wrong[0]} is no metric of a bench; choose among {', '.join(METRICS)}")
    first = next(iter(recipes.values()))
    refuse_out_in_data(out, first.data.source)
    if None in [find_real_images(recipe) for recipe in recipes.values()]:  # or this, and lacking pairs, were seen after hours
        raise DataError(f"{', '.join(first.data.source)}: no test images to compare methods on; add testA and testB")
    costs = _costs(recipes, out, measure)
    if hours and epochs:
        raise ConfigError("bench: hours and epochs exclude each other; give one of them")
    chosen = within(recipes, costs, hours) if hours else as_long_as(recipes, costs, epochs) if epochs else dict(recipes)
    entries = entries_of(chosen, num_seeds, out)
    refuse_links_out((entry.folder for entry in entries), out)
    train_all(entries, devices, watch=watch, command="bench")
    groups = groups_of(entries)
    device = str(pick_device(devices[0].partition("#")[0]))
    systems = score_systems(
        groups,
        Request(groups[0][0], device=device),
        metrics=metrics,
        offered=METRICS,
        words=dict(words or {}) | {"device": device},
        watch=watch_scoring,
    )
    named = [replace(system, name=name) for system, name in zip(systems, chosen, strict=True)]
    found = compare_systems(named)
    rows = rows_of(found, costs, [Path(group[0]) for group in groups])
    text = markdown(rows, found, _budget(hours, epochs, chosen), num_seeds)
    write_atomic(out / "bench.md", text.encode())
    write_json(out / "bench.json", {"rows": [asdict(row) for row in rows]} | found.to_json())
    return text, found


def _costs(recipes: Mapping[str, Recipe], out: Path, measure: Measure) -> dict[str, Cost]:
    """What each recipe costs, measured now or kept from an earlier call with the same recipe, however its data are spelled."""
    path = out / "costs.json"
    kept: dict[str, Any] = read_json(path, COSTS, "remove it, and they are measured again") if path.exists() else {}
    costs = {}
    for name, recipe in recipes.items():
        asked = json.dumps(recipe.to_dict(), sort_keys=True)
        if name not in kept or _at_its_place(kept[name]["recipe"]) != _at_its_place(asked):
            kept[name] = {"recipe": asked, "cost": asdict(measure(name, recipe))}
            write_json(path, kept)
        costs[name] = Cost(**kept[name]["cost"])
    return costs


def _at_its_place(recipe: str) -> Any:
    """The values of a recipe, as JSON, with the whole paths of its data."""
    values = json.loads(recipe)
    values["data"]["source"] = [str(Path(name).resolve()) for name in values["data"]["source"]]
    return values


def _budget(hours: float, epochs: int, recipes: Mapping[str, Recipe]) -> str:
    if hours:
        return f"at most {hours:g} hours a training"
    lengths = {recipe.train.epochs + recipe.train.decay_epochs for recipe in recipes.values()}
    if not epochs and len(lengths) > 1:
        return "each method's own number of epochs"
    return f"{counted(epochs or min(lengths), 'epoch')} a training"

"""Every variant with every seed: a recipe and a run folder each, scored alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.ablation.variants import VARIANTS, Variant, recipe_of
from diptych.data.folders import Split
from diptych.errors import ConfigError
from diptych.evaluation.evaluate import carry_out
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.seen import HELD_OUT, SeenBefore
from diptych.evaluation.tables import read_evaluation
from diptych.recipe import Recipe
from diptych.run import read_census, write_json
from diptych.scoring.snapshots import Loaded, about_snapshot
from diptych.scoring.task import Task
from diptych.snapshot import Snapshot


@dataclass(frozen=True)
class Trial:
    """One variant with one seed, in its run folder."""

    variant: Variant
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """The name for people: ``l1-cgan, seed 2``."""
        return f"{self.variant.name}, seed {self.seed}"


def trials_of(base: Recipe, names: Sequence[str], num_seeds: int, out: Path) -> list[Trial]:
    """All trials, seed by seed, so that the first table can be read early; no names means all variants of the base's method.

    Raises ConfigError for a method without ablations, or an unknown variant.
    """
    method = base.method.name
    if method not in VARIANTS:
        raise ConfigError(f"ablate: no variants are known of {method}; choose one of {', '.join(VARIANTS)}")
    known = {variant.name: variant for variant in VARIANTS[method]}
    for name in names:
        if name not in known:
            raise ConfigError(f"ablate: {method} has no variant {name!r}; choose among {', '.join(known)}")
    chosen = [known[name] for name in names] if names else list(known.values())
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    return [
        Trial(variant, seed, recipe_of(base, variant, seed), out / variant.name / f"seed-{seed}")
        for seed in seeds
        for variant in chosen
    ]


def score(trial: Trial, split: Split, metrics: Sequence[str] | None, tools: Instruments) -> dict[str, Any]:
    """The evaluation of a trained trial as JSON; read from its folder where one of the same identity was kept.

    The identity is that of the whole plan (see diptych.evaluation.plan): snapshot, test images, metrics and all that measures.
    """
    path, snapshot_path = trial.folder / "evaluation.json", trial.folder / "snapshot.safetensors"
    census = read_census(trial.folder)
    snapshot = Snapshot.load(snapshot_path)
    loaded = Loaded.on(snapshot, tools.device)
    subjects = loaded.subjects(split, trial.recipe.data, census.split)
    about = {"snapshot": about_snapshot(snapshot_path, snapshot)}
    # Both, as what is held out differs between seeds, and all trials must be scored on the same images.
    seen = [SeenBefore(census.split, "trained on"), SeenBefore(census.val, HELD_OUT)]
    task = Task(subjects, "test", about, seen, loaded.applied, loaded.batch_size)
    plan = task.plan(metrics, tools)
    if path.exists():
        kept = read_evaluation(path, "remove it, and the trial is scored again")
        if plan.about["identity"] and kept["about"].get("identity") == plan.about["identity"]:
            return kept
    found = carry_out(plan).to_json()
    write_json(path, found)
    return found

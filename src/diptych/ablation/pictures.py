"""The figure beside the papers' tables: the same test images through every variant."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.ablation.trials import Trial
from diptych.data.datasets import view
from diptych.data.folders import Split
from diptych.evaluation.subject import shown
from diptych.inference.translator import Translator
from diptych.run import read_census
from diptych.sheets import Column, contact_sheet, spread
from diptych.snapshot import Snapshot


def figure(trials: Sequence[Trial], split: Split, direction: str, device: str, rows: int = 5) -> bytes:
    """A PNG with a row for each image: input, the output of each trial, and the truth where there is one."""
    split = split if direction == "a2b" else split.swapped()
    chosen = spread(range(min(len(split.a), len(split.b)) if split.paired else len(split.a)), rows)
    columns: list[Column] = []
    for trial in trials:
        snapshot = Snapshot.load(trial.folder / "snapshot.safetensors")
        translate, config = Translator(snapshot, direction, device=device), trial.recipe.data
        inputs = [view(split.a[i], translate.source, config)[None] for i in chosen]
        columns = columns or [("input", [shown(translate.source, x) for x in inputs])]
        columns.append((trial.variant.title, [shown(translate.target, translate.tensors(x)) for x in inputs]))
    if split.paired:
        census = read_census(trials[0].folder)
        target = census.b if direction == "a2b" else census.a
        truth = [view(split.b[i], target, trials[0].recipe.data)[None] for i in chosen]
        columns.append(("truth", [shown(target, x) for x in truth]))
    return contact_sheet(columns)

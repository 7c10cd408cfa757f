"""After training: the test images translated and scored, and the report. Composes what training itself must not know."""

from __future__ import annotations

from pathlib import Path

from diptych.cli.console import bar, console, notes
from diptych.data.folders import Split, find_data
from diptych.errors import DataError
from diptych.evaluation.evaluate import score_pairs, test_sheet
from diptych.evaluation.report import write_report
from diptych.files import write_atomic
from diptych.inference.translator import Translator
from diptych.recipe import Recipe
from diptych.run import read_census, write_json
from diptych.snapshot import Snapshot


def finish(folder: Path, *, device: str = "auto", truth: bool = False) -> None:
    """Score a finished run on its test split where it has one of pairs, draw the contact sheets, write the report, say where all is.

    ``truth`` pairs the test images by name although the method trained without pairs, as for the embedded data.
    """
    recipe = Recipe.load(folder / "recipe.json")
    layout = find_data(recipe.data.source, paired=recipe.method.paired or truth)
    if layout.test:
        _test(folder, recipe, layout.test.swapped() if recipe.data.direction == "b2a" else layout.test, device)
    report = write_report(folder)
    console.print(f"snapshot  {folder / 'snapshot.safetensors'}\nreport    {report}", markup=False, soft_wrap=True)


def _test(folder: Path, recipe: Recipe, test: Split, device: str) -> None:
    census, snapshot = read_census(folder), Snapshot.load(folder / "snapshot.safetensors")
    metrics = {}
    for direction in snapshot.generators:
        translator = Translator(snapshot, direction, device=device)
        split = test if direction == "a2b" else test.swapped()
        targets = census.split.b if direction == "a2b" else census.split.a
        write_atomic(folder / f"test-{direction}.png", test_sheet(translator.tensors, translator.source, translator.target, recipe.data, split))
        if not split.paired:
            continue
        with bar("images") as progress:
            task = progress.add_task(f"scoring {direction}", total=len(split.a), note="")
            pairs = list(zip(split.a, split.b, strict=True))
            domains = (translator.source, translator.target)
            scores = score_pairs(translator.tensors, *domains, recipe.data, pairs, targets, lambda done, total: progress.update(task, completed=done))
        metrics.update(scores if direction == "a2b" else {"b2a": scores})
        for name in ("model", "copy", "mean"):
            if scores[name]:
                console.print(f"{direction} {name:<6} PSNR {scores[name]['psnr']:5.2f} dB   SSIM {scores[name]['ssim']:.3f}   ({scores['n']} test images)")
    if metrics:
        write_json(folder / "metrics.json", metrics)

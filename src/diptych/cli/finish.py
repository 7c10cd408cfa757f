"""After training: the test images translated and scored, and the report. Composes what training itself must not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diptych.cli.console import bar, console, notes
from diptych.data.census import Census, take_census
from diptych.data.folders import Split, find_data
from diptych.errors import DataError
from diptych.evaluation.evaluate import score_pairs, sheet_of
from diptych.evaluation.report import write_report
from diptych.files import write_atomic
from diptych.inference.translator import Translator
from diptych.recipe import Recipe
from diptych.run import read_census, write_json
from diptych.snapshot import Snapshot


def finish(folder: Path, *, device: str = "auto", truth: bool = False) -> None:
    """Score a finished run on its test pairs where it has some, draw contact sheets, write the report, say where all is.

    ``truth`` pairs the test images by name although the method trained without pairs, as for the embedded data.
    """
    recipe = Recipe.load(folder / "recipe.json")
    test = _readable_test(recipe, truth)
    if test:
        census, snapshot = read_census(folder), Snapshot.load(folder / "snapshot.safetensors")
        translators = {direction: Translator(snapshot, direction, device=device) for direction in snapshot.generators}
        scores = {direction: _test(folder, recipe, test, census, translators[direction], direction) for direction in translators}
        if test.paired:
            write_json(folder / "metrics.json", scores["a2b"] | ({"b2a": scores["b2a"]} if "b2a" in scores else {}))
    report = write_report(folder)
    console.print(f"snapshot  {folder / 'snapshot.safetensors'}\nreport    {report}", markup=False, soft_wrap=True)


def _readable_test(recipe: Recipe, truth: bool) -> Split | None:
    """The test split without what cannot be read, which is said; None where there is none, or most of it is unusable."""
    layout = find_data(recipe.data.source, paired=recipe.method.paired or truth)
    if layout.test is None:
        return None
    try:
        census = take_census(layout.test)
    except DataError as error:
        notes.print(f"warning: test images are not scored: {error}", soft_wrap=True)
        return None
    for skipped in census.skipped:
        notes.print(f"warning: not scored: {skipped}", soft_wrap=True)
    return census.split.swapped() if recipe.data.direction == "b2a" else census.split


def _test(folder: Path, recipe: Recipe, test: Split, census: Census, translate: Translator, direction: str) -> dict[str, Any]:
    """Draw one direction's contact sheet, and score it against the truth if there is one."""
    split, targets = (test, census.split.b) if direction == "a2b" else (test.swapped(), census.split.a)
    sheet = sheet_of(translate.tensors, translate.source, translate.target, recipe.data, split)
    write_atomic(folder / f"test-{direction}.png", sheet)
    if not split.paired:
        return {}
    pairs = list(zip(split.a, split.b, strict=True))
    with bar("images") as progress:
        task = progress.add_task(f"scoring {direction}", total=len(pairs), note="")

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done)

        scores = score_pairs(translate.tensors, translate.source, translate.target, recipe.data, pairs, targets, watch)
    for name in ("model", "copy", "mean"):
        if scores[name]:
            line = f"{direction} {name:<6} PSNR {scores[name]['psnr']:5.2f} dB   SSIM {scores[name]['ssim']:.3f}"
            console.print(f"{line}   ({scores['n']} test images)")
    return scores

"""After training: the test images translated and scored, and the report. Composes what training itself must not know."""

from __future__ import annotations

from pathlib import Path

from diptych.cli.cases import batch_for
from diptych.cli.console import bar, console, notes
from diptych.cli.tables import watcher
from diptych.data.census import take_census
from diptych.data.folders import Split, find_data
from diptych.device import pick_device
from diptych.errors import DataError
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.examples import sheet_of
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.results import METRICS, Evaluation
from diptych.evaluation.tables import number
from diptych.files import sha256_of, write_atomic
from diptych.inference.translator import Translator
from diptych.pages.evaluation import write_evaluation
from diptych.pages.report import write_report
from diptych.recipe import Recipe
from diptych.run import read_census
from diptych.snapshot import Snapshot
from diptych.training.signals import noticed

# What takes seconds for a hundred images; `diptych evaluate` gives the rest.
PAIRED = ("psnr", "ssim", "ms_ssim", "l1", "lpips_alex", "cycle")
UNPAIRED = ("kid", "cycle")


def finish(folder: Path, *, device: str = "auto", truth: bool = False, test: bool = True) -> None:
    """Score a finished run on its test images where it has some, draw contact sheets, write the report, say where all is.

    ``test=False`` leaves the test images alone. ``truth`` pairs them by name although the method trained without pairs, as for
    the embedded data. Test images that cannot be scored are said, and the report is written without scores.
    """
    recipe = Recipe.load(folder / "recipe.json")
    device = str(pick_device(device))
    found = _readable_test(recipe, truth) if test else None
    if found:
        try:
            _test(folder, recipe, *found, device)
        except DataError as error:
            notes.print(f"warning: test images are not scored: {error}", soft_wrap=True)
    report = write_report(folder)
    console.print(f"snapshot  {folder / 'snapshot.safetensors'}\nreport    {report}", markup=False, soft_wrap=True)


def _readable_test(recipe: Recipe, truth: bool) -> tuple[Split, list[str], str] | None:
    """The test split without what cannot be read, what that is, and where it lies; None where there is none of use."""
    layout = find_data(recipe.data.source, paired=recipe.method.paired or truth)
    if layout.test is None:
        return None
    try:
        census = take_census(layout.test)
    except DataError as error:
        notes.print(f"warning: test images are not scored: {error}", soft_wrap=True)
        return None
    skipped = [str(item) for item in census.skipped]
    for item in skipped:
        notes.print(f"warning: not scored: {item}", soft_wrap=True)
    split = census.split.swapped() if recipe.data.direction == "b2a" else census.split
    return split, skipped, layout.description


def _test(folder: Path, recipe: Recipe, test: Split, skipped: list[str], description: str, device: str) -> None:
    """Draw contact sheets, evaluate, and write what was found."""
    path = folder / "snapshot.safetensors"
    census, snapshot = read_census(folder), Snapshot.load(path)
    translators = {direction: Translator(snapshot, direction, device=device) for direction in snapshot.generators}
    for direction, translator in translators.items():
        split = test if direction == "a2b" else test.swapped()
        sheet = sheet_of(translator.tensors, translator.source, translator.target, recipe.data, split)
        write_atomic(folder / f"test-{direction}.png", sheet)
    about = {
        "title": f"{recipe.method.name} on {' and '.join(Path(source).name for source in recipe.data.source)}",
        "sentence": f"{test} of the test split, after training.",
        "snapshot": {"file": str(path), "sha256": sha256_of(path), "images": snapshot.about.get("images")},
        "data": description,
        "skipped": skipped,
    }
    with noticed() as interrupts, bar("images") as progress:
        evaluation = evaluate(
            {direction: translator.tensors for direction, translator in translators.items()},
            test,
            snapshot.a,
            snapshot.b,
            recipe.data,
            tools=Instruments(device=device, fetch=False),
            train=census.split,
            applied={"mode": snapshot.mode, "seed": 0, "precision": "fp32"},
            batch_size=batch_for(snapshot, device),
            about=about,
            watch=watcher(progress, interrupts)("scoring"),
            offered=PAIRED if test.paired else UNPAIRED,
        )
    write_evaluation(evaluation, folder)
    for line in lines(evaluation):
        console.print(line, soft_wrap=True)


def lines(evaluation: Evaluation) -> list[str]:
    """The numbers in a line for each of model, copy and mean, and direction."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in evaluation.results:
        kind = METRICS[result.metric]
        text = f"{kind.title} {number(result.metric, result.estimate.value)}{' dB' if kind.unit == 'dB' else ''}"
        found.setdefault((result.direction, result.of), []).append(text)
    order = ("model", "truth", "copy", "mean")
    counts = {direction: f"{len(rows):,} test images" for direction, rows in evaluation.images.items()}
    return [
        f"{direction} {of:<6} {'   '.join(texts)}   ({counts[direction]})"
        for (direction, of), texts in sorted(found.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
    ]

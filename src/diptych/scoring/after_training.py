"""The test images of a run, translated and scored at the end of its training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from diptych.data.folders import find_data
from diptych.device import pick_device
from diptych.errors import DataError
from diptych.evaluation.examples import sheet_of
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.results import Evaluation
from diptych.evaluation.seen import HELD_OUT, SeenBefore
from diptych.files import write_atomic
from diptych.pages.evaluation import write_evaluation
from diptych.recipe import Recipe
from diptych.run import read_census
from diptych.scoring.real_images import data_name, find_real_images, readable
from diptych.scoring.snapshots import Loaded, about_snapshot
from diptych.scoring.task import Task
from diptych.snapshot import Snapshot

log = logging.getLogger(__name__)

# Metrics that take seconds for a hundred images; diptych.evaluate computes the others.
QUICK_PAIRED = ("psnr", "ssim", "ms_ssim", "l1", "lpips_alex", "cycle")
QUICK_UNPAIRED = ("kid", "cycle")


def score_test_images(
    folder: Path,
    *,
    device: str = "auto",
    paired: bool | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation | None:
    """Score a run on its test images with quick metrics, and write contact sheets and the evaluation into its folder.

    ``paired`` True takes test images of equal names as pairs although the method trained without pairs. ``watch`` gets (done,
    total) images. Returns None where there are no test images, and where they must not or cannot be scored; the log says why.
    """
    recipe = Recipe.load(folder / "recipe.json")
    try:
        real = find_real_images(recipe, paired=paired)
        if real is None:
            show_one_side(folder, recipe, device)
            return None
        path = folder / "snapshot.safetensors"
        device = str(pick_device(device))
        loaded = Loaded.on(Snapshot.load(path), device)
        census = readable(real.split, fitting=recipe.data.fit, labels=(loaded.snapshot.a, loaded.snapshot.b))
        for direction, translator in loaded.translators.items():
            split = census.split if direction == "a2b" else census.split.swapped()
            sheet = sheet_of(translator.tensors, translator.source, translator.target, recipe.data, split)
            write_atomic(folder / f"test-{direction}.png", sheet)
        about = {
            "title": f"{recipe.method.name} on {data_name(recipe.data.source)}",
            "sentence": f"{census.split} of the test split, after training.",
            "snapshot": about_snapshot(path, loaded.snapshot),
            "data": real.description,
            "skipped": [str(item) for item in census.skipped],
        }
        trained = read_census(folder)
        subjects = loaded.subjects(census.split, recipe.data, trained.split)
        seen = [SeenBefore(trained.split, "trained on"), SeenBefore(trained.val, HELD_OUT)]
        task = Task(subjects, "test", about, seen, loaded.applied, loaded.batch_size)
        offered = QUICK_PAIRED if census.split.paired else QUICK_UNPAIRED
        evaluation = task.score(None, Instruments(device=device, fetch=False), offered=offered, watch=watch)
    except DataError as error:
        log.warning("test images are not scored: %s", error)
        return None
    write_evaluation(evaluation, folder)
    return evaluation


def show_one_side(folder: Path, recipe: Recipe, device: str) -> None:
    """Draw the translations of test images that only one side has, which cannot be scored; the log says so."""
    alone = find_data(recipe.data.source, paired=recipe.method.paired, layout=recipe.data.layout, axis=recipe.data.axis).alone
    if alone is None:
        return
    split = recipe.data.oriented(alone)
    direction = "a2b" if split.a else "b2a"
    loaded = Loaded.on(Snapshot.load(folder / "snapshot.safetensors"), str(pick_device(device)))
    if direction not in loaded.translators:
        log.warning("the test images are of side B alone, which this method does not translate; they are left alone")
        return
    translator = loaded.translators[direction]
    census_split = split if direction == "a2b" else split.swapped()
    sheet = sheet_of(translator.tensors, translator.source, translator.target, recipe.data, census_split)
    write_atomic(folder / f"test-{direction}.png", sheet)
    side = direction[0].upper()
    log.warning("only side %s has test images: test-%s.png shows their translations; scores need both sides", side, direction)

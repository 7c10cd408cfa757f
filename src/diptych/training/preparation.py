"""What happens before the first step: the images are read and the networks are built."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch

from diptych.data.alignment import registered
from diptych.data.census import Census, take_census
from diptych.data.checkup import quick_check
from diptych.data.datasets import known_pairs
from diptych.data.folders import Layout
from diptych.data.holdout import MIN_HELD_OUT, hold_out
from diptych.data.instances import without_maps
from diptych.data.labels import label_domains, label_remarks
from diptych.data.passed_over import passed_over
from diptych.data.ranges import parse_range
from diptych.errors import ConfigError
from diptych.methods import Method
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training.distributed import World, broadcast, on_first
from diptych.training.following import follows
from diptych.training.progress import Progress, Watch
from diptych.training.records.best import refuse_test
from diptych.training.same_data import find_again, keep_prints, same_images
from diptych.training.signals import BEFORE_STEPS, Interrupts
from diptych.training.start import begin, freeze, with_hashes

log = logging.getLogger(__name__)


def read_data(recipe: Recipe, run: Run | None, world: World, strict: bool, interrupts: Interrupts, watch: Watch) -> Census:
    """The census of the training and validation images; the first process takes it once and keeps it in the run folder.

    An error in the first process, and a signal to it, is raised in all of them.
    """

    def read() -> Census:
        with interrupts.at_once(BEFORE_STEPS):
            return first_census(recipe, run, strict, watch)

    return broadcast(on_first(read, world), world)


def first_census(recipe: Recipe, run: Run | None, strict: bool, watch: Watch) -> Census:
    """The census that the run folder keeps, or else a new one, whose findings are logged."""
    assert run is not None, "only the first process takes the census, and it has the run folder"
    kept = run.census()
    layout = without_maps(find_again(recipe, kept), recipe.data.instances)
    log.info("data: %s", layout.description)
    if kept is not None:
        return same_images(run, kept, layout, recipe, strict)

    check_objects(recipe)

    def counted(done: int, total: int) -> None:
        watch(Progress("reading images", done, total))

    train = recipe.data.oriented(layout.train)
    if recipe.data.pairs and not train.paired:
        known_pairs(train)  # refuses names without pairs before any image is read
    labels = label_domains(train, recipe.data.labels, recipe.data.classes)
    how: dict[str, Any] = {"value_range": parse_range(recipe.data.range), "labels": labels, "fitting": recipe.data.fit}
    whole = take_census(train, strict=strict, on_progress=counted, reading=recipe.data.reading, **how)
    whole, moved = registered(whole, recipe.data.max_shift)
    if recipe.data.max_shift:
        log.info("%s pairs were shifted (data.max_shift), and are cut to what both of their images show", f"{moved:,}")
    census = with_validation(whole, layout, recipe)
    run.keep_census(census)
    keep_prints(run, layout, recipe)
    log.info("images: a %s, b %s", census.a, census.b)
    if others := passed_over(recipe.data.source, layout.films):
        log.warning("passed over, as they are no images that can be read: %s", others)
    pictures = [(name, refs) for name, refs, domain in zip("ab", (train.a, train.b), labels, strict=True) if not domain]
    for remark in (*census.remarks(), *label_remarks(pictures)):
        log.warning("%s", remark)
    for finding in quick_check({"train": census.split, "val": census.val, "test": layout.test}):
        log.warning("%s", finding)
    return census


def check_objects(recipe: Recipe) -> None:
    """Raise ConfigError where the networks are to see the objects of label maps, and A holds pictures.

    Runs of earlier versions, which saw regions of equal pixels there, may go on.
    """
    if getattr(recipe.method, "instances", False) and recipe.data.labels not in ("a", "both"):
        raise ConfigError(
            "method.instances true looks for the objects of A's label maps, and A holds pictures; set data.labels a, or "
            "method.instances false"
        )


def check_start(recipe: Recipe, census: Census) -> None:
    """Raise what a training of these images would before its first step: for weights that it begins with, and what it freezes.

    The log says which weights fit.
    """
    if recipe.start.files or recipe.start.freeze:
        method = build_method(recipe, census, World())
        begin(method, with_hashes(recipe), World())
        freeze(method, recipe.start.freeze)


def with_validation(census: Census, layout: Layout, recipe: Recipe) -> Census:
    """Add a validation split to a census: the usable images of the val folder, or else images held out from training."""
    if layout.val is None:
        in_blocks = bool(follows(recipe) or layout.films)
        train, held_out = hold_out(census.split, recipe.data, recipe.train.seed, blocks=in_blocks)
        if held_out is not None and in_blocks:
            log.info("frames are held out by films, or by blocks of consecutive ones, since a frame is much like its neighbours")
        if held_out is None and recipe.data.holdout:
            log.info(
                "no images are held out for validation: data.holdout %g of %s (A) and %s (B) images gives fewer than %s a side; "
                "add a val folder, or more images, or raise it to at most 0.5",
                recipe.data.holdout,
                f"{len(train.a):,}",
                f"{len(train.b):,}",
                MIN_HELD_OUT,
            )
        return replace(census, split=train, val=held_out)
    refuse_test(layout.val, layout.test)
    found = take_census(recipe.data.oriented(layout.val), like=census, fitting=recipe.data.fit)
    for skipped in found.skipped:
        log.warning("skipped: %s", skipped)
    return replace(census, val=registered(found, recipe.data.max_shift)[0].split)


def build_method(recipe: Recipe, census: Census, world: World) -> Method:
    """Build the recipe's method with the same initial weights in all processes, and then seed each process differently.

    Raises ConfigError when the batch cannot be divided equally over the processes and their parts.
    """
    torch.manual_seed(recipe.train.seed)
    portions = world.size * recipe.train.accumulate
    if recipe.train.batch_size % portions:
        parts = f" in {recipe.train.accumulate} parts each (train.accumulate)" if recipe.train.accumulate > 1 else ""
        raise ConfigError(
            f"train.batch_size {recipe.train.batch_size} is shared by {world.size} processes{parts}; "
            f"make it a multiple of {portions}"
        )
    method = recipe.build(census.a, census.b)
    if (census.a.masked or census.b.masked) and not method.masks and world.rank == 0:
        log.warning(
            "pixels without data count in the losses of %s, as the lowest value; the methods of diptych leave them out",
            recipe.method.name,
        )
    torch.manual_seed(recipe.train.seed + world.rank)
    return method

"""The training: one visible loop, one step. Everything else in this folder serves it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from diptych.choices import Compile, OnNaN
from diptych.data.cache import Cache, kept
from diptych.data.census import Census, take_census
from diptych.data.checkup import quick_check
from diptych.data.datasets import Crops
from diptych.data.folders import Layout, Split, find_data
from diptych.data.holdout import hold_out
from diptych.data.ranges import parse_range
from diptych.data.stream import NativeBatch, batches
from diptych.device import pick_device, pick_precision, repeatable_kernels, workers_for
from diptych.errors import ConfigError, Interrupted, TrainingError
from diptych.files import write_atomic
from diptych.methods import Batch, Method
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training.distributed import World, broadcast, highest_flag, join_processes, once_per_machine
from diptych.training.execution.compiling import wants_compiling
from diptych.training.execution.cuda_graph import GraphedStep
from diptych.training.execution.out_of_memory import explain_out_of_memory, step_within_memory
from diptych.training.execution.speedup import Speedup
from diptych.training.health.doctor import Doctor
from diptych.training.health.nonfinite import NonFinite
from diptych.training.records.best import Validation, refuse_test
from diptych.training.records.observer import Observer, snapshot_of
from diptych.training.records.preview import Preview
from diptych.training.signals import Interrupts, catch_interrupts
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
ADVICE = "look for flat images, lower train.lr, or set train.precision fp32"
MAX_SKIPPED_IN_A_ROW = 10  # updates in a row that may be left out before training stops all the same


@dataclass(frozen=True)
class Progress:
    """How far a long task is, for whoever watches: ``losses`` only while training."""

    task: str
    done: int
    total: int
    epoch: int = 0
    images_s: float = 0.0
    losses: Mapping[str, float] | None = None


Watch = Callable[[Progress], None]


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    cache: Cache = "auto",
    compile: Compile = "auto",
    graph: bool = True,
    strict: bool = False,
    log_every: int = 50,
    save_every: float = 300.0,
    num_previews: int = 20,
    validation: Validation | None = None,
    num_validations: int = 20,
    on_nan: OnNaN = "stop",
    auto_batch: bool = False,
    watch: Watch = lambda progress: None,
) -> Path:
    """Train a recipe in a run folder, or go on where an interrupted run of the same recipe stopped; returns the snapshot's path.

    log_every counts steps, save_every seconds. ``workers`` processes read images (default: by device); ``cache`` is where images
    stay once decoded (see diptych.data.cache). ``compile`` generates kernels for the networks (diptych.training.execution.compiling);
    ``graph`` records the step as a CUDA graph where one process trains on CUDA. ``strict`` refuses
    any unreadable image. ``validation`` scores snapshots on held-out images ``num_validations`` times and keeps the best one as
    ``snapshot-best.safetensors``. ``on_nan`` says what follows an update that is not finite, which never reaches the weights:
    stop; skip it; or rollback to the newest saved state and go on with the next batch. Where memory runs out, ``auto_batch``
    goes on with the batch in more parts.

    Raises DataError, ConfigError, LockedError, StorageError, TrainingError; Interrupted after a signal, when all is saved.
    """
    chosen = pick_device(device)
    recipe = recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, chosen)})
    with ExitStack() as stack:
        stack.enter_context(explain_out_of_memory(recipe, chosen))
        stack.enter_context(repeatable_kernels())
        interrupts = stack.enter_context(catch_interrupts())
        world = stack.enter_context(join_processes(chosen))
        run = stack.enter_context(Run.open(Path(out), recipe)) if world.first else None
        census, shown = read_data(recipe, run, world, strict, interrupts, watch)
        config, batch_size = recipe.train, recipe.train.batch_size
        crops = Crops(census, recipe.data, config.seed)
        total = math.ceil((config.epochs + config.decay_epochs) * len(crops) / batch_size)  # steps
        method = build_method(recipe, census, world)
        trainee = Trainee(method, recipe, chosen, world, compiled=wants_compiling(compile, chosen, checkpoint=config.checkpoint))
        resume(trainee, run)
        recorded = graph and chosen.type == "cuda" and world.size == 1
        take_step = GraphedStep(trainee) if recorded else partial(train_step, trainee)
        speedup: Speedup | None = None
        preview = Preview(shown, census, recipe.data)
        preview_steps = {1, *evenly_spaced(num_previews, total)} if num_previews and run else set()
        doctor, validation_steps = Doctor(method, recipe, census, chosen), evenly_spaced(num_validations, total)
        observer = Observer(recipe, census, run, validation if census.val else None, validation_steps, doctor, interrupts)
        place = {"rank": world.rank, "world": world.size, "workers": workers_for(chosen) if workers is None else workers}

        def decoded(done: int, images: int) -> None:
            watch(Progress("decoding images", done, images))

        cache = cache if trainee.images < total * batch_size else "off"
        once = partial(once_per_machine, world=world)
        crops = stack.enter_context(kept(crops, cache, Path(out), chosen, once=once, on_progress=decoded))
        saved = timed = time.monotonic()
        timed_images = trainee.images

        def observe(step: int) -> None:
            """Losses, health and validation of a step as one line, unless a run that stopped world has written it already."""
            nonlocal timed, timed_images
            scores = observer.scores(trainee, step)
            losses = trainee.stats.read(world)
            now = time.monotonic()
            speed, timed, timed_images = (trainee.images - timed_images) / (now - timed), now, trainee.images
            before = trainee.images - batch_size
            epoch, lr = before // len(crops), config.lr_at(before / len(crops))
            position = {"step": step, "images": trainee.images, "epoch": epoch + 1, "lr": lr}
            pace = {"images_s": round(speed, 3)} | (speedup.of(speed) if speedup else {})
            observer.write(trainee, position | {"losses": losses} | pace | scores)
            watch(Progress("training", step, total, epoch + 1, speed, losses))

        def due(step: int) -> bool:
            return step % log_every == 0 or step == total or observer.due(step)

        step = trainee.images // batch_size
        if due(step) and not broadcast(observer.has_line(step), world):
            observe(step)
        for native in batches(crops, trainee.images, total * batch_size, batch_size, pin=chosen.type == "cuda", **place):
            trainee.set_lr(config.lr_at(trainee.images / len(crops)))
            batch = to_device(native, census, chosen)
            if world.size > 1 and speedup is None:
                speedup = Speedup(trainee, recipe, batch)
                timed = time.monotonic()
            step_within_memory(take_step, batch, trainee, recipe, auto_batch)
            trainee.images += batch_size
            step = trainee.images // batch_size
            for problem in native.problems:
                log.warning("skipped: %s", problem)
            while trouble := trainee.guard.read(step, native.files, wait=due(step)):
                recover(trainee, run, trouble, on_nan)
            if run and preview.a and step in preview_steps:
                picture = preview.draw(trainee.translators(), recipe.method.mode)
                write_atomic(run.folder / f"preview-{trainee.images:09d}.png", picture)
                watch(Progress("preview", step, total))
            if due(step):
                with suppress(Interrupted):  # it stops below, saved, and observes this step when it goes on
                    observe(step)

            wanted = world.first and (step == total or time.monotonic() - saved >= save_every)
            asked = highest_flag(max(int(wanted), interrupts.signum), world, chosen)
            if asked:
                check_weights(trainee, step)
                save(trainee, run, recipe, census, step)
                saved = time.monotonic()
            if asked > 1 and step < total:
                raise Interrupted(f"stopped at step {step:,} of {total:,} and saved; run the same command to go on", asked)
    return Path(out) / "snapshot.safetensors"


def evenly_spaced(count: int, total: int) -> set[int]:
    """``count`` steps evenly_spaced spread over a training of ``total``, the last among them."""
    return {round(total * (place + 1) / count) for place in range(count)} - {0}


def read_data(
    recipe: Recipe, run: Run | None, world: World, strict: bool, interrupts: Interrupts, watch: Watch
) -> tuple[Census, Split]:
    """The census of the training images, taken once and kept in the run folder, and the split that previews show.

    That is the validation's, or else the training's.
    """
    layout = find_data(recipe.data.source, paired=recipe.method.paired)
    census = run.census() if run else None

    def counted(done: int, total: int) -> None:
        watch(Progress("reading images", done, total))
        if interrupts.signum:
            raise Interrupted("stopped before training began; run the same command to begin", interrupts.signum)

    if run and census is None:
        train = recipe.data.oriented(layout.train)
        whole = take_census(train, strict=strict, value_range=parse_range(recipe.data.range), on_progress=counted)
        census = with_validation(whole, layout, recipe)
        run.keep_census(census)
        if layout.unused:
            log.warning("not used, as it is not part of the layout: %s", layout.leftovers)
        for remark in census.remarks():
            log.warning("%s", remark)
        for finding in quick_check({"train": census.split, "val": census.val, "test": layout.test}):
            log.warning("%s", finding)
    census = broadcast(census, world)
    return census, census.val or census.split


def with_validation(census: Census, layout: Layout, recipe: Recipe) -> Census:
    """The census with a validation split: the val folder's usable images, or some set aside from training."""
    if layout.val is None:
        train, held_out = hold_out(census.split, recipe.data, recipe.train.seed)
        return replace(census, split=train, val=held_out)
    refuse_test(layout.val, layout.test)
    found = take_census(recipe.data.oriented(layout.val), like=census)
    for skipped in found.skipped:
        log.warning("skipped: %s", skipped)
    return replace(census, val=found.split)


def build_method(recipe: Recipe, census: Census, world: World) -> Method:
    """The recipe's method, initialised from its seed alike in all processes; from then on each process draws its own chances."""
    torch.manual_seed(recipe.train.seed)
    portions = world.size * recipe.train.accumulate
    if recipe.train.batch_size % portions:
        parts = f" in {recipe.train.accumulate} parts each (train.accumulate)" if recipe.train.accumulate > 1 else ""
        raise ConfigError(
            f"train.batch_size {recipe.train.batch_size} is shared by {world.size} processes{parts}; "
            f"make it a multiple of {portions}"
        )
    method = recipe.build(census.a, census.b)
    torch.manual_seed(recipe.train.seed + world.rank)
    return method


def resume(trainee: Trainee, run: Run | None) -> None:
    """Take up the newest whole state of the run, if there is one."""
    state, problems = run.load_state() if run else (None, [])
    for problem in problems:
        log.warning("%s; using the state before it", problem)
    state = broadcast(state, trainee.world)
    if state is not None:
        trainee.restore(state)
        log.info("resumed at %s images", f"{trainee.images:,}")
    if run:
        run.rewind_stats(state["step"] if state else 0)


def save(trainee: Trainee, run: Run | None, recipe: Recipe, census: Census, step: int) -> None:
    """Write the training state and the snapshot; collective over all processes."""
    state = trainee.state()
    if run is None:
        return
    snapshot_of(trainee, recipe, census, "the last of the training").save(run.snapshot)
    run.save_state(step, state)  # last: a run whose final state is there has its snapshot too


def recover(trainee: Trainee, run: Run | None, trouble: NonFinite, on_nan: OnNaN) -> None:
    """Go on after an update that was left out, or raise TrainingError; alike in all processes."""
    if on_nan == "stop":
        raise TrainingError(f"{trouble}; this update was left out and the state before it is kept; {ADVICE}, or --on-nan skip")
    if trainee.guard.in_a_row > MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(f"{trouble}; so did {MAX_SKIPPED_IN_A_ROW} steps in a row before it; {ADVICE}")
    trainee.stats.clear()
    if on_nan == "skip" and all(bool(buffer.isfinite().all()) for buffer in trainee.method.buffers()):
        log.warning("%s; this update was left out", trouble)
        return
    state = broadcast(run.load_state()[0] if run else None, trainee.world)
    if state is None:
        raise TrainingError(f"{trouble}; no state was saved yet to go back to; {ADVICE}")
    images = trainee.images
    trainee.restore(state)
    log.warning("%s; went back to the weights of %s images and on with the next batch", trouble, f"{trainee.images:,}")
    trainee.images = images


def to_device(native: NativeBatch, census: Census, device: torch.device) -> Batch:
    """Native pixels travel to the device as they are and become [-1, 1] there."""
    a, b = native.a.to(device, non_blocking=True), native.b.to(device, non_blocking=True)
    known = None if native.known is None else native.known.to(device, non_blocking=True)
    return Batch(census.a.encode(a), census.b.encode(b), known)


def check_weights(trainee: Trainee, step: int) -> None:
    """Never save what cannot go on. Raises TrainingError when a weight is NaN or infinite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in trainee.method.parameters()):
        raise TrainingError(f"step {step}: weights became NaN or infinite; the state before it is kept; {ADVICE}")

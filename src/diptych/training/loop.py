"""The training: one visible loop, one step. Everything else in this folder serves it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops
from diptych.data.folders import Split, find_data
from diptych.data.formats import show
from diptych.data.holdout import hold_out
from diptych.data.stream import NativeBatch, batches
from diptych.device import pick_device, pick_precision, workers_for
from diptych.errors import ConfigError, Interrupted, TrainingError
from diptych.files import write_atomic
from diptych.methods import Batch, Method
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training.distributed import World, any_of, average_gradients, share, world
from diptych.training.preview import Preview
from diptych.training.signals import Interrupts, noticed
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
CURES = "look for flat images, lower train.lr, or set train.precision fp32"


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


def train_step(trainee: Trainee, batch: Batch) -> None:
    """One update of every phase. Nothing in here waits for the device."""
    phases = trainee.method.losses(batch)
    while True:
        with torch.autocast(trainee.device.type, torch.bfloat16, enabled=trainee.bf16):
            phase, terms = next(phases, (None, {}))
        if phase is None:
            break
        optimizer = trainee.optimizers[phase]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        average_gradients((p for group in optimizer.param_groups for p in group["params"]), trainee.world)
        optimizer.step()
        trainee.stats.add(phase, terms)
    if trainee.ema:
        trainee.ema.update(nn.ModuleDict(trainee.method.generators()))
    trainee.stats.steps += 1


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    strict: bool = False,
    log_every: int = 50,
    save_every: float = 300.0,
    num_previews: int = 20,
    watch: Watch = lambda progress: None,
) -> Path:
    """Train a recipe in a run folder, or go on where an interrupted run of the same recipe stopped; returns the snapshot's path.

    log_every counts steps, save_every seconds. ``workers`` processes read images (default: by device). ``strict`` refuses any
    unreadable image. Raises DataError, ConfigError, LockedError, StorageError, TrainingError; Interrupted after a signal,
    when all is saved.
    """
    chosen = pick_device(device)
    recipe = recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, chosen)})
    with ExitStack() as stack:
        interrupts = stack.enter_context(noticed())
        here = stack.enter_context(world(chosen))
        run = stack.enter_context(Run.open(Path(out), recipe)) if here.first else None
        census, shown = read_data(recipe, run, here, strict, interrupts, watch)
        method = build_method(recipe, census, here)
        trainee = Trainee(method, recipe, chosen, here)
        resume(trainee, run)

        config, batch_size = recipe.train, recipe.train.batch_size
        crops = Crops(census, recipe.data, config.seed)
        total = math.ceil((config.epochs + config.decay_epochs) * len(crops) / batch_size)  # steps
        preview = Preview(shown, census, recipe.data)
        preview_steps = {1, *(round(total * (i + 1) / num_previews) for i in range(num_previews))} if num_previews else set()
        place = {"rank": here.rank, "world": here.size, "workers": workers_for(chosen) if workers is None else workers}
        saved = timed = time.monotonic()
        timed_images = trainee.images

        for native in batches(crops, trainee.images, total * batch_size, batch_size, pin=chosen.type == "cuda", **place):
            epoch = trainee.images // len(crops)
            trainee.set_lr(config.lr_at(epoch))
            train_step(trainee, to_device(native, census, chosen))
            trainee.images += batch_size
            step = trainee.images // batch_size

            if step % log_every == 0 or step == total:
                losses = trainee.stats.read(here)
                check_finite(losses, step, native)
                now = time.monotonic()
                speed, timed, timed_images = (trainee.images - timed_images) / (now - timed), now, trainee.images
                if run:
                    position = {"step": step, "images": trainee.images, "epoch": epoch + 1, "lr": config.lr_at(epoch)}
                    run.add_stats(position | {"losses": losses, "images_s": round(speed, 3)})
                    watch(Progress("training", step, total, epoch + 1, speed, losses))
            if run and preview.a and step in preview_steps:
                picture = preview.draw(trainee.translators(), recipe.method.mode)
                write_atomic(run.folder / f"preview-{trainee.images:09d}.png", picture)
                watch(Progress("preview", step, total))
            for problem in native.problems:
                log.warning("skipped: %s", problem)

            due = here.first and (step == total or time.monotonic() - saved >= save_every)
            asked = any_of(max(int(due), interrupts.signum), here, chosen)
            if asked:
                check_weights(trainee, step)
                save(trainee, run, recipe, census, step)
                saved = time.monotonic()
            if asked > 1 and step < total:
                raise Interrupted(f"stopped at step {step:,} of {total:,} and saved; run the same command to go on", asked)
    return Path(out) / "snapshot.safetensors"


def read_data(
    recipe: Recipe, run: Run | None, here: World, strict: bool, interrupts: Interrupts, watch: Watch
) -> tuple[Census, Split]:
    """The census of the training images, taken once and kept in the run folder, and the split that previews show.

    That is the validation's, or else the training's.
    """
    layout = find_data(recipe.data.source, paired=recipe.method.paired)
    swap = recipe.data.direction == "b2a"
    census = run.census() if run else None

    def counted(done: int, total: int) -> None:
        watch(Progress("reading images", done, total))
        if interrupts.signum:
            raise Interrupted("stopped before training began; run the same command to begin", interrupts.signum)

    if run and census is None:
        train = layout.train.swapped() if swap else layout.train
        census = with_validation(take_census(train, strict=strict, on_progress=counted), layout.val, recipe)
        run.keep_census(census)
        for skipped in census.skipped:
            log.warning("skipped: %s", skipped)
        for path in census.flat:
            log.warning("%s: one flat colour, which InstanceNorm amplifies; consider removing it", show(path))
    census = share(census, here)
    return census, census.val or census.split


def with_validation(census: Census, val: Split | None, recipe: Recipe) -> Census:
    """The census with a validation split: the val folder's usable images, or some set aside from training."""
    if val is None:
        train, held_out = hold_out(census.split, recipe.data.holdout, recipe.train.seed)
        return replace(census, split=train, val=held_out)
    found = take_census(val)
    for skipped in found.skipped:
        log.warning("skipped: %s", skipped)
    return replace(census, val=found.split.swapped() if recipe.data.direction == "b2a" else found.split)


def build_method(recipe: Recipe, census: Census, here: World) -> Method:
    """The recipe's method, initialised from its seed alike in all processes; from then on each process draws its own chances."""
    torch.manual_seed(recipe.train.seed)
    if recipe.train.batch_size % here.size:
        raise ConfigError(
            f"train.batch_size {recipe.train.batch_size} is shared by {here.size} processes; make it a multiple of {here.size}"
        )
    method = recipe.method.build(census.a, census.b, recipe.data.crop_size)
    torch.manual_seed(recipe.train.seed + here.rank)
    return method


def resume(trainee: Trainee, run: Run | None) -> None:
    """Take up the newest whole state of the run, if there is one."""
    state, problems = run.load_state() if run else (None, [])
    for problem in problems:
        log.warning("%s; using the state before it", problem)
    state = share(state, trainee.world)
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
    size = 0 if recipe.data.resize == "none" else recipe.data.crop_size
    about = {"recipe": recipe.to_dict(), "images": trainee.images}
    Snapshot(trainee.translators(), census.a, census.b, size, recipe.method.mode, about).save(run.snapshot)
    run.save_state(step, state)  # last: a run whose final state is there has its snapshot too


def to_device(native: NativeBatch, census: Census, device: torch.device) -> Batch:
    """Native pixels travel to the device as they are and become [-1, 1] there."""
    a, b = native.a.to(device, non_blocking=True), native.b.to(device, non_blocking=True)
    return Batch(census.a.encode(a), census.b.encode(b))


def check_weights(trainee: Trainee, step: int) -> None:
    """Never save what cannot go on. Raises TrainingError when a weight is NaN or infinite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in trainee.method.parameters()):
        raise TrainingError(f"step {step}: weights became NaN or infinite; the state before it is kept; {CURES}")


def check_finite(losses: Mapping[str, float], step: int, native: NativeBatch) -> None:
    """Stop before a broken network is saved. Raises TrainingError naming the terms and the files of the batch."""
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        files = ", ".join(" + ".join(pair) for pair in native.files)
        raise TrainingError(
            f"step {step}: {', '.join(broken)} became NaN or infinite, last batch {files}; the state before it is kept; {CURES}"
        )

"""The training loop: one visible function. Everything else in this folder serves it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diptych.choices import Compile, LoggerName, OnNaN, OnSaveError
from diptych.data.cache import Cache, kept
from diptych.data.census import Census
from diptych.data.datasets import Crops
from diptych.data.stream import NativeBatch, batches
from diptych.device import pick_device, pick_precision, repeatable_kernels, workers_for
from diptych.errors import DataError, Interrupted
from diptych.files import write_atomic
from diptych.methods import Batch
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training.distributed import broadcast, highest_flag, join_processes, on_first, once_per_machine
from diptych.training.execution.compiling import wants_compiling
from diptych.training.execution.cuda_graph import GraphedStep
from diptych.training.execution.out_of_memory import explain_out_of_memory, step_within_memory
from diptych.training.following import encode_frames, follow_frames
from diptych.training.going_on import go_on
from diptych.training.job import Job, Schedule, evenly_spaced
from diptych.training.lost_images import LostImages, saved_when_lost
from diptych.training.masking import encoded
from diptych.training.preparation import build_method, read_data
from diptych.training.progress import Progress, Watch
from diptych.training.records.best import Validation
from diptych.training.records.loggers import open_loggers
from diptych.training.records.observer import Observer, snapshot_of
from diptych.training.records.preview import Preview
from diptych.training.signals import BEFORE_STEPS, catch_interrupts
from diptych.training.start import begin, freeze, with_hashes
from diptych.training.states import recover, resume, save
from diptych.training.step import train_step
from diptych.training.storage import tolerated
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)


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
    patience: int = 0,
    keep_every: int = 0,
    loggers: Sequence[LoggerName] = (),
    on_nan: OnNaN = "stop",
    on_save_error: OnSaveError = "stop",
    auto_batch: bool = False,
    watch: Watch = lambda progress: None,
) -> Path:
    """Train a recipe in a run folder, or resume an interrupted run of the same recipe; return the path of its snapshot.

    recipe: what is trained, on which data, and for how long.
    out: the run folder; it is made if it is not there.
    device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    workers: the number of processes that read images; None chooses by device.
    cache: where decoded images are kept (see diptych.data.cache).
    compile: whether kernels are generated for the networks (see diptych.training.execution.compiling).
    graph: whether the step is replayed as a CUDA graph, where a single process trains on CUDA.
    strict: refuse the data when any image cannot be read, instead of leaving that image out.
    log_every: the number of steps between two lines of statistics.
    save_every: the number of seconds between two saved states.
    num_previews: how many contact sheets are drawn over the whole training.
    validation: how snapshots are scored on held-out images; the best one is kept as ``snapshot-best.safetensors``.
    num_validations: how many times that is done over the whole training.
    patience: end the training when so many validations in a row brought no better score; 0: never.
    keep_every: keep a snapshot after every so many epochs, as ``snapshot-epoch-0010.safetensors``; 0: only the last and best.
    loggers: where statistics and previews are shown besides the run folder (see diptych.training.records.loggers).
    on_nan: what follows an update that is NaN or infinite, which never reaches the weights: ``stop``; ``skip`` it; or
        ``rollback`` to the newest saved state and go on with the next batch.
    on_save_error: what follows when the disk refuses a file: ``stop``; or ``warn`` and go on, until the last step is saved.
    auto_batch: where memory runs out, go on with each batch in more parts.
    watch: is called with the progress.

    Raises DataError, ConfigError, LockedError, StorageError and TrainingError; Interrupted after a signal, once all is saved.
    """
    chosen = pick_device(device)
    recipe = with_hashes(recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, chosen)}), Path(out))
    with ExitStack() as stack:
        # Prepare the process: explain errors, choose repeatable kernels, catch signals, join other processes.
        stack.enter_context(explain_out_of_memory(recipe, chosen))
        stack.enter_context(repeatable_kernels())
        interrupts = stack.enter_context(catch_interrupts())
        world = stack.enter_context(join_processes(chosen))
        before_steps = stack.enter_context(ExitStack())
        if world.size == 1:  # several processes stop together, or would wait for the one that ended
            before_steps.enter_context(interrupts.at_once(BEFORE_STEPS))

        # Open the run folder and read the data.
        run = on_first(lambda: stack.enter_context(Run.open(Path(out), recipe)), world)
        census = read_data(recipe, run, world, strict, interrupts, watch)
        job = Job(recipe, census, chosen, world, run)
        crops = Crops(census, recipe.data, recipe.train.seed)
        schedule, batch_size = Schedule(recipe.train, len(crops)), recipe.train.batch_size

        # Build the networks, with the weights that the recipe starts with, and resume where the run stopped.
        method = build_method(recipe, census, world)
        begun = broadcast(bool(run and run.states()), world)
        before = None if begun else begin(method, recipe, world)
        freeze(method, recipe.start.freeze)
        masked = census.a.masked or census.b.masked  # whose hooks change from step to step
        compiled = not masked and wants_compiling(compile, chosen, checkpoint=recipe.train.checkpoint)
        trainee = Trainee(method, recipe, chosen, world, compiled=compiled)
        if before is not None:
            go_on(trainee, before)
        resume(trainee, run, schedule.images)

        # Decode the images into the cache, unless the training is over already.
        def decoded(done: int, images: int) -> None:
            watch(Progress("decoding images", done, images))

        cache = cache if trainee.images < schedule.images else "off"
        once = partial(once_per_machine, world=world)
        crops = stack.enter_context(kept(crops, cache, Path(out), chosen, once=once, on_progress=decoded))

        # Find the next frames of the images where a temporal loss compares with them.
        if trainee.images < schedule.images:
            crops = crops.beside(follow_frames(crops, recipe, world, interrupts, watch))
        varied = masked or any(
            side is not None for side in crops.next_frames
        )  # batches that are more than tensors at fixed addresses
        graphed = graph and chosen.type == "cuda" and world.size == 1 and not varied
        take_step = GraphedStep(trainee) if graphed else partial(train_step, trainee)

        # Decide what is drawn and written down, and at which steps.
        preview = Preview(census.val or census.split, census, recipe.data)
        preview_steps = {1, *evenly_spaced(num_previews, schedule.steps)} if num_previews and run and preview.a else set()
        shown = open_loggers(loggers, run.folder, recipe.to_dict()) if run else []
        for logger in shown:
            stack.callback(logger.close)
        observer = Observer(
            job,
            trainee,
            schedule,
            interrupts,
            validation=validation,
            num_validations=num_validations,
            on_save_error=on_save_error,
            log_every=log_every,
            patience=patience,
            loggers=shown,
            watch=watch,
        )
        kept_steps = schedule.steps_of_epochs(keep_every)
        if keep_every and run and not kept_steps:
            log.warning("no snapshot is kept every %d epochs, as the training has fewer epochs", keep_every)

        # Write the line of statistics that is missing if this run was stopped while it validated.
        step, saved = trainee.images // batch_size, time.monotonic()
        if observer.due(step) and not broadcast(observer.has_line(step), world):
            observer.observe(step)
        if broadcast(observer.exhausted, world):
            if run:
                log.info("%s; nothing is left to train", observer.why_exhausted)
            return Path(out) / "snapshot.safetensors"

        # Train on every batch that is left.
        lost = LostImages(census)
        observer.tick(step)
        workers = workers_for(chosen) if workers is None else workers
        loading: dict[str, Any] = {"rank": world.rank, "world": world.size, "workers": workers, "pin": chosen.type == "cuda"}
        loaded = stack.enter_context(closing(batches(crops, trainee.images, schedule.images, batch_size, **loading)))
        # Saving takes all processes, and an error of one is not known to the others.
        rescue = None if world.size > 1 else lambda: save(trainee, job, trainee.images // batch_size)
        for native in saved_when_lost(loaded, rescue):
            # Take one step.
            trainee.set_lr(schedule.lr_at(trainee.images), schedule.lr_d_at(trainee.images))
            trainee.set_progress(trainee.images / schedule.images)
            batch = to_device(native, census, chosen)
            observer.measure_speedup(batch)
            step_within_memory(take_step, batch, trainee, auto=auto_batch)
            before_steps.close()
            trainee.images += batch_size
            step = trainee.images // batch_size

            # Report images that could not be read, and answer updates that were NaN or infinite.
            lost.note(native.problems)
            while trouble := trainee.guard.read(step, native.files, wait=observer.due(step)):
                recover(trainee, run, trouble, on_nan)

            # Draw a preview and write a line of statistics where they are due.
            observer.tick(step)
            if run and step in preview_steps:
                run.refuse_removed()
                picture = preview.draw(trainee.translators(), recipe.method.mode)
                with tolerated(on_save_error):
                    write_atomic(run.folder / f"preview-{trainee.images:09d}.png", picture)
                for logger in shown:
                    logger.picture(step, picture)
                watch(Progress("preview", step, schedule.steps))
            if observer.due(step):
                with suppress(Interrupted):  # the training stops below, saved, and writes this line when it is resumed
                    observer.observe(step)

            if run and step in kept_steps:
                selection = f"after epoch {kept_steps[step]}"
                with tolerated(on_save_error):
                    snapshot_of(trainee, job, selection).save(run.snapshot_of_epoch(kept_steps[step]))

            # Save now and then, after the last step, and when a signal asked any process to stop; all processes do so together.
            wanted = world.first and (step == schedule.steps or time.monotonic() - saved >= save_every)
            stop = interrupts.signum and interrupts.signum + 1  # above 1, which asks for a save alone: SIGHUP is 1
            asked = highest_flag(max(int(wanted), stop), world, chosen)
            if asked:
                while trouble := trainee.guard.read(step, native.files, wait=True):
                    recover(trainee, run, trouble, on_nan)
                last = asked > 1 or step == schedule.steps  # nothing comes after it that could be saved instead
                save(trainee, job, step, "stop" if last else on_save_error)
                saved = time.monotonic()
            if observer.due(step) and highest_flag(int(lost.too_many), world, chosen):
                save(trainee, job, step)
                raise DataError(str(lost))
            if observer.due(step) and highest_flag(int(observer.exhausted), world, chosen):
                save(trainee, job, step)
                if run:
                    log.info("%s; the training ends here", observer.why_exhausted)
                break
            if asked > 1 and step < schedule.steps:
                stopped = f"stopped at step {step:,} of {schedule.steps:,} and saved; run the same command to go on"
                raise Interrupted(stopped, asked - 1)
    return Path(out) / "snapshot.safetensors"


def to_device(native: NativeBatch, census: Census, device: torch.device) -> Batch:
    """Move native pixels to the device as they are and scale them to [-1, 1] there."""
    a, b = native.a.to(device, non_blocking=True), native.b.to(device, non_blocking=True)
    known = None if native.known is None else native.known.to(device, non_blocking=True)
    batch = encoded(a, b, census, known)
    if native.next_a is None and native.next_b is None:
        return batch
    following = (encode_frames(*side, device) for side in ((native.next_a, census.a), (native.next_b, census.b)))
    return Batch(*batch[:4], *following)

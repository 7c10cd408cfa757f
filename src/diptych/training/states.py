"""Training states: saved while the training runs, and loaded to resume it or to roll it back."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

from diptych.choices import OnNaN, OnSaveError
from diptych.errors import SnapshotError, TrainingError
from diptych.messages import show
from diptych.run import Run
from diptych.training.distributed import World, broadcast, highest_flag, on_first
from diptych.training.health.nonfinite import NonFinite
from diptych.training.job import Job
from diptych.training.records.observer import snapshot_of
from diptych.training.state_files import read_state
from diptych.training.storage import tolerated
from diptych.training.trainee import Trainee
from diptych.trees import Tree

log = logging.getLogger(__name__)
ADVICE = "look for flat images, lower train.lr, or set train.precision fp32"
MAX_SKIPPED_IN_A_ROW = 10  # so many updates in a row may be left out before the training stops anyway


def resume(trainee: Trainee, run: Run | None, images: int) -> None:
    """Restore the newest undamaged state of the run, if there is one; all processes must call this together.

    ``images`` is the number of images of the whole training, by which a run that is finished is told.
    """
    state, problems = newest_state(run, trainee.world)
    for problem in problems if run else ():
        log.warning("%s; using the state before it", problem)
    if state is not None:
        if state["images"] > images or state["images"] // trainee.recipe.train.batch_size != state["step"]:
            raise SnapshotError(
                f"the newest training state says that it saw {state['images']:,} images by step {state['step']:,}, which no "
                "state of this recipe does; remove it to go on from the one before it"
            )
        trainee.restore(state)
        if trainee.images >= images:
            where = show(run.folder) if run else "RUN"
            advice = "more epochs: `diptych train --from %s --more-epochs N`"
            log.info(f"finished already, at %s images; nothing is left to train; {advice}", f"{trainee.images:,}", where)
        else:
            log.info("resumed at %s images", f"{trainee.images:,}")
    if run:
        run.rewind_stats(state["step"] if state else 0)


def save(trainee: Trainee, job: Job, step: int, on_save_error: OnSaveError = "stop") -> None:
    """Write the training state and the snapshot; all processes must call this together.

    Raises TrainingError instead when a weight or a buffer is NaN or infinite in any process: such a training cannot go on.
    """
    check_finite(trainee, step)
    state = trainee.state()
    if job.run is None:
        return
    job.run.refuse_removed()
    with tolerated(on_save_error):
        snapshot_of(trainee, job, "the last of the training").save(job.run.snapshot)
        job.run.save_state(step, state)  # comes last, so that a run with its final state has its snapshot too


def recover(trainee: Trainee, run: Run | None, trouble: NonFinite, on_nan: OnNaN) -> None:
    """Go on after an update that was left out, as ``on_nan`` asks, or raise TrainingError; all processes must call this together.

    ``stop`` raises. ``skip`` goes on, unless a buffer such as a BatchNorm statistic is no longer finite: that is undone as by
    ``rollback``, which restores the newest saved state and goes on with the next batch.
    """
    if on_nan == "stop":
        raise TrainingError(f"{trouble}; this update was left out and the state before it is kept; {ADVICE}, or --on-nan skip")
    if trainee.guard.in_a_row > MAX_SKIPPED_IN_A_ROW:
        raise TrainingError(f"{trouble}; so did {MAX_SKIPPED_IN_A_ROW} steps in a row before it; {ADVICE}")
    spoilt = highest_flag(int(bool(not_finite(trainee.method.named_buffers()))), trainee.world, trainee.device)
    if on_nan == "skip" and not spoilt:
        trainee.stats.clear()
        log.warning("%s; this update was left out", trouble)
        return
    state, _ = newest_state(run, trainee.world)
    if state is None:
        raise TrainingError(f"{trouble}; no state was saved yet to go back to; {ADVICE}")
    images = trainee.images
    trainee.restore(state)
    trainee.stats.clear()  # the restored sums may have been written in a line already
    log.warning("%s; went back to the weights of %s images and on with the next batch", trouble, f"{trainee.images:,}")
    trainee.images = images


def newest_state(run: Run | None, world: World) -> tuple[Tree | None, list[str]]:
    """The newest undamaged state, or None, and what is wrong with newer ones; the first process reads it for all."""
    return broadcast(on_first(lambda: run.load_state(read_state) if run else (None, []), world), world)


def check_finite(trainee: Trainee, step: int) -> None:
    """Raise TrainingError when a weight or a buffer, such as a BatchNorm statistic, is NaN or infinite in any process."""
    names = not_finite([*trainee.method.named_parameters(), *trainee.method.named_buffers()])
    if highest_flag(int(bool(names)), trainee.world, trainee.device):
        what = names[0] if names else "a network of another process"
        raise TrainingError(f"step {step}: {what} became NaN or infinite; the state before it is kept; {ADVICE}")


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of tensors that hold NaN or infinity."""
    flags = {name: value.isfinite().all() for name, value in tensors}
    finite = torch.stack(list(flags.values())).tolist() if flags else []  # this waits for the device once
    return [name for name, fine in zip(flags, finite, strict=True) if not fine]

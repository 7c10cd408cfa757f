"""Training states: saved while the training runs, and loaded to resume it or to roll it back."""

from __future__ import annotations

import logging

import torch

from diptych.choices import OnNaN
from diptych.errors import TrainingError
from diptych.run import Run
from diptych.training.distributed import broadcast
from diptych.training.health.nonfinite import NonFinite
from diptych.training.job import Job
from diptych.training.records.observer import snapshot_of
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
ADVICE = "look for flat images, lower train.lr, or set train.precision fp32"
MAX_SKIPPED_IN_A_ROW = 10  # so many updates in a row may be left out before the training stops anyway


def resume(trainee: Trainee, run: Run | None) -> None:
    """Restore the newest undamaged state of the run, if there is one; all processes must call this together."""
    state, problems = run.load_state() if run else (None, [])
    for problem in problems:
        log.warning("%s; using the state before it", problem)
    state = broadcast(state, trainee.world)
    if state is not None:
        trainee.restore(state)
        log.info("resumed at %s images", f"{trainee.images:,}")
    if run:
        run.rewind_stats(state["step"] if state else 0)


def save(trainee: Trainee, job: Job, step: int) -> None:
    """Write the training state and the snapshot; all processes must call this together.

    Raises TrainingError instead when a weight is NaN or infinite: such a training cannot go on.
    """
    check_weights(trainee, step)
    state = trainee.state()
    if job.run is None:
        return
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


def check_weights(trainee: Trainee, step: int) -> None:
    """Raise TrainingError when a weight is NaN or infinite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in trainee.method.parameters()):
        raise TrainingError(f"step {step}: weights became NaN or infinite; the state before it is kept; {ADVICE}")

"""Running out of memory: how it is recognised and explained, and how ``--auto-batch`` goes on with smaller parts."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from diptych.errors import OutOfMemory, out_of_memory
from diptych.memory import in_words, peak_memory
from diptych.methods import Batch
from diptych.recipe import Recipe
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)


@contextmanager
def explain_out_of_memory(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """Raise OutOfMemory when memory runs out in this block but outside of a step, as when a state is saved."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not out_of_memory(error):
            raise
        sizes, peak = f"crop {recipe.data.crop_size}, batch {recipe.train.batch_size}", in_words(peak_memory(device))
        raise OutOfMemory(
            f"out of memory at {sizes}, outside of the steps, after a peak of {peak} ({_short(error)}); states "
            "saved before are kept; end other programs, or try smaller networks (--method.ngf, --method.generator); "
            "`diptych plan` tells what fits"
        ) from error


def step_within_memory(step: Callable[[Batch], None], batch: Batch, trainee: Trainee, *, auto: bool = False) -> None:
    """Take a training step. When memory runs out, raise OutOfMemory, or with ``auto`` compute batches in more parts from now on.

    More parts do not change the result, except that BatchNorm's statistics are those of a part. Phases that were updated before
    memory ran out are updated again: their networks see this one batch twice. With several processes ``auto`` has no effect,
    since the others would wait for this one.
    """
    while (problem := _attempt(step, batch)) is not None:
        _release(trainee)
        size, parts = len(batch.a), trainee.parts
        more = next((n for n in range(2 * parts, size + 1) if size % n == 0), size)
        if not auto or more == parts or trainee.world.size > 1:
            raise OutOfMemory(out_of_memory_message(problem, trainee, more, auto))
        trainee.parts = more
        log.warning("image %s: out of memory (%s); batches are now computed in %d parts", f"{trainee.images:,}", problem, more)


def out_of_memory_message(problem: str, trainee: Trainee, more: int, auto: bool) -> str:
    """The message of OutOfMemory: sizes, peak memory, and what to change; ``more`` is the next larger number of parts."""
    recipe, config, parts = trainee.recipe, trainee.recipe.train, trainee.parts
    batch = f"batch {config.batch_size}" + (f" in {parts} parts" if parts > 1 else "")
    where = f"image {trainee.images:,}: out of memory at crop {recipe.data.crop_size}, {batch}"
    ways = [] if more == parts else [f"--train.accumulate {more}" if auto or trainee.world.size > 1 else "--auto-batch"]
    ways += [] if config.checkpoint else ["--train.checkpoint true"]
    ways += ["a smaller --train.batch_size" if config.batch_size > trainee.world.size else "smaller networks"]
    ways += ["a smaller --data.crop_size"]
    return (
        f"{where}, after a peak of {in_words(peak_memory(trainee.device))} ({problem}); the state before it is kept; "
        f"try {', or '.join(ways)}; `diptych plan` tells what fits"
    )


def _attempt(step: Callable[[Batch], None], batch: Batch) -> str | None:
    """Take a step; return why memory ran out, or None.

    The exception holds all tensors of the step, so it must not leave this function.
    """
    try:
        step(batch)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return _short(error)
    return None


def _short(error: Exception) -> str:
    """The message of a library in one line of bounded length."""
    words = re.sub(r"^\[enforce fail [^]]*\] err == 0\. ", "", " ".join(str(error).split())) or type(error).__name__
    return words if len(words) <= 120 else f"{words[:120]} ..."


def _release(trainee: Trainee) -> None:
    """Free what the failed step held, and forget the losses since the last line, which would count some phases twice."""
    for optimizer in trainee.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    trainee.stats.clear()
    gc.collect()
    if trainee.device.type == "cuda":
        torch.cuda.empty_cache()
    elif trainee.device.type == "mps":
        torch.mps.empty_cache()

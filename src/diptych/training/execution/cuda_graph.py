"""A training step recorded once as a CUDA graph and replayed, so that the host launches one thing a step instead of thousands.

Everything that a step changes lives on the device at fixed addresses (weights, moments, learning rate, image pools, random
state, statistics), so that a replay is a step.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch

from diptych.errors import OutOfMemory, TrainingError
from diptych.methods import Batch
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
Replay = Callable[[], None]
NUM_WARM_UP_STEPS = 3  # steps that run without recording, so that every buffer exists and every kernel is chosen
ADVICE = "train with --no-graph, which is slower for small batches"


def record(step: Callable[[], None]) -> Replay:
    """Record what a function launches on the current CUDA device, without running it; return a function that runs it.

    Raises TrainingError at the first replay that does not run what was recorded, which happens when the kernels went to another
    device than the recording.
    """
    replays = torch.zeros((), dtype=torch.long, device="cuda")
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as the one that pins memory for the loader, may use CUDA meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
        replays.add_(1)
    checked = False

    def replay() -> None:
        nonlocal checked
        graph.replay()
        if not checked and int(replays) != 1:
            raise TrainingError(f"the recorded step ran {int(replays)} times when it was replayed once; {ADVICE}")
        checked = True

    return replay


class GraphedStep:
    """train_step for batches of one shape: the first few steps run as they are, all others are replays of one recording.

    The step is recorded anew when the trainee's state was restored or its batch is split otherwise. A step that waits for the
    device cannot be recorded, which is logged; it then runs as it is. Raises TrainingError when recording fails.
    """

    def __init__(self, trainee: Trainee, record: Callable[[Callable[[], None]], Replay] = record) -> None:
        self.trainee, self.record = trainee, record
        self.replay: Replay | None = None
        self.done = 0
        self.waits = False
        self.made_for = self._state()

    def __call__(self, batch: Batch) -> None:
        """Update every phase once, as train_step does."""
        if self.made_for != self._state():
            self.replay, self.done, self.made_for = None, 0, self._state()
        if self.replay is None and self.done == NUM_WARM_UP_STEPS and not self.waits:
            self._record(batch)
        if self.replay is None:
            self.done += 1
            self._step_unrecorded(batch)
            return
        for kept, new in zip(self.batch, batch, strict=True):
            if kept is not None and new is not None:
                kept.copy_(new)
        self.replay()
        self.trainee.stats.steps += 1
        self.trainee.guard.add_flags(self.question)

    def _step_unrecorded(self, batch: Batch) -> None:
        """The last step before recording is watched for operations that wait for the device."""
        if self.done != NUM_WARM_UP_STEPS or self.trainee.device.type != "cuda":
            train_step(self.trainee, batch)
            return
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                train_step(self.trainee, batch)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        self.waits = any("synchronizing CUDA operation" in str(warning.message) for warning in caught)
        if self.waits:
            log.warning("this method's step waits for the device, so it is not recorded as a CUDA graph; training is slower")

    def _record(self, batch: Batch) -> None:
        """Recording runs train_step's Python once; what it counts there is not yet a step and is taken back."""
        trainee = self.trainee
        self.batch = Batch(batch.a.clone(), batch.b.clone(), None if batch.known is None else batch.known.clone())
        steps, unread = trainee.stats.steps, trainee.guard.take_flags()
        try:
            self.replay = self.record(lambda: train_step(trainee, self.batch))
        except (torch.OutOfMemoryError, OutOfMemory):
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"the step cannot be recorded as a CUDA graph ({reason}); {ADVICE}") from error
        trainee.stats.steps = steps
        self.question = trainee.guard.take_flags()
        trainee.guard.add_flags(unread)

    def _state(self) -> tuple[int, int]:
        return self.trainee.restored, self.trainee.parts

"""A training step recorded once as a CUDA graph and then replayed: one launch per step instead of thousands.

A replay is a step because everything that a step changes lives on the device at fixed addresses: weights, moments, learning
rate, image pools, random state and summed losses.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch

from diptych.errors import OutOfMemory, TrainingError
from diptych.methods import Batch
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
Replay = Callable[[], None]
NUM_WARM_UP_STEPS = 3  # steps run without a graph first, so that every buffer exists and every kernel is chosen
ADVICE = "train with --no-graph, which is slower for small batches"


def record(step: Callable[[], None]) -> Replay:
    """Record what a function launches on the current CUDA device, without running it; return a function that runs it.

    Its first call raises TrainingError when the replay did not run what was recorded, which happens when the kernels went to
    another device than the recording.
    """
    replays = torch.zeros((), dtype=torch.long, device="cuda")
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as the loader's thread that pins memory, may use CUDA at the same time.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
        replays.add_(1)
    checked = False

    def replay() -> None:
        nonlocal checked
        graph.replay()
        if not checked and int(replays) != 1:
            raise TrainingError(f"the CUDA graph of the step ran {int(replays)} times when it was replayed once; {ADVICE}")
        checked = True

    return replay


class _Kind:
    """Steps that compute the same, and their graph once it is recorded, with the batch and the flags that it works on."""

    def __init__(self) -> None:
        self.replay: Replay | None = None
        self.num_warmed_up = 0
        self.batch: Batch | None = None
        self.flags: Any = None


class GraphedStep:
    """train_step for batches of one shape: after a few ordinary steps, every step replays one CUDA graph.

    Steps that have rarer parts, such as a lazy penalty, are recorded as a graph of their own. Graphs are recorded again after
    a state was restored, or when a batch is divided into another number of parts. A step that
    waits for the device cannot be recorded: this is logged, and the steps go on without a graph. Raises TrainingError when
    recording fails.
    """

    def __init__(self, trainee: Trainee, record: Callable[[Callable[[], None]], Replay] = record) -> None:
        self.trainee, self.record = trainee, record
        self.kinds: dict[Hashable, _Kind] = {}
        self.waits = False
        self.recorded_for = self._state()

    @property
    def replay(self) -> Replay | None:
        """What replays the steps of the present kind, once it is recorded."""
        return self._kind().replay

    def __call__(self, batch: Batch) -> None:
        """Update the networks of every phase once, as train_step does."""
        if self.recorded_for != self._state():
            self.kinds, self.recorded_for = {}, self._state()
        kind = self._kind()
        if kind.replay is None and kind.num_warmed_up == NUM_WARM_UP_STEPS and not self.waits:
            self._record(kind, batch)
        if kind.replay is None or kind.batch is None:
            kind.num_warmed_up += 1
            self._step_without_graph(kind, batch)
            return
        for recorded, new in zip(kind.batch, batch, strict=True):
            if isinstance(recorded, torch.Tensor) and isinstance(new, torch.Tensor):  # batches with next frames are not recorded
                recorded.copy_(new)
        kind.replay()
        self.trainee.stats.steps += 1
        self.trainee.guard.add_flags(kind.flags)

    def _kind(self) -> _Kind:
        return self.kinds.setdefault(self.trainee.begin_step().kind(self.trainee.method.turns), _Kind())

    def _step_without_graph(self, kind: _Kind, batch: Batch) -> None:
        """Run train_step; in the last step before recording, find out whether anything waits for the device."""
        if kind.num_warmed_up != NUM_WARM_UP_STEPS or self.trainee.device.type != "cuda":
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
            log.warning(
                "a step of this method waits for the device, so it cannot be recorded as a CUDA graph; training is slower"
            )

    def _record(self, kind: _Kind, batch: Batch) -> None:
        """Record train_step. Its Python code runs once without computing, so what it counted is undone."""
        trainee = self.trainee
        kind.batch = recorded = Batch(batch.a.clone(), batch.b.clone(), None if batch.known is None else batch.known.clone())
        steps, unread = trainee.stats.steps, trainee.guard.take_flags()
        try:
            kind.replay = self.record(lambda: train_step(trainee, recorded))
        except (torch.OutOfMemoryError, OutOfMemory):
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"the step cannot be recorded as a CUDA graph ({reason}); {ADVICE}") from error
        trainee.stats.steps = steps
        kind.flags = trainee.guard.take_flags()
        trainee.guard.add_flags(unread)

    def _state(self) -> tuple[int, int]:
        """What changes when a graph must be recorded again."""
        return self.trainee.restored, self.trainee.parts

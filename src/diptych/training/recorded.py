"""A training step recorded once as a CUDA graph and replayed: the host then launches one thing a step instead of thousands.

Everything that a step changes lives on the device at addresses that stay (weights, moments, learning rate, image pools, random
state, statistics), so a replay is a step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from diptych.methods import Batch
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
Replay = Callable[[], None]
FIRST = 3  # steps that are run as they are, so that every buffer exists and every kernel is chosen


def record(step: Callable[[], None]) -> Replay:
    """Record what a function launches on the current CUDA device, without running it; returns what runs it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class RecordedStep:
    """train_step for batches of one shape: the first few as they are, the rest as replays of one recording.

    Recorded anew when the trainee's state was restored or its batch is split otherwise. Where a step cannot be recorded, that
    is said and steps are run as they are.
    """

    def __init__(self, trainee: Trainee, record: Callable[[Callable[[], None]], Replay] = record) -> None:
        self.trainee, self.record = trainee, record
        self.replay: Replay | None = None
        self.done = 0
        self.made_for = self._state()

    def __call__(self, batch: Batch) -> None:
        """One update of every phase, as train_step."""
        if self.made_for != self._state():
            self.replay, self.done, self.made_for = None, 0, self._state()
        if self.replay is None and self.done == FIRST:
            self._record(batch)
        if self.replay is None:
            self.done += 1
            train_step(self.trainee, batch)
            return
        for kept, new in zip(self.batch, batch, strict=True):
            if kept is not None and new is not None:
                kept.copy_(new)
        self.replay()
        self.trainee.stats.steps += 1
        self.trainee.guard.ask_again(self.question)

    def _record(self, batch: Batch) -> None:
        """Recording runs train_step's Python once; what it counts there is no step yet and is taken back."""
        trainee = self.trainee
        self.batch = Batch(batch.a.clone(), batch.b.clone(), None if batch.known is None else batch.known.clone())
        steps, unread = trainee.stats.steps, trainee.guard.take_back()
        try:
            self.replay = self.record(lambda: train_step(trainee, self.batch))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            log.warning("a step cannot be recorded as a CUDA graph (%s); each is launched as it is, which is slower", reason)
        trainee.stats.steps = steps
        self.question = trainee.guard.take_back()
        trainee.guard.ask_again(unread)

    def _state(self) -> tuple[int, int]:
        return self.trainee.restored, self.trainee.parts

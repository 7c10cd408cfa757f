"""Whether several processes pay: their speed beside that of one alone, measured on this machine before training begins."""

from __future__ import annotations

import copy
import logging
import os
import time

import torch

from diptych.methods import Batch
from diptych.recipe import Recipe
from diptych.training.distributed import World, broadcast
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
NUM_TIMED_STEPS = 5  # steps, after one that warms up, of which the fastest counts
WORTHWHILE_SPEEDUP = 1.1  # times one process's speed, below which people should know


class Speedup:
    """Speed-up and efficiency of a training in several processes; says once when more processes do not pay.

    On a CPU the one process has all of the machine's cores, which the others broadcast.
    """

    def __init__(self, trainee: Trainee, recipe: Recipe, batch: Batch) -> None:
        self.world = trainee.world
        alone = single_process_speed(trainee, recipe, batch) if self.world.first else 0.0
        self.alone = broadcast(alone, self.world)
        self.said = False

    def of(self, images_s: float) -> dict[str, float]:
        """``speedup`` over one process and ``efficiency``, that divided by the number of processes, for a line of statistics."""
        speedup = images_s / self.alone
        if not self.said and speedup < WORTHWHILE_SPEEDUP and self.world.first:
            log.warning(
                "%d processes train %.3g images/s and one alone %.3g: more processes do not pay here",
                *(self.world.size, images_s, self.alone),
            )
        self.said = True
        return {"speedup": round(speedup, 3), "efficiency": round(speedup / self.world.size, 3)}


def single_process_speed(trainee: Trainee, recipe: Recipe, batch: Batch) -> float:
    """Images/s of one process on its broadcast of a batch, at best; changes nothing of the trainee or the random state."""
    device, threads = trainee.device, torch.get_num_threads()
    best = float("inf")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        one = Trainee(copy.deepcopy(trainee.method), recipe, device, World())
        try:
            for count in {threads, os.cpu_count() or threads} if device.type == "cpu" else {threads}:
                torch.set_num_threads(count)
                train_step(one, batch)
                one.stats.read(World())  # waits until all is done
                for _ in range(NUM_TIMED_STEPS):
                    began = time.perf_counter()
                    train_step(one, batch)
                    one.stats.read(World())
                    best = min(best, time.perf_counter() - began)
        finally:
            torch.set_num_threads(threads)
    return len(batch.a) / best

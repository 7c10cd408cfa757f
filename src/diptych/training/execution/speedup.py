"""Whether several processes pay: their speed beside that of one alone, measured on this machine before training begins."""

from __future__ import annotations

import copy
import logging
import os
import time

import torch

from diptych.methods import Batch
from diptych.recipe import Recipe
from diptych.training.distributed import World, share
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
TIMED = 5  # steps, after one that warms up, of which the fastest counts
PAYS = 1.1  # times one process's speed, below which people should know


class Scaling:
    """Speed-up and efficiency of a training in several processes; says once when more processes do not pay.

    On a CPU the one process has all of the machine's cores, which the others share.
    """

    def __init__(self, trainee: Trainee, recipe: Recipe, batch: Batch) -> None:
        self.world = trainee.world
        alone = speed_alone(trainee, recipe, batch) if self.world.first else 0.0
        self.alone = share(alone, self.world)
        self.said = False

    def of(self, images_s: float) -> dict[str, float]:
        """``speedup`` over one process and ``efficiency``, that divided by the number of processes, for a line of statistics."""
        speedup = images_s / self.alone
        if not self.said and speedup < PAYS and self.world.first:
            log.warning(
                "%d processes train %.3g images/s and one alone %.3g: more processes do not pay here",
                *(self.world.size, images_s, self.alone),
            )
        self.said = True
        return {"speedup": round(speedup, 3), "efficiency": round(speedup / self.world.size, 3)}


def speed_alone(trainee: Trainee, recipe: Recipe, batch: Batch) -> float:
    """Images/s of one process on its share of a batch, at best; changes nothing of the trainee or the random state."""
    device, threads = trainee.device, torch.get_num_threads()
    best = float("inf")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        one = Trainee(copy.deepcopy(trainee.method), recipe, device, World())
        try:
            for count in {threads, os.cpu_count() or threads} if device.type == "cpu" else {threads}:
                torch.set_num_threads(count)
                train_step(one, batch)
                one.stats.read(World())  # waits until all is done
                for _ in range(TIMED):
                    began = time.perf_counter()
                    train_step(one, batch)
                    one.stats.read(World())
                    best = min(best, time.perf_counter() - began)
        finally:
            torch.set_num_threads(threads)
    return len(batch.a) / best

"""How much faster several processes train than a single one, which is measured before training begins."""

from __future__ import annotations

import copy
import logging
import os
import time

import torch

from diptych.methods import Batch
from diptych.training.distributed import World, broadcast
from diptych.training.random_state import preserved_random_state
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
NUM_TIMED_STEPS = 5  # steps timed after one that warms up; the fastest one counts
WORTHWHILE_SPEEDUP = 1.1  # below this speed-up, people are told that more processes are not worth it


class Speedup:
    """The speed-up and efficiency of a training in several processes; a speed-up that is not worth it is logged once.

    On a CPU, the single process has all the cores that the others share.
    """

    def __init__(self, trainee: Trainee, batch: Batch) -> None:
        self.world = trainee.world
        speed = single_process_speed(trainee, batch) if self.world.first else 0.0
        self.single_process_speed = broadcast(speed, self.world)
        self.reported = False

    def of(self, images_s: float) -> dict[str, float]:
        """``speedup`` over a single process, and ``efficiency``, which is the speed-up divided by the number of processes."""
        speedup = images_s / self.single_process_speed
        if not self.reported and speedup < WORTHWHILE_SPEEDUP and self.world.first:
            log.warning(
                "%d processes train %.3g images/s and a single one %.3g: more processes are not worth it here",
                *(self.world.size, images_s, self.single_process_speed),
            )
        self.reported = True
        return {"speedup": round(speedup, 3), "efficiency": round(speedup / self.world.size, 3)}


def single_process_speed(trainee: Trainee, batch: Batch) -> float:
    """The best images/s of a single process on its share of a batch; the trainee and the random state stay as they are."""
    device, threads = trainee.device, torch.get_num_threads()
    best = float("inf")
    with preserved_random_state(device):
        one = Trainee(copy.deepcopy(trainee.method), trainee.recipe, device, World())
        try:
            for count in {threads, os.cpu_count() or threads} if device.type == "cpu" else {threads}:
                torch.set_num_threads(count)
                train_step(one, batch)
                one.stats.read(World())  # this waits for the device
                for _ in range(NUM_TIMED_STEPS):
                    began = time.perf_counter()
                    train_step(one, batch)
                    one.stats.read(World())
                    best = min(best, time.perf_counter() - began)
        finally:
            torch.set_num_threads(threads)
    return len(batch.a) / best

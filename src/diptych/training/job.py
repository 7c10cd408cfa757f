"""The training in progress as one value, and its schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from diptych.data.census import Census
from diptych.recipe import Recipe, TrainConfig
from diptych.run import Run
from diptych.training.distributed import World


@dataclass(frozen=True)
class Job:
    """What stays fixed while one training runs: what is trained, on which images, where, and into which folder.

    The recipe's precision is resolved, so it is never ``auto``. ``run`` is None in every process but the first, which writes.
    """

    recipe: Recipe
    census: Census
    device: torch.device
    world: World
    run: Run | None


@dataclass(frozen=True)
class Schedule:
    """How long a training takes and how fast it learns, counted in images; an epoch has ``epoch_images`` of them."""

    config: TrainConfig
    epoch_images: int

    @property
    def steps(self) -> int:
        """The number of steps of the whole training."""
        epochs = self.config.epochs + self.config.decay_epochs
        return math.ceil(epochs * self.epoch_images / self.config.batch_size)

    @property
    def images(self) -> int:
        """The number of images of the whole training."""
        return self.steps * self.config.batch_size

    def epoch_at(self, images: int) -> int:
        """The epoch, counted from 0, to which the next image belongs after ``images`` of them."""
        return images // self.epoch_images

    def lr_at(self, images: int) -> float:
        """The learning rate after ``images`` images."""
        return self.config.lr_at(images / self.epoch_images)

    def lr_d_at(self, images: int) -> float:
        """The learning rate of the discriminators after ``images`` images."""
        return self.config.lr_d_at(images / self.epoch_images)

    def steps_of_epochs(self, every: int) -> dict[int, int]:
        """The steps that end every so many epochs, with the number of each of these epochs; none where ``every`` is 0."""
        epochs = range(every, self.config.epochs + self.config.decay_epochs + 1, every) if every else ()
        return {math.ceil(epoch * self.epoch_images / self.config.batch_size): epoch for epoch in epochs}


def evenly_spaced(count: int, total: int) -> set[int]:
    """``count`` steps evenly spread over a training of ``total`` steps, the last step among them."""
    return {round(total * (place + 1) / count) for place in range(count)} - {0}

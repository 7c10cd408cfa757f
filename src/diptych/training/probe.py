"""What a training would be: sizes, and time estimated from a few real steps, before any of it is spent."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from diptych.data.census import take_census
from diptych.data.datasets import Crops
from diptych.data.folders import find_data
from diptych.data.stream import batches
from diptych.device import describe, pick_precision
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.loop import build_method, to_device
from diptych.training.step import train_step
from diptych.training.trainee import Trainee


@dataclass(frozen=True)
class Probe:
    """Parameters by network, counts of the data, and seconds a step."""

    parameters: dict[str, int]
    data: str
    steps: int
    seconds_a_step: float
    device: str

    def text(self) -> str:
        """Comment lines to stand below a recipe in YAML."""
        minutes = self.steps * self.seconds_a_step / 60
        duration = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
        nets = ", ".join(f"{name} {count:,}" for name, count in self.parameters.items())
        lines = [f"data: {self.data}", f"parameters: {nets}", f"device: {self.device}"]
        lines += [f"time: about {duration} ({self.steps:,} steps of {self.seconds_a_step:.3g} s, measured now)"]
        return "".join(f"# {line}\n" for line in lines)


def probe(recipe: Recipe, device: torch.device, num_steps: int = 3) -> Probe:
    """Read the data, build the networks, and time a few steps after one to warm up."""
    recipe = recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, device)})
    layout = find_data(recipe.data.source, paired=recipe.method.paired)
    census = take_census(layout.train.swapped() if recipe.data.direction == "b2a" else layout.train)
    method = build_method(recipe, census, World())
    trainee = Trainee(method, recipe, device, World())
    crops, batch_size = Crops(census, recipe.data, recipe.train.seed), recipe.train.batch_size
    marks = []
    for native in batches(crops, 0, (num_steps + 1) * batch_size, batch_size):
        train_step(trainee, to_device(native, census, device))
        trainee.stats.read(World())  # waits for the device
        marks.append(time.perf_counter())
    steps = math.ceil((recipe.train.epochs + recipe.train.decay_epochs) * len(crops) / batch_size)
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in method.named_children()}
    return Probe(
        {name: count for name, count in counts.items() if count},
        f"{layout.description}; {len(census.split.a)} + {len(census.split.b)} images, a: {census.a}, b: {census.b}",
        steps,
        (marks[-1] - marks[0]) / num_steps,
        describe(device, recipe.train.precision),
    )

"""What a training would need, before any of it is spent: memory, hours, and the largest sizes that fit (`diptych plan`)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from diptych.data.cache import shared_memory
from diptych.data.census import take_census
from diptych.data.datasets import Crops
from diptych.data.folders import Split, find_data
from diptych.data.holdout import hold_out
from diptych.data.slots import Mapped, Slots
from diptych.device import describe, pick_precision, workers_for
from diptych.errors import OutOfMemory
from diptych.memory import available_memory, in_words, resident_memory
from diptych.recipe import Recipe
from diptych.training.planning.footprint import Bench, Footprint
from diptych.training.planning.forecast import Forecast

MARGIN = 0.1  # of the available memory that stays free: for other programs, and for what differs from the forecast
IMAGES_SAMPLED = 100  # images a side that say what the data is like
SECONDS_TIMED = 1.0  # seconds of timed steps of each size
MAX_STEP_SECONDS, MAX_LARGE_STEP_SECONDS = (
    10.0,
    3.0,
)  # seconds that a step to be measured may take: of the recipe's own size, of a larger one

NUM_TASKS = 4  # that a watch hears of where all goes well: the data, and each size
Watch = Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """The needs of a recipe on one device.

    Memory is in bytes. ``images`` are those of an epoch; ``reading`` is the seconds that one process takes for a sample.
    """

    recipe: Recipe
    device: str
    data: str
    images: int
    available: int
    reading: float
    forecast: Forecast
    workers: int
    ways: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """What the training needs at most."""
        return self.forecast.peak(self.recipe.train.batch_size, self.recipe.data.crop_size)

    @property
    def room(self) -> float:
        """What it may need, so that the margin stays free."""
        return self.available * (1 - MARGIN)

    @property
    def fits(self) -> bool:
        """Whether it needs no more than that."""
        return self.peak <= self.room

    @property
    def largest_batch(self) -> int:
        """At the recipe's crop; 0 when not even one image fits."""
        return self.forecast.largest_batch(self.recipe.data.crop_size, self.room)

    @property
    def largest_crop(self) -> int:
        """At the recipe's batch size; 0 when none fits."""
        return self.forecast.largest_crop(self.recipe.train.batch_size, self.room)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        train = self.recipe.train
        return math.ceil((train.epochs + train.decay_epochs) * self.images / train.batch_size)

    @property
    def seconds(self) -> float:
        """Of one step, images read between the steps or, by worker processes, beside them."""
        batch_size = self.recipe.train.batch_size
        step, reading = self.forecast.seconds(batch_size, self.recipe.data.crop_size), batch_size * self.reading
        return max(step, reading / self.workers) if self.workers else step + reading

    def lines(self) -> list[str]:
        """For people."""
        train, crop = self.recipe.train, self.recipe.data.crop_size
        hours = self.steps * self.seconds / 3600
        duration = f"{hours * 60:.3g} minutes" if hours < 2 else f"{hours:.3g} hours"
        counts = ", ".join(f"{name} {count:,}" for name, count in self.forecast.footprints[0].parameters.items())
        speed = (
            f"{self.seconds:.3g} s a step of {train.batch_size} at crop {crop}, {train.batch_size / self.seconds:.3g} images/s"
        )
        length = f"{self.steps:,} steps: {train.epochs + train.decay_epochs} epochs of {self.images:,} images"
        verdict = "it fits" if self.fits else f"it does not fit; try {self.advice()}"
        lines = [f"data: {self.data}", f"parameters: {counts}", f"device: {self.device}"]
        lines += [f"memory: needs {in_words(self.peak)}, {in_words(self.available)} available; {verdict}"]
        lines += [
            f"largest that fits: batch {self.largest_batch} at crop {crop}, crop {self.largest_crop} at batch {train.batch_size}"
        ]
        lines += [f"speed: {speed}"]
        return [*lines, f"time: about {duration} ({length}), without validations and previews"]

    def comments(self) -> str:
        """The same as comments, to stand below a recipe in YAML."""
        return "".join(f"# {line}\n" for line in self.lines())

    def advice(self) -> str:
        """What to change so that the training fits."""
        ways = list(self.ways)
        ways += [f"--train.batch_size {self.largest_batch}"] if 0 < self.largest_batch < self.recipe.train.batch_size else []
        ways += [f"--data.crop_size {self.largest_crop}"] if self.largest_crop else []
        return ", or ".join(ways) or "smaller networks (--method.ngf, --method.generator)"

    def to_dict(self) -> dict[str, Any]:
        """All of it for programs: bytes and seconds."""
        names = ("device", "data", "images", "available", "peak", "fits", "largest_batch", "largest_crop", "steps", "seconds")
        found = {name: getattr(self, name) for name in names}
        measured = [asdict(footprint) for footprint in self.forecast.footprints]
        return found | {"reading": self.reading, "margin": MARGIN, "recipe": self.recipe.to_dict(), "measured": measured}


def plan_training(recipe: Recipe, device: torch.device, watch: Watch = lambda: None) -> Plan:
    """Look at some of the data, and measure a recipe's training steps at two or three sizes; ``watch`` hears of each.

    Raises what reading the data raises; ConfigError when the method cannot be built; OutOfMemory when no size fits at all.
    """
    recipe = recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, device)})
    layout = find_data(recipe.data.source, paired=recipe.method.paired)
    train = recipe.data.oriented(layout.train)
    census = take_census(sampled(train))
    trained = train if layout.val else hold_out(train, recipe.data, recipe.train.seed)[0]
    reading = seconds_to_read(Crops(census, replace(recipe.data, pairs=0.0), recipe.train.seed))  # a sample may hold no pair
    available = memory_for_training(device)
    watch()
    with Bench(recipe, (census.a, census.b), device) as bench:
        forecast = measure_sizes(bench, available, watch)
        fits = forecast.peak(recipe.train.batch_size, recipe.data.crop_size) <= available * (1 - MARGIN)
        ways = () if fits else memory_savings(bench, forecast, available * (1 - MARGIN), watch)
    return Plan(
        recipe,
        describe(device, recipe.train.precision),
        f"{layout.description}; a: {census.a}, b: {census.b}",
        max(len(trained.a), len(trained.b)),
        available,
        reading,
        forecast,
        workers_for(device),
        tuple(ways),
    )


def memory_for_training(device: torch.device) -> int:
    """What a training in this process's place could take: what this one holds is free when it ends."""
    return available_memory(device) + (0 if device.type == "cuda" else resident_memory())


def sampled(split: Split) -> Split:
    """Some of the images, evenly spread; pairs stay pairs."""
    a, b = (tuple(side[:: math.ceil(len(side) / IMAGES_SAMPLED)]) for side in (split.a, split.b))
    return Split(a, b, split.paired)


def seconds_to_read(crops: Crops) -> float:
    """The seconds that a sample takes one process, from the second epoch on: by then images are decoded."""
    slots = Slots.of(crops.census, crops.config)
    with shared_memory(Mapped.size_for(slots)) if slots else nullcontext("") as path:
        decoded = crops.over(Mapped(crops.source, slots, path)) if slots else crops
        count, until = 0, time.perf_counter() + 0.5
        while count < 2 or (count < len(decoded) and time.perf_counter() < until):
            decoded[count]
            count += 1
        began = time.perf_counter()
        for k in range(count):
            decoded[k]
        return (time.perf_counter() - began) / count


def measure_sizes(bench: Bench, available: int, watch: Watch) -> Forecast:
    """One image at the recipe's crop, or the largest below it that can be measured; its batch, or what is allowed of it; more.

    Allowed is what memory and patience suffice for, as far as the sizes before it tell. Raises OutOfMemory when nothing fits.
    """
    batch, crop, parts = bench.recipe.train.batch_size, bench.recipe.data.crop_size, bench.recipe.train.accumulate
    found: list[Footprint] = []

    def take(batch: int, crop: int) -> None:
        size = {"train.batch_size": batch, "data.crop_size": crop, "train.accumulate": math.gcd(batch, parts)}
        footprint = bench.measure(SECONDS_TIMED, **size)
        found.extend([footprint] if footprint else [])
        watch()

    crops = [round(crop * 2 ** (-k / 2)) for k in range(5)]
    while not found and crops:
        take(1, crops.pop(0))
    if not found:
        raise OutOfMemory(
            f"one image at crop {crop // 4} needs more than the {in_words(available)} of memory available; "
            "end other programs, or choose smaller networks (--method.ngf, --method.generator)"
        )
    batches = [batch >> k for k in range(batch.bit_length())]  # the half, the quarter ... of it
    for sizes, patience in ((batches, MAX_STEP_SECONDS), ([4 * batch, 2 * batch], MAX_LARGE_STEP_SECONDS)):
        forecast = Forecast(tuple(found))
        allowed = (
            n for n in sizes if forecast.seconds(n, crop) <= patience and forecast.peak(n, crop) <= available * (1 - MARGIN)
        )
        chosen = next(allowed, 0)
        if forecast.load(chosen, crop) > forecast.largest_load:
            take(chosen, crop)
    return Forecast(tuple(found))


def memory_savings(bench: Bench, forecast: Forecast, room: float, watch: Watch) -> list[str]:
    """Settings that would make a recipe fit which does not: parts of a batch, and recomputed activations, each measured."""
    last = max(forecast.footprints, key=lambda footprint: forecast.load(footprint.batch, footprint.crop))
    batch, crop = bench.recipe.train.batch_size, bench.recipe.data.crop_size
    size = {"train.batch_size": last.batch, "data.crop_size": last.crop}
    whole, ways = forecast.peak(batch, crop), []

    def saved(share: dict[str, Any]) -> float:
        """The peak at the recipe's size, if it falls as at the size measured."""
        footprint = bench.measure(0.0, **(size | share))
        watch()
        grown = last.peak - forecast.fixed
        return (
            whole if footprint is None else forecast.fixed + (whole - forecast.fixed) * (footprint.peak - forecast.fixed) / grown
        )

    if last.batch > 1:
        singly = saved({"train.accumulate": last.batch})
        # Between all at once and one after another, memory falls with the images of a part.
        parts = (n for n in range(2, batch + 1) if batch % n == 0)
        fits = (n for n in parts if singly + (whole - singly) * (batch / n - 1) / (batch - 1) <= room)
        ways += [f"--train.accumulate {n}" for n in [next(fits, 0)] if n]
    if not bench.recipe.train.checkpoint and saved({"train.checkpoint": True, "train.accumulate": 1}) <= room:
        ways.append("--train.checkpoint true")
    return ways

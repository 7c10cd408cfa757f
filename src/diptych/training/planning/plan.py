"""What a training will need, measured before it starts: memory, hours, and the largest sizes that fit (``diptych plan``)."""

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
from diptych.data.labels import label_domains
from diptych.data.slots import Mapped, Slots
from diptych.device import describe, pick_precision, workers_for
from diptych.errors import OutOfMemory
from diptych.memory import available_memory, in_words, resident_memory
from diptych.recipe import Recipe
from diptych.training.following import follows
from diptych.training.job import Schedule
from diptych.training.planning.footprint import Bench, Footprint
from diptych.training.planning.forecast import Forecast
from diptych.training.preparation import check_objects, check_start

MARGIN = 0.1  # this share of the available memory stays free for other programs and for errors of the forecast
IMAGES_SAMPLED = 100  # images per side that are read to learn about the data
SECONDS_TIMED = 1.0  # steps of each size are timed for about so long
MAX_STEP_SECONDS = 10.0  # of a step at the recipe's batch size; slower ones are measured with a part of the batch
MAX_LARGE_STEP_SECONDS = 3.0  # of a step at a larger batch size; slower ones are not measured

NUM_TASKS = 4  # calls of ``watch`` where all goes well: one for the data and one for each size
Watch = Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """What a recipe needs on one device; memory is in bytes.

    device: the device and precision, in words.
    data: the layout and the domains of the images, in words.
    images: the number of images of an epoch.
    available: the memory that the training could take.
    reading: the seconds in which one process reads a sample.
    forecast: the memory and time of steps of any size.
    workers: the number of processes that read images.
    savings: settings with which the training would fit, if it does not.
    """

    recipe: Recipe
    device: str
    data: str
    images: int
    available: int
    reading: float
    forecast: Forecast
    workers: int
    savings: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """The most memory that the training needs."""
        return self.forecast.peak(self.recipe.train.batch_size, self.recipe.data.crop_side)

    @property
    def room(self) -> float:
        """The memory that it may take, so that the margin stays free."""
        return self.available * (1 - MARGIN)

    @property
    def fits(self) -> bool:
        """Whether the training fits into that memory."""
        return self.peak <= self.room

    @property
    def largest_batch(self) -> int:
        """The largest batch that fits at the recipe's crop; 0 when not even one image does."""
        return self.forecast.largest_batch(self.recipe.data.crop_side, self.room)

    @property
    def largest_crop(self) -> int:
        """The largest crop that fits at the recipe's batch size; 0 when none does."""
        return self.forecast.largest_crop(self.recipe.train.batch_size, self.room)

    @property
    def steps(self) -> int:
        """The number of steps of the whole training."""
        return Schedule(self.recipe.train, self.images).steps

    @property
    def seconds(self) -> float:
        """Seconds per step, including image loading unless workers overlap it."""
        batch_size = self.recipe.train.batch_size
        step, reading = self.forecast.seconds(batch_size, self.recipe.data.crop_side), batch_size * self.reading
        return max(step, reading / self.workers) if self.workers else step + reading

    def lines(self) -> list[str]:
        """The plan in words, a line for each subject."""
        train, crop = self.recipe.train, self.recipe.data.crop_size
        epochs = train.epochs + train.decay_epochs
        hours = self.steps * self.seconds / 3600
        minutes = f"{hours * 60:.3g} minutes" if hours >= 1 / 60 else f"{hours * 3600:.2g} seconds"
        duration = f"{hours:.3g} hours" if hours >= 2 else minutes
        counts = ", ".join(f"{name} {count:,}" for name, count in self.forecast.footprints[0].parameters.items())
        speed = (
            f"{self.seconds:.3g} s a step of {train.batch_size} at crop {crop}, {train.batch_size / self.seconds:.3g} images/s"
        )
        length = f"{self.steps:,} steps: {epochs} epoch{'s' if epochs > 1 else ''} of {self.images:,} images"
        verdict = "it fits" if self.fits else f"it does not fit; try {self.advice()}"
        lines = [f"data: {self.data}", f"parameters: {counts}", f"device: {self.device}"]
        lines += [f"memory: needs {in_words(self.peak)}, {in_words(self.available)} available; {verdict}"]
        batch = f"batch {self.largest_batch}" if self.largest_batch else "no batch"
        side = f"crop {self.largest_crop}" if self.largest_crop else "no crop"
        lines += [f"largest that fits: {batch} at crop {crop}, {side} at batch {train.batch_size}"]
        lines += [f"speed: {speed}"]
        return [*lines, f"time: about {duration} ({length}), without validations and previews"]

    def comments(self) -> str:
        """The same lines as comments of YAML, to be appended to a recipe."""
        return "".join(f"# {line}\n" for line in self.lines())

    def advice(self) -> str:
        """What to change so that the training fits."""
        ways = list(self.savings)
        ways += [f"--train.batch_size {self.largest_batch}"] if 0 < self.largest_batch < self.recipe.train.batch_size else []
        ways += [f"--data.crop_size {self.largest_crop}"] if self.largest_crop else []
        return ", or ".join(ways) or "smaller networks (--method.ngf, --method.generator)"

    def to_dict(self) -> dict[str, Any]:
        """The plan for programs, in bytes and seconds."""
        names = ("device", "data", "images", "available", "peak", "fits", "largest_batch", "largest_crop", "steps", "seconds")
        found = {name: getattr(self, name) for name in names}
        measured = [asdict(footprint) for footprint in self.forecast.footprints]
        return found | {"reading": self.reading, "margin": MARGIN, "recipe": self.recipe.to_dict(), "measured": measured}


def plan_training(recipe: Recipe, device: torch.device, watch: Watch = lambda: None) -> Plan:
    """Read some of the data, and measure the recipe's training steps at two or three sizes; ``watch`` is called after each.

    Raises DataError like a training; ConfigError when the method cannot be built; OutOfMemory when no size fits at all.
    """
    recipe = recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, device)})
    layout = find_data(recipe.data.source, paired=recipe.method.paired, layout=recipe.data.layout, axis=recipe.data.axis)
    check_objects(recipe)
    train = recipe.data.oriented(layout.train)
    some, data = sampled(train), recipe.data
    census = take_census(some, labels=label_domains(some, data.labels, data.classes), fitting=data.fit, reading=data.reading)
    check_start(recipe, census)
    trained = (
        train if layout.val else hold_out(train, recipe.data, recipe.train.seed, blocks=bool(follows(recipe) or layout.films))[0]
    )
    reading = seconds_to_read(Crops(census, replace(recipe.data, pairs=0.0), recipe.train.seed))  # a sample may hold no pair
    available = memory_for_training(device)
    watch()
    with Bench(recipe, (census.a, census.b), device) as bench:
        forecast = measure_sizes(bench, available, watch)
        fits = forecast.peak(recipe.train.batch_size, recipe.data.crop_side) <= available * (1 - MARGIN)
        savings = () if fits else memory_savings(bench, forecast, available * (1 - MARGIN), watch)
    return Plan(
        recipe,
        describe(device, recipe.train.precision),
        f"{layout.description}; a: {census.a}, b: {census.b}",
        max(len(trained.a), len(trained.b)),
        available,
        reading,
        forecast,
        workers_for(device),
        tuple(savings),
    )


def memory_for_training(device: torch.device) -> int:
    """The memory that a training could take instead of this process, whose own memory is free when it ends."""
    return available_memory(device) + (0 if device.type == "cuda" else resident_memory())


def sampled(split: Split) -> Split:
    """At most IMAGES_SAMPLED images per side, evenly spread; pairs stay together."""
    a, b = (tuple(side[:: math.ceil(len(side) / IMAGES_SAMPLED)]) for side in (split.a, split.b))
    return Split(a, b, split.paired)


def seconds_to_read(crops: Crops) -> float:
    """The seconds in which one process reads a sample from the second epoch on, when images are decoded already."""
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
    """Measure steps of one image, then of the recipe's batch, then of two or four times that batch.

    When one image does not fit at the recipe's crop, smaller crops are tried. When the forecast says that a batch would not fit
    or be too slow, half of it is measured instead, and so on. Raises OutOfMemory when nothing fits.
    """
    batch, crop, parts = bench.recipe.train.batch_size, bench.recipe.data.crop_side, bench.recipe.train.accumulate
    found: list[Footprint] = []

    def take(batch: int, crop: int) -> None:
        size = {"train.batch_size": batch, "train.accumulate": math.gcd(batch, parts)} | square(bench.recipe, crop)
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
    batches = [batch >> k for k in range(batch.bit_length())]  # the whole batch, the half, the quarter ...
    for sizes, patience in ((batches, MAX_STEP_SECONDS), ([4 * batch, 2 * batch], MAX_LARGE_STEP_SECONDS)):
        forecast = Forecast(tuple(found))
        allowed = (
            n for n in sizes if forecast.seconds(n, crop) <= patience and forecast.peak(n, crop) <= available * (1 - MARGIN)
        )
        chosen = next(allowed, 0)
        if forecast.load(chosen, crop) > forecast.largest_load:
            take(chosen, crop)
    return Forecast(tuple(found))


def square(recipe: Recipe, crop: int) -> dict[str, Any]:
    """The settings of a square crop; load_size, of no matter to random images, must not be too small in place of a rectangle."""
    return {"data.crop_size": crop} | ({} if isinstance(recipe.data.crop_size, int) else {"data.load_size": crop})


def memory_savings(bench: Bench, forecast: Forecast, room: float, watch: Watch) -> list[str]:
    """Settings that make a recipe fit: a batch in parts, and recomputed activations. Both are measured."""
    last = max(forecast.footprints, key=lambda footprint: forecast.load(footprint.batch, footprint.crop))
    batch, crop = bench.recipe.train.batch_size, bench.recipe.data.crop_side
    size = {"train.batch_size": last.batch} | square(bench.recipe, last.crop)
    whole, ways = forecast.peak(batch, crop), []

    def saved(share: dict[str, Any]) -> float:
        """The peak at the recipe's size, if these settings reduce it as much as at the size that is measured."""
        footprint = bench.measure(0.0, **(size | share))
        watch()
        grown = last.peak - forecast.fixed
        return (
            whole if footprint is None else forecast.fixed + (whole - forecast.fixed) * (footprint.peak - forecast.fixed) / grown
        )

    if last.batch > 1:
        singly = saved({"train.accumulate": last.batch})
        # Between all images at once and one at a time, memory is linear in the images of a part.
        parts = (n for n in range(2, batch + 1) if batch % n == 0)
        fits = (n for n in parts if singly + (whole - singly) * (batch / n - 1) / (batch - 1) <= room)
        ways += [f"--train.accumulate {n}" for n in [next(fits, 0)] if n]
    if not bench.recipe.train.checkpoint and saved({"train.checkpoint": True, "train.accumulate": 1}) <= room:
        ways.append("--train.checkpoint true")
    return ways

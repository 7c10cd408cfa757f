"""Small trainings for the doctor, healthy ones and ones broken on purpose: synthetic pictures, and a loop of a few epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from diptych.data.census import take_census
from diptych.data.datasets import Crops
from diptych.data.folders import find_data
from diptych.data.stream import batches
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.health.diagnosis import Verdict, diagnose
from diptych.training.health.doctor import Doctor
from diptych.training.loop import to_device
from diptych.training.preparation import build_method, with_validation
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

METHODS = {
    "pix2pix": {"generator": "unet_5", "ngf": 8, "ndf": 8, "norm": "instance", "num_layers": 2},
    "cyclegan": {"generator": "resnet_1", "ngf": 8, "ndf": 8, "num_layers": 2},
}


def scene(kind: str, random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """An aligned pair of uint8 pictures (size, size, 3) of a kind; unpaired methods never learn that they belong together."""
    y, x = np.mgrid[0:size, 0:size] / size
    labels = np.zeros((size, size), int)
    for _ in range(random.integers(3, 7)):
        cx, cy, r = *random.random(2), 0.08 + 0.2 * random.random()
        inside = np.hypot(x - cx, y - cy) < r if random.random() < 0.5 else np.maximum(abs(x - cx), abs(y - cy)) < r
        labels[inside] = random.integers(1, 4)
    light = (0.75 + 0.25 * np.cos(4 * x + 2 * y))[..., None]
    grain = random.normal(0, 0.04, (size, size, 1))
    palette_a = np.array([[0.1, 0.1, 0.3], [0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.9, 0.9, 0.3]])
    palette_b = np.array([[0.3, 0.5, 0.7], [0.8, 0.6, 0.4], [0.2, 0.35, 0.2], [0.95, 0.95, 0.9]])
    painted = palette_b[labels] * light + grain
    if kind == "shapes":  # flat labels to a lit, grained scene
        a, b = palette_a[labels], painted
    elif kind == "noise":  # a grainy photo to a clean one
        b = palette_b[labels] * light
        a = b + random.normal(0, 0.15, b.shape)
    elif kind == "night":  # a bright scene to a dark one with the lights on
        lamps = (random.random((size, size, 1)) > 0.995) * 1.0
        a, b = painted, 0.3 * painted * np.array([0.6, 0.7, 1.3]) + lamps
    elif kind == "seasons":  # green hills to brown ones
        waves = sum(np.sin(random.uniform(3, 20) * (x * np.cos(t) + y * np.sin(t)) + t) for t in random.uniform(0, 6.3, 5))
        height = (0.5 + waves / 8)[..., None] + grain
        a, b = height * np.array([0.4, 1.0, 0.3]), height * np.array([0.9, 0.6, 0.3]) + 0.1
    elif kind == "negative":  # a picture to its negative: inversion is right here
        a, b = painted, 1 - painted
    else:
        raise ValueError(kind)
    return tuple((255 * np.clip(side, 0, 1)).astype(np.uint8) for side in (a, b))


def write_pictures(
    root: Path, kind: str, *, paired: bool, count: int = 180, size: int = 36, seed: int = 0, shuffled: bool = False
) -> Path:
    """A folder of A/ B/ with aligned pairs, or of trainA/ trainB/ with different scenes. ``shuffled``: the partners are wrong."""
    random = np.random.default_rng(seed)
    sides = ("A", "B") if paired else ("trainA", "trainB")
    for side in sides:
        (root / side).mkdir(parents=True)
    pairs = [scene(kind, random, size) for _ in range(count)]
    others = pairs if paired else [scene(kind, random, size) for _ in range(count)]
    others = others[1:] + others[:1] if shuffled else others
    for k, ((a, _), (_, b)) in enumerate(zip(pairs, others, strict=True)):
        for side, picture in zip(sides, (a, b), strict=True):
            Image.fromarray(picture).save(root / side / f"{k}.png")
    return root


def small_recipe(method: str, source: str | Path, train: dict | None = None, **settings: object) -> Recipe:
    """A recipe of small networks on crops of 32 pixels, with the published settings otherwise."""
    data = {"source": [str(source)], "load_size": 36, "crop_size": 32, "holdout": 0.1}
    data |= {"resize": "none", "flip": False} if source == "relief" else {}
    return Recipe.create(
        method, {"method": METHODS[method] | settings, "data": data, "train": {"precision": "fp32"} | (train or {})}
    )


@dataclass
class Course:
    """What a training wrote, and the seconds that it and the looks took."""

    lines: list[dict] = field(default_factory=list)
    recipe: dict = field(default_factory=dict)
    training: float = 0.0
    looking: list[float] = field(default_factory=list)

    def verdicts(self) -> dict[str, Verdict]:
        """The first verdict on each problem that the training would have said at any of its looks."""
        found: dict[str, Verdict] = {}
        for k, line in enumerate(self.lines, start=1):
            if "health" in line:
                found = {verdict.problem: verdict for verdict in diagnose(self.lines[:k], self.recipe)} | found
        return found


Breaking = Callable[[Trainee], None]


def run(recipe: Recipe, epochs: float, breaking: Breaking = lambda trainee: None, expected: Collection[str] = ()) -> Course:
    """The first epochs of a training as the loop runs it, up to a verdict that is expected."""
    device, course = torch.device("cpu"), Course(recipe=recipe.to_dict())
    layout = find_data(recipe.data.source, paired=recipe.method.paired)
    census = with_validation(take_census(layout.train), layout, recipe)
    trainee = Trainee(build_method(recipe, census, World()), recipe, device, World())
    trainee.set_lr(recipe.train.lr)
    breaking(trainee)
    doctor = Doctor(trainee.method, recipe, census, device)
    crops, size = Crops(census, recipe.data, recipe.train.seed), recipe.train.batch_size
    last = max(step for step in doctor.steps if step * size <= epochs * max(len(crops), 100 * size) + size)
    for native in batches(crops, 0, last * size, size):
        began = time.process_time()
        train_step(trainee, to_device(native, census, device))
        trainee.images += size
        step = trainee.images // size
        course.training += time.process_time() - began
        if step % 50 == 0 or doctor.due(step):
            position = {"step": step, "images": trainee.images, "epoch": (trainee.images - size) // len(crops) + 1}
            course.lines.append(position | {"losses": trainee.stats.read(World())})
        if doctor.due(step):
            began = time.process_time()
            course.lines[-1]["health"] = doctor.look()
            course.looking.append(time.process_time() - began)
            if course.verdicts().keys() & set(expected):
                break
    return course


def answering(answer: Callable) -> Breaking:
    """Every generator gives answer(input, output) instead of its output."""

    def breaking(trainee: Trainee) -> None:
        for net in trainee.method.generators().values():
            net.register_forward_hook(lambda module, given, output: answer(given[0], output))

    return breaking


def faster_discriminator(factor: float) -> Breaking:
    """The discriminators' learning rate times a factor."""

    def breaking(trainee: Trainee) -> None:
        for group in trainee.optimizers["D"].param_groups:
            group["lr"] *= factor

    return breaking


def convolutions(trainee: Trainee, last: bool) -> Iterator[nn.Module]:
    """Of every generator the convolution that makes the image, or all others."""
    for net in trainee.method.generators().values():
        *others, head = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        yield from [head] if last else others


@torch.no_grad()
def dead(trainee: Trainee) -> None:
    """Biases so low that no ReLU ever passes anything."""
    for layer in convolutions(trainee, last=False):
        layer.bias.fill_(-50.0)


@torch.no_grad()
def saturated(trainee: Trainee) -> None:
    """Weights of the last layer so large that tanh has no slope left."""
    for layer in convolutions(trainee, last=True):
        layer.weight.mul_(2000.0)


PICTURE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
NO_CYCLE = {"lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0}


@dataclass(frozen=True)
class Failure:
    """A way to break a training, and the problems of which one must be found."""

    expected: tuple[str, ...]
    breaking: Breaking = lambda trainee: None
    settings: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    shuffled: bool = False
    methods: tuple[str, ...] = ("pix2pix", "cyclegan")


FAILURES = {
    "D lr x100": Failure(("weights run away",), faster_discriminator(100.0)),
    "D frozen": Failure(("networks do not learn",), faster_discriminator(0.0)),
    "constant G": Failure(("flat output",), answering(lambda x, output: output * 0 + 0.3)),
    "G copies input": Failure(("output = input",), answering(lambda x, output: output * 0 + x)),
    "one-image output": Failure(("one output for all inputs",), answering(lambda x, output: output * 0 + PICTURE)),
    "shuffled pairs": Failure(("pairs do not belong together",), shuffled=True, methods=("pix2pix",)),
    "dead ReLU": Failure(("dead ReLU",), dead, {"norm": "none"}),
    "tanh saturated": Failure(("saturated output",), saturated),
    "lambda 0": Failure(("no cycle",), settings=NO_CYCLE, methods=("cyclegan",)),
    "lr x100": Failure(("weights run away",), train={"lr": 2e-2}),
}


def break_on_purpose(name: str, method: str, kind: str, folder: Path, seed: int = 0) -> Course:
    """Two epochs of a training with one of FAILURES, on pictures written into a folder."""
    failure = FAILURES[name]
    source = write_pictures(folder, kind, paired=method == "pix2pix", count=112, seed=seed, shuffled=failure.shuffled)
    recipe = small_recipe(method, source, {"seed": seed, **failure.train}, **failure.settings)
    return run(recipe, 2, failure.breaking, failure.expected)

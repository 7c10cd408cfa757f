"""What reading images costs: samples a second of the loader alone, and what share of its speed training keeps with it.

    python -m benchmarks.loader [DATA] [--part PART] [--device cpu] [--rounds 3] [--count 120] [--seconds 45] [--json FILE]

DATA is a folder of pairs, or relief; a part is ``loader`` or one of the trainings. Variants take turns and ratios are medians
over rounds, so that what else the machine does falls out. The reference loads as the published code does: PIL, bicubic resize,
crop, mirror, float, normalise.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diptych.data.cache import kept
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops
from diptych.data.folders import find_data
from diptych.data.stream import NativeBatch, batches
from diptych.device import pick_device, pick_precision, workers_for
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.execution.cuda_graph import GraphedStep
from diptych.training.loop import to_device
from diptych.training.preparation import build_method
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

CPU = torch.device("cpu")
FAR = 10**6  # images, more than any part takes
TRAININGS = {  # settings of a recipe, size of the crop
    "CycleGAN ResNet-9, 128 px": ("cyclegan", {"generator": "resnet_9"}, 128),
    "pix2pix U-Net, 256 px": ("pix2pix", {"generator": "unet_8"}, 256),
    "pix2pix tiny, 64 px": ("pix2pix", {"generator": "unet_5", "ngf": 8, "ndf": 8, "num_layers": 1}, 64),
}


class Published(Dataset):
    """Pairs as junyanz/pytorch-CycleGAN-and-pix2pix reads them, without torchvision: one file for both halves, or two."""

    def __init__(self, census: Census, load_size: int, crop_size: int) -> None:
        self.census, self.load, self.crop = census, load_size, crop_size

    def __len__(self) -> int:
        return len(self.census.split.a)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        ref_a, ref_b = self.census.split.a[k], self.census.split.b[k]
        a = Image.open(ref_a.path).convert("RGB")
        if ref_a.path == ref_b.path:
            width, height = a.size
            a, b = a.crop((0, 0, width // 2, height)), a.crop((width // 2, 0, width, height))
        else:
            b = Image.open(ref_b.path).convert("RGB")
        left, top, mirrored = self._place(), self._place(), random.random() < 0.5
        box = (left, top, left + self.crop, top + self.crop)
        return {"A": self._transformed(a, box, mirrored), "B": self._transformed(b, box, mirrored)}

    def _place(self) -> int:
        return random.randint(0, self.load - self.crop)

    def _transformed(self, image: Image.Image, box: tuple[int, int, int, int], mirrored: bool) -> Tensor:
        image = image.resize((self.load, self.load), Image.Resampling.BICUBIC).crop(box)
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        return x.sub_(torch.full((3, 1, 1), 0.5)).div_(torch.full((3, 1, 1), 0.5))


def census_of(source: str) -> Census:
    """The training pairs of a folder."""
    return take_census(find_data([source], paired=True).train)


def rates(variants: dict[str, Callable[[], Iterator]], count: int, rounds: int) -> dict[str, list[float]]:
    """Items a second of endless iterators, which take turns; each starts anew and ends in its own time."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, start in variants.items():
            iterator = start()
            next(iterator)  # processes are there
            began = time.perf_counter()
            for _ in range(count):
                next(iterator)
            found[name].append(count / (time.perf_counter() - began))
            del iterator
    return found


def ratio(found: dict[str, list[float]], name: str, to: str) -> float:
    """The median over rounds of a variant's rate over another's."""
    return statistics.median(x / y for x, y in zip(found[name], found[to], strict=True))


def loader(source: str, count: int, rounds: int) -> dict:
    """Pairs a second at 286 px cropped to 256, batches of one, as floats in [-1, 1]."""
    census = census_of(source)
    recipe = Recipe.create("pix2pix", {"data": {"source": [source]}})
    with ExitStack() as stack:
        crops = {"off": Crops(census, recipe.data, 0)}
        for cache in ("ram", "disk", "device"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            crops[cache] = stack.enter_context(kept(crops["off"], cache, folder, CPU))
            for _ in batches(crops[cache], 0, len(census.split.a), 1):
                pass

        def ours(cache: str, workers: int) -> Iterator:
            return (to_device(native, census, CPU) for native in batches(crops[cache], 0, FAR, 1, workers=workers))

        def published(workers: int) -> Iterator:
            loader = DataLoader(Published(census, 286, 256), 1, shuffle=True, num_workers=workers)
            return chain.from_iterable(iter(loader) for _ in repeat(None))

        variants: dict[str, Callable[[], Iterator]] = {f"published, {n} workers": lambda n=n: published(n) for n in (0, 1, 2)}
        for cache in ("off", "ram", "disk"):
            variants |= {f"cache {cache}, {n} workers": lambda c=cache, n=n: ours(c, n) for n in (0, 1, 2)}
        variants["cache device, 0 workers"] = lambda: ours("device", 0)
        found = rates(variants, count, rounds)
    base = "published, 0 workers"
    return {
        name: {"pairs_s": round(statistics.median(r), 1), "of published": round(ratio(found, name, base), 2)}
        for name, r in found.items()
    }


def training(source: str, name: str, device: torch.device, seconds: float) -> dict:
    """How fast training is with each way of reading, in percent of one batch that stays where it is.

    The ways take turns, step by step on a CPU; on CUDA, where the host runs ahead of the device, in rounds of many steps.
    """
    method, settings, size = TRAININGS[name]
    data = {"source": [source], "crop_size": size, "load_size": round(size * 286 / 256)}
    recipe = Recipe.create(method, {"method": settings, "data": data})
    recipe = recipe.replace(**{"train.precision": pick_precision("auto", device)})
    census, cuda = census_of(source), device.type == "cuda"
    trainee = Trainee(build_method(recipe, census, World()), recipe, device, World())
    step = GraphedStep(trainee) if cuda else partial(train_step, trainee)
    files, found = Crops(census, recipe.data, 0), {}
    ways, many = (("ram", "device"), 100) if cuda else (("off", "ram"), 1)
    with ExitStack() as stack:
        streams: dict[str, Iterator] = {"one batch": repeat(next(batches(files, 0, 1, 1)))}
        if cuda:
            streams["one batch"] = repeat(_moved(next(streams["one batch"]), device))
        for way in ways:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            crops = files if way == "off" else stack.enter_context(kept(files, way, folder, device))
            if way == "ram":
                for _ in batches(crops, 0, len(files), 1):
                    pass
            workers = workers_for(device) if way == "ram" else 0
            streams[way] = batches(crops, 0, FAR, 1, workers=workers, pin=cuda)
        names, until = list(streams), time.monotonic() + seconds
        found, reading = {name: [] for name in names}, {name: [] for name in names}
        while time.monotonic() < until or len(found["ram"]) < 5:
            for name in names:
                spent, began = 0.0, time.perf_counter()
                for _ in range(many):
                    asked = time.perf_counter()
                    native = next(streams[name])
                    spent += time.perf_counter() - asked
                    step(to_device(native, census, device))
                    trainee.guard.read(1, [])
                if cuda:
                    torch.cuda.synchronize()
                reading[name].append(spent / many)
                found[name].append(many / (time.perf_counter() - began))
            random.shuffle(names)
        del streams  # worker processes end before the images that they read
    warm = {name: rate[2:] for name, rate in found.items()}
    return {
        "step_ms": 1000 / statistics.median(warm["one batch"]),
        "reading_ms": {name: round(1000 * statistics.median(reading[name][2:]), 2) for name in ways},
        "steps": many * len(warm["ram"]),
        "percent of one batch": {name: round(100 * ratio(warm, name, "one batch"), 1) for name in ways},
    }


def _moved(native: NativeBatch, device: torch.device) -> NativeBatch:
    return native._replace(a=native.a.to(device), b=native.b.to(device))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="relief")
    parser.add_argument("--part", choices=("loader", *TRAININGS), help="only this one")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the trainings (default: cpu)")
    parser.add_argument("--rounds", type=int, default=3, help="of the loader (default: 3)")
    parser.add_argument("--count", type=int, default=120, help="pairs in each round (default: 120)")
    parser.add_argument("--seconds", type=float, help="of each training (default: 45, on CUDA 15)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    device = pick_device(args.device)
    seconds = args.seconds or (15 if device.type == "cuda" else 45)
    results: dict[str, dict] = {"data": args.data, "threads": torch.get_num_threads()}  # type: ignore[dict-item]
    if args.part in (None, "loader"):
        results["loader"] = loader(args.data, args.count, args.rounds)
        for name, row in results["loader"].items():
            print(f"{name:24} {row['pairs_s']:8.1f} pairs/s  {row['of published']:6.2f} x published with 0 workers", flush=True)
    for name in TRAININGS:
        if args.part in (None, name):
            results[name] = training(args.data, name, device, seconds)
            row = results[name]
            shares = ", ".join(f"{variant} {share:.1f} %" for variant, share in row["percent of one batch"].items())
            print(f"{name}: {row['step_ms']:.1f} ms a step, {row['steps']} steps; {shares} of one batch that stays", end="; ")
            print(f"reading takes {row['reading_ms']} ms", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

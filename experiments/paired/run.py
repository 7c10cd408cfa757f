"""Compare paired methods that were given the same processor time. Usage: run.py DATA WEIGHTS OUT [SECONDS] [TASK[:METHODS] ...]

DATA holds facades and edges2flower (pairs that `diptych prepare edges` made), WEIGHTS what weights.py wrote. A training gets
SECONDS (120) of one core: as many whole epochs as fit by the processor time of its step, which other work on the machine does not
change. A TASK is facades, edges2flower or relief, with all methods or with those that are named, as in facades:pix2pix,features.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from diptych import Recipe, Translator
from diptych.bench.bench import bench
from diptych.bench.entries import Cost
from diptych.data.folders import find_data
from diptych.files import sha256_of
from diptych.methods import Batch
from diptych.pages.comparison import write_comparison
from diptych.pixels import Domain
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

SIZE = 64
TRAIN = {"batch_size": 4, "precision": "bf16", "ema": 0.999, "ema_warm_up": True, "epochs": 1, "decay_epochs": 1}
UNET = {"generator": "unet_6", "ngf": 32, "ndf": 32, "num_layers": 2, "norm": "instance", "dropout": False}
BRIDGE = {"ngf": 16, "num_levels": 3, "num_blocks": 1, "num_attention": 1, "steps": 5}
LAYERS = {"layers": [1, 2, 3, 4, 5], "layer_weights": [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0]}
STEPS_PER_EPOCH = {"facades": 100, "edges2flower": 90, "relief": 57}


def methods(files: dict[str, str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """pix2pix; the same networks with losses of pix2pixHD; a bridge. All at one rate, with averaged weights.

    ``features`` adds feature matching to pix2pix. The ``pix2pixhd`` ones are pix2pixHD's losses without L1, where the perceptual
    one compares by VGG16 or by AlexNet, whose step is much cheaper, and which the judge of LPIPS (AlexNet) is made of.
    """
    matching = {"loss": "feature_matching", "between": ["fake_b", "real_b"], "beside": "real_a", "weight": 40.0}
    perceptual = {"loss": "perceptual", "between": ["fake_b", "real_b"], "weight": 10.0}
    hd = {"method": UNET | {"gan": "lsgan", "lambda_l1": 0.0}}
    by = {name: perceptual | {"network": name, "weights": file} | LAYERS for name, file in files.items()}
    return {
        "pix2pix": ("pix2pix", {"method": UNET}),
        "features": ("pix2pix", {"method": UNET, "extra": [matching]}),
        "pix2pixhd-vgg16": ("pix2pix", hd | {"extra": [matching, by["vgg16"]]}),
        "pix2pixhd-alexnet": ("pix2pix", hd | {"extra": [matching, by["alexnet"]]}),
        "bridge": ("bridge", {"method": BRIDGE}),
    }


def step_seconds(name: str, recipe: Recipe, steps_per_epoch: int) -> Cost:
    """Processor time of a step: the least of ten, after three to warm up."""
    trainee = Trainee(recipe.build(Domain(), Domain()), recipe, torch.device("cpu"), World())
    batch, times = Batch(*(torch.rand(2, 4, 3, SIZE, SIZE) * 2 - 1)), []
    for _ in range(13):
        began = time.process_time()
        train_step(trainee, batch)
        times.append(time.process_time() - began)
    print(f"{name}: {min(times[3:]):.3f} s a step", flush=True)
    return Cost(min(times[3:]), 0, steps_per_epoch)


def sheet(folder: Path, names: list[str]) -> Image.Image:
    """Eight test pairs in columns; rows: what methods are given, what each made of it, and the truth."""
    recipe = Recipe.load(folder / names[0] / "seed-0" / "recipe.json")
    test = find_data(recipe.data.source, paired=True, layout=recipe.data.layout).test
    assert test is not None
    split = recipe.data.oriented(test)
    step = max(1, len(split.a) // 8)
    given, truth = ([_picture(ref.read()) for ref in side[::step][:8]] for side in (split.a, split.b))
    rows = [given]
    for name in names:
        translate = Translator.load(folder / name / "seed-0" / "snapshot.safetensors", device="cpu")
        rows.append([translate(image) for image in given])
    rows.append(truth)
    whole = Image.new("RGB", (8 * 98, len(rows) * 98), "white")
    for row, line in enumerate(rows):
        for column, image in enumerate(line):
            whole.paste(image.resize((96, 96), Image.Resampling.BICUBIC), (column * 98, row * 98))
    return whole


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()).resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    data, weights, out = (Path(word) for word in sys.argv[1:4])
    seconds, tasks = float((sys.argv[4:5] or ["120"])[0]), sys.argv[5:] or list(STEPS_PER_EPOCH)
    files = {name: f"{weights / name}.pth#sha256={sha256_of(weights / f'{name}.pth')}" for name in ("alexnet", "vgg16")}
    known = methods(files)
    for task, _, wanted in (word.partition(":") for word in tasks):
        names = wanted.split(",") if wanted else list(known)
        source = "relief" if task == "relief" else str(data / task)
        images = {"source": [source], "load_size": 72, "crop_size": SIZE, "flip": task != "relief", "holdout": 0.0}
        images |= {"direction": "b2a"} if task == "facades" else {}
        recipes = {}
        for name in names:
            method, settings = known[name]
            recipes[name] = Recipe.create(method, settings | {"data": images, "train": TRAIN | {"lr": 5e-4}})
        text, found = bench(
            recipes,
            out / task,
            lambda name, recipe, steps=STEPS_PER_EPOCH[task]: step_seconds(name, recipe, steps),
            hours=seconds / 3600,
            num_seeds=1,
            metrics=["lpips_alex", "lpips_vgg", "ssim", "psnr"],
            words={"weights": [f"{name}={file}" for name, file in files.items()]},
        )
        write_comparison(found, out / task)
        print(text, flush=True)
        (out / f"{task}.md").write_text(text)
        (out / f"{task}.json").write_text(json.dumps(found.to_json(), indent=1))
        sheet(out / task, names).save(out / f"{task}.jpg", quality=88)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()

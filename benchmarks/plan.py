"""How near `diptych plan` comes to the trainings it speaks of.

    python -m benchmarks.plan [--seconds 15] [--json FILE] [CASE ...]

Each case is planned, trained in a process of its own for 15 seconds on made-up images, with previews, the doctor's
looks and saved states, and planned again. Printed are the peak memory of that process and the median speed of its steps, beside
the plan's; of the two planned speeds the mean, as a shared machine's drifts. `beyond` compares the forecast of four times the
largest batch that the plan measured with the peak of steps of that size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diptych.device import describe, pick_device
from diptych.memory import in_words, peak_memory
from diptych.pixels import Domain
from diptych.presets import preset
from diptych.recipe import Recipe
from diptych.training.loop import train
from diptych.training.planning.footprint import Bench
from diptych.training.planning.plan import plan_training

SMALL = {"ngf": 16, "ndf": 16}
CASES: dict[str, tuple[str, dict, dict, int, int]] = {  # method, preset or settings, crop and batch
    "pix2pix-small": ("pix2pix", {"method": SMALL | {"generator": "unet_6"}}, {}, 64, 8),
    "pix2pix-laptop": ("pix2pix", preset("laptop", "pix2pix"), {}, 128, 1),
    "pix2pix-laptop-8": ("pix2pix", preset("laptop", "pix2pix"), {}, 128, 8),
    "pix2pix-paper": ("pix2pix", {}, {}, 256, 1),
    "pix2pix-paper-4": ("pix2pix", {}, {"ema": 0.999}, 256, 4),
    "cyclegan-small": ("cyclegan", {"method": SMALL | {"generator": "unet_4"}}, {}, 64, 4),
    "cyclegan-laptop": ("cyclegan", preset("laptop", "cyclegan"), {}, 128, 1),
    "cyclegan-paper-128": ("cyclegan", {}, {}, 128, 1),
    "cyclegan-paper": ("cyclegan", {}, {}, 256, 1),
}
IMAGES = 8  # that there are; few, since reading them is not the subject
FRESH = "import json, sys; from benchmarks.plan import really; really(json.loads(sys.argv[1]), sys.argv[2], sys.argv[3])"


def recipe_of(case: str, folder: Path) -> Recipe:
    """The case's recipe, on images that are made up here."""
    method, settings, train_settings, crop, batch = CASES[case]
    random = np.random.default_rng(0)
    for side in ("trainA", "trainB"):
        (folder / side).mkdir(parents=True)
        for i in range(IMAGES):
            small = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            small.resize((crop + 30, crop + 30), Image.Resampling.BICUBIC).save(folder / side / f"{i}.png")
    recipe = Recipe.create(method, settings | {"data": {"source": [str(folder)], "crop_size": crop, "load_size": crop + 30}})
    changes = {"batch_size": batch, "epochs": 1, "decay_epochs": 0} | train_settings
    return recipe.replace(**{f"train.{name}": value for name, value in changes.items()})


def really(recipe: dict, out: str, device: str) -> None:
    """In a fresh process: train, and print peak memory and images a second."""
    folder = train(Recipe.from_dict(recipe), out, device=device, log_every=2, num_previews=2).parent
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    speed = statistics.median(line["images_s"] for line in lines[1:] or lines)
    print(json.dumps({"peak": peak_memory(pick_device(device)), "images_s": speed, "steps": lines[-1]["step"]}))


def compare(case: str, device: torch.device, scratch: Path, length: float) -> dict:
    """The plan's numbers and those of a training of about ``length`` seconds."""
    recipe = recipe_of(case, scratch / "images")
    began = time.perf_counter()
    planned = plan_training(recipe, device)
    planning = time.perf_counter() - began
    batch, crop = recipe.train.batch_size, recipe.data.crop_size
    epochs = max(1, round(length / planned.seconds * batch / IMAGES))
    task = json.dumps(recipe.replace(**{"train.epochs": epochs}).to_dict())
    words = [sys.executable, "-c", FRESH, task, str(scratch / "run"), str(device)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    real = json.loads(done.stdout.splitlines()[-1])
    seconds = (planned.seconds + plan_training(recipe, device).seconds) / 2
    found = {"case": case, "crop": crop, "batch": batch, "steps": real["steps"], "planning": planning}
    found |= {"peak": real["peak"], "planned_peak": planned.peak}
    found |= {"images_s": real["images_s"], "planned_images_s": batch / seconds}
    beyond = 4 * max(footprint.batch for footprint in planned.forecast.footprints)
    if planned.forecast.seconds(beyond, crop) < 10:
        with Bench(planned.recipe, (Domain(), Domain()), device) as bench:
            footprint = bench.measure(0.0, **{"train.batch_size": beyond})
        assert footprint, "ran out of memory"
        found |= {"beyond": beyond, "beyond_peak": footprint.saving, "planned_beyond_peak": planned.forecast.peak(beyond, crop)}
    return found


def row(found: dict) -> str:
    """One line of the table."""

    def against(planned: float, real: float) -> str:
        return f"{planned / real - 1:+.0%}"

    cells = [found["case"], f"{found['crop']} x {found['batch']}", str(found["steps"])]
    cells += [in_words(found["planned_peak"]), in_words(found["peak"]), against(found["planned_peak"], found["peak"])]
    speeds = found["planned_images_s"], found["images_s"]
    cells += [*(f"{speed:.3g}" for speed in speeds), against(*speeds), f"{found['planning']:.0f} s"]
    if "beyond" in found:
        off = against(found["planned_beyond_peak"], found["beyond_peak"])
        cells.append(f"batch {found['beyond']}: {in_words(found['beyond_peak'])}, {off}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=[[], *CASES], default=[])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each training (default: 15)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = pick_device(args.device)
    print(f"torch {torch.__version__}, {describe(device, 'auto')}\n")
    print("| case | crop x batch | steps | planned | peak | | planned images/s | images/s | | plan took | beyond |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    results = []
    for case in args.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            results.append(compare(case, device, Path(folder), args.seconds))
        print(row(results[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

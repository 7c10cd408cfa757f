"""How well the training doctor judges, and what it costs: `OMP_NUM_THREADS=1 python -m benchmarks.doctor`, from the repository.

Ten ways to break a training, over pix2pix and CycleGAN where they fit, on other pictures and seeds than the tests; twenty
healthy trainings over methods, losses, networks, data and seeds, of three epochs each, in which any verdict at any look is a
false alarm; the time of looks. The rules' limits were chosen on other runs (see docs/doctor.md). With words, such as
`failures cost`, only these parts; the options make them smaller.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from diptych.data.census import take_census
from diptych.data.datasets import Crops
from diptych.data.folders import find_data
from diptych.data.stream import batches
from diptych.device import describe
from diptych.presets import preset
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.health.doctor import Doctor, look_steps
from diptych.training.loop import to_device
from diptych.training.preparation import build_method
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.training.patients import FAILURES, break_on_purpose, run, small_recipe, write_pictures

KINDS = ("night", "seasons", "noise")  # of the failures, in turn; the tests break trainings on shapes
FAST = {"lr": 1e-3, "batch_size": 2}
HEALTHY: list[tuple[str, str, dict, dict]] = [  # method, pictures, method's settings, train's settings
    ("pix2pix", "shapes", {}, {}),
    ("pix2pix", "noise", {}, {}),
    ("pix2pix", "night", {}, {}),
    ("pix2pix", "seasons", {}, {}),
    ("pix2pix", "negative", {}, {}),
    ("pix2pix", "relief", {"upsample": "pixelshuffle", "dropout": False}, FAST),
    ("pix2pix", "shapes", {"norm": "batch", "dropout": True}, {}),
    ("pix2pix", "noise", {"gan": "lsgan"}, FAST),
    ("pix2pix", "seasons", {"gan": "hinge", "upsample": "resize"}, {}),
    ("pix2pix", "night", {"lambda_r1": 1.0, "conditional": False}, {"ema": 0.99}),
    ("cyclegan", "shapes", {}, {}),
    ("cyclegan", "noise", {}, {}),
    ("cyclegan", "night", {}, {}),
    ("cyclegan", "seasons", {}, {}),
    ("cyclegan", "relief", {"generator": "unet_4", "upsample": "pixelshuffle"}, {"lr": 4e-4}),
    ("cyclegan", "shapes", {"lambda_identity": 0.0}, {}),
    ("cyclegan", "noise", {"gan": "vanilla"}, {}),
    ("cyclegan", "seasons", {"upsample": "resize"}, FAST),
    ("cyclegan", "night", {"generator": "unet_4"}, {}),
    ("cyclegan", "shapes", {"gan": "hinge", "pool_size": 0}, {}),
]


def failures(scratch: Path, args: argparse.Namespace) -> None:
    """Break trainings, and count the failures that were found."""
    print("\n## Failures made on purpose\n\n| failure | method | pictures | found at | verdict |")
    print("| --- | --- | --- | --- | --- |")
    count = found = 0
    for k, (name, failure) in enumerate(FAILURES.items()):
        if name not in (args.failure or FAILURES):
            continue
        for method in failure.methods:
            kind = KINDS[k % len(KINDS)]
            course = break_on_purpose(name, method, kind, scratch / f"failure-{k}-{method}", seed=50 + k)
            verdicts = [verdict for problem, verdict in course.verdicts().items() if problem in failure.expected]
            count, found = count + 1, found + bool(verdicts)
            where = f"step {course.lines[-1]['step']}, epoch {course.lines[-1]['epoch']}" if verdicts else "not found"
            print(f"| {name} | {method} | {kind} | {where} | {str(verdicts[0]).split(' (')[0] if verdicts else ''} |", flush=True)
    print(f"\n{found} of {count} found.")


def healthy(scratch: Path, args: argparse.Namespace) -> None:
    """Train what is not broken, and count the trainings with a verdict."""
    print("\n## Healthy trainings\n\n| method | pictures | settings | steps | verdicts at any look |")
    print("| --- | --- | --- | --- | --- |")
    alarmed, spent, looked = 0, 0.0, 0.0
    for k, (method, kind, settings, train) in enumerate(HEALTHY[: args.trainings]):
        own = scratch / f"healthy-{k}"
        how = {"paired": method == "pix2pix", "count": args.pictures, "seed": 100 + k}
        source = "relief" if kind == "relief" else write_pictures(own, kind, **how)
        length = {"epochs": 2, "decay_epochs": 1, "seed": 100 + k}
        course = run(small_recipe(method, source, length | train, **settings), 3)
        verdicts = course.verdicts().values()
        alarmed, spent, looked = alarmed + bool(verdicts), spent + course.training, looked + sum(course.looking)
        chosen = ", ".join(f"{name} {value}" for name, value in (settings | train).items()) or "published"
        said = "; ".join(str(verdict).split(" (")[0] for verdict in verdicts) or "none"
        print(f"| {method} | {kind} | {chosen} | {course.lines[-1]['step']} | {said} |", flush=True)
    count = len(HEALTHY[: args.trainings])
    print(f"\n{alarmed} of {count} trainings with a false alarm; {spent:.0f} s of training, {looked:.0f} s of looks.")


def cost(scratch: Path, args: argparse.Namespace) -> None:
    """Time a look against training steps, at the laptop preset's sizes."""
    print("\n## Cost of looks\n\n| method | one image trained | one look | in images | share of 400 images x 200 epochs |")
    print("| --- | --- | --- | --- | --- |")
    device = torch.device("cpu")
    for method in ("pix2pix", "cyclegan"):
        settings = preset("laptop", method) | {"data": {"source": ["relief"], "resize": "none", "crop_size": 128}}
        recipe = Recipe.create(method, settings)
        if args.width:
            recipe = recipe.replace(**{"method.ngf": args.width, "method.ndf": args.width})
        census = take_census(find_data(recipe.data.source, paired=recipe.method.paired).train)
        trainee = Trainee(build_method(recipe, census, World()), recipe, device, World())
        doctor = Doctor(trainee.method, recipe, census, device)
        doctor.held_out = doctor.sample  # as with a validation split
        marks = []
        for native in batches(Crops(census, recipe.data, 0), 0, 7, 1):
            marks.append(time.process_time())
            train_step(trainee, to_device(native, census, device))
        step = (marks[-1] - marks[1]) / (len(marks) - 2)
        began = time.process_time()
        doctor.look()
        look = time.process_time() - began
        share = len(look_steps(400, 200, 1)) * look / (80_000 * step)
        print(f"| {method} | {step:.2f} s | {look:.1f} s | {look / step:.1f} | {share:.2%} |", flush=True)


PARTS = {"failures": failures, "healthy": healthy, "cost": cost}


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[[], *PARTS], default=[], help=f"of {', '.join(PARTS)}")
    parser.add_argument("--failure", action="append", choices=FAILURES, metavar="NAME", help="only this one, such as 'lambda 0'")
    parser.add_argument("--trainings", type=int, metavar="N", help="only the first N healthy trainings")
    parser.add_argument("--pictures", type=int, default=180, help="of a healthy training (default: 180)")
    parser.add_argument("--width", type=int, help="channels of the networks whose looks are timed (default: the preset's)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {describe(torch.device('cpu'), 'fp32')}, one core")
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts or PARTS:
            PARTS[part](Path(folder), args)


if __name__ == "__main__":
    main()

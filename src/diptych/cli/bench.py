"""diptych bench: train several methods under one budget and compare them on the same images."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, find_own_modules, names, positive
from diptych.cli.own_files import out_folder, refuse_file
from diptych.cli.recipe_options import choose_recipe, parse, recipe_words
from diptych.errors import ConfigError

if TYPE_CHECKING:  # the real import waits until everything that needs no torch is checked
    from diptych.recipe import Recipe

STOPPED = "stopped; no result was written; costs, trainings and features of images are kept"
EXAMPLES = """\
  diptych bench cyclegan cut uvcgan2 --on horses/ zebras/ --preset laptop --hours 2
  diptych bench pix2pix pix2pixhd bridge --on facades/ --epochs 20 --data.direction b2a --metrics lpips_alex,ssim
  diptych bench cyclegan cut --on flowers/ --hours 1 --train.ema 0.999 --data.crop_size 96 --data.load_size 108
The same command again goes on where it stopped. Settings (--train.*, --data.*, --method.*) are given to all methods."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("bench", EXAMPLES, "diptych bench METHOD [METHOD ...] --on DATA [DATA] [options] [--part.name VALUE ...]")
    p.set_defaults(method=None)  # code is run only where it is a METHOD itself
    p.add_argument(
        "methods", metavar="METHOD", nargs="+", help="methods, published experiments, or .yaml/.json files; the first is the base"
    )
    p.add_argument("--on", nargs="+", required=True, metavar="DATA", help="the images, as for train, with test images")
    budget = p.add_mutually_exclusive_group()
    budget.add_argument("--hours", type=float, metavar="H", help="the time of each training; whole epochs that fit")
    budget.add_argument("--epochs", type=positive, default=0, metavar="N", help="the number of epochs of each training")
    p.add_argument("--seeds", type=positive, default=3, metavar="N", help="how often each method is trained (default: 3)")
    p.add_argument("--preset", help="paper or laptop, as for train (default: paper)")
    p.add_argument(
        "--metrics", type=names, metavar="LIST", help="names as for compare (default: all that can be compared without fetching)"
    )
    p.add_argument("--features", metavar="NET", help="the network of KID, as for evaluate")
    p.add_argument("--classifier", metavar="NET", help="of the target rate, as for evaluate")
    p.add_argument("--target", metavar="CLASS", help="the class that translated images should be of")
    p.add_argument("--weights", action="append", default=[], metavar="DIR", help="a folder of weight files, or NAME=FILE")
    p.add_argument("--device", default="auto", help="auto (all CUDA devices), cpu, cuda:N or mps (default: auto)")
    p.add_argument("--jobs", type=positive, default=1, metavar="N", help="how many trainings share the device (default: 1)")
    p.add_argument("--out", type=out_folder, metavar="DIR", help="the folder of the bench (default: runs/bench-DATA)")
    return p


def main(argv: Sequence[str]) -> int:
    """Train, score, print the table, and write the page."""
    args = parse(parser(), argv)
    refuse_file(args.out)
    find_own_modules(*args.methods, args.classifier)
    if args.hours is not None and not 0 < args.hours < math.inf:
        raise ConfigError(f"--hours must be a number above 0, found {args.hours:g}; without it each recipe keeps its own length")
    stems = [Path(word).stem.replace(":", "-") for word in args.methods]
    if twice := [name for name in stems if stems.count(name) > 1]:
        raise ConfigError(f"bench: {twice[0]} is named twice; name different methods")
    recipes = {name: choose_recipe(recipe_words(args, word, args.on)) for name, word in zip(stems, args.methods, strict=True)}
    from diptych.bench.bench import bench
    from diptych.bench.entries import Cost
    from diptych.cli.console import console, show_notes, watching
    from diptych.cli.plan import planned
    from diptych.cli.tables import watched
    from diptych.device import pick_device
    from diptych.messages import show
    from diptych.pages.comparison import write_comparison
    from diptych.scoring.many import devices_of, prefixed

    show_notes()
    out = args.out or Path("runs") / f"bench-{'-'.join(Path(word).name for word in args.on)}"
    devices = devices_of(args.device, args.jobs)

    def measure(name: str, recipe: Recipe) -> Cost:
        plan = planned(recipe, pick_device(args.device), f"{name}: measuring")
        epochs = recipe.train.epochs + recipe.train.decay_epochs
        return Cost(plan.seconds, plan.peak, max(1, round(plan.steps / epochs)))

    words = {name: getattr(args, name) for name in ("features", "weights", "classifier", "target")}
    with watching() as watch, watched(STOPPED) as watch_scoring:
        text, found = bench(
            recipes,
            out,
            measure,
            hours=args.hours or 0.0,
            epochs=args.epochs,
            num_seeds=args.seeds,
            metrics=args.metrics,
            words=words,
            devices=devices,
            watch=lambda name: prefixed(name, watch),
            watch_scoring=watch_scoring,
        )
    page = write_comparison(found, out)
    console.print(text, soft_wrap=True)
    console.print(f"page  {show(page)}", soft_wrap=True)
    return 0

"""diptych ablate: train the variants that the papers compare, and print their tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser, count, find_own_modules, names, positive
from diptych.cli.own_files import out_folder, refuse_file
from diptych.cli.recipe_options import choose_recipe, parse, recipe_words

EXAMPLES = """\
  diptych ablate pix2pix facades/ --preset laptop --seeds 3
  diptych ablate relief --labels a --palette auto:8 --train.epochs 3 --train.decay_epochs 3
  diptych ablate cyclegan maps/ --truth --variants gan-alone,full
The same command again goes on where it stopped. Every setting of the recipe can be given as --part.name VALUE."""


def parser() -> argparse.ArgumentParser:
    """The command's options. Recipe settings (--method.*, --data.*, --train.*) go into the recipe of all variants."""
    p = command_parser("ablate", EXAMPLES, "diptych ablate RECIPE [DATA ...] [options] [--part.name VALUE ...]")
    p.set_defaults(method=None)  # it knows the methods of diptych alone
    p.add_argument("recipe", metavar="RECIPE", help="cyclegan, pix2pix, a recipe of one of them by name, or a .yaml/.json file")
    p.add_argument("data", metavar="DATA", nargs="*", default=[], help="as for train, with test images")
    p.add_argument("--out", type=out_folder, metavar="DIR", help="the folder for runs and tables (default: runs/ablate-RECIPE)")
    p.add_argument("--preset", help="paper or laptop, as for train (default: paper)")
    p.add_argument("--seeds", type=positive, default=3, metavar="N", help="how often each variant is trained (default: 3)")
    p.add_argument(
        "--variants",
        type=names,
        default=[],
        metavar="LIST",
        help="the names of some variants (default: all)",
    )
    p.add_argument("--metrics", type=names, metavar="LIST", help="names as for evaluate (default: chosen by the data)")
    p.add_argument(
        "--truth", action="store_true", help="for cyclegan: pair the test images by name, to score them against the truth"
    )
    p.add_argument("--labels", choices=("a", "b"), help="the side whose colours are classes, for the FCN-score")
    p.add_argument("--palette", metavar="FILE", help="the colour of each class: .json, .txt, .png, or auto:K to find K")
    p.add_argument("--segmenter", metavar="NET", help="as for evaluate (default: one is first trained on the same pairs)")
    p.add_argument("--weights", action="append", default=[], metavar="DIR", help="a folder of weight files, or NAME=FILE")
    p.add_argument("--device", default="auto", help="auto (all CUDA devices), cpu, cuda:N or mps (default: auto)")
    p.add_argument(
        "--jobs", type=count, default=0, metavar="N", help="how many trainings run side by side (default: one on each device)"
    )
    p.add_argument("--dry-run", action="store_true", help="list the trainings and estimate their time; train nothing")
    return p


def main(argv: Sequence[str]) -> int:
    """Train all variants, score them, and print the tables."""
    args = parse(parser(), argv)
    refuse_file(args.out)
    find_own_modules(args.segmenter)
    base = choose_recipe(recipe_words(args, args.recipe, args.data))
    from diptych.ablation.ablate import ablate, comparable_images
    from diptych.ablation.trials import trials_of
    from diptych.cli.console import console, notes, show_notes, watching
    from diptych.cli.plan import planned
    from diptych.device import pick_device
    from diptych.scoring.many import devices_of

    show_notes()
    out = args.out or Path("runs") / f"ablate-{Path(args.recipe).stem.replace(':', '-')}"
    devices = devices_of(args.device, args.jobs)
    if args.dry_run:
        trials = trials_of(base, args.variants, args.seeds, out)
        comparable_images(base, out, args.truth or None)
        one = planned(base, pick_device(args.device))
        hours = len(trials) * one.steps * one.seconds / 3600 / len(devices)
        console.print(base.to_yaml() + one.comments(), soft_wrap=True, end="")
        console.print("\n".join(f"# {trial.name}: {trial.folder}" for trial in trials), soft_wrap=True)
        console.print(f"# {len(trials)} trainings, about {hours:.1f} hours if all take as long as the whole recipe")
        return 0
    with watching() as watch:
        tables = ablate(
            base,
            out,
            variants=args.variants,
            num_seeds=args.seeds,
            metrics=args.metrics,
            paired=args.truth or None,
            labels=args.labels,
            palette=args.palette,
            segmenter=args.segmenter,
            weights=args.weights,
            devices=devices,
            watch=watch,
        )
    console.print(tables, soft_wrap=True)
    notes.print(f"tables {out / 'tables.md'}, pictures {out / 'figure-*.png'}", soft_wrap=True)
    return 0

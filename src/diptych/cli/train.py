"""diptych train: train a translator on folders of images, score it, and write a report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from diptych.choices import Cache, Compile, LoggerName, OnNaN, OnSaveError
from diptych.cli import command_parser, count, find_own_modules, positive, seconds
from diptych.cli.own_files import out_folder, refuse_file
from diptych.cli.pairs import on_pairs
from diptych.cli.recipe_options import FILES, add_recipe, choose_recipe, parse
from diptych.prepare.recipes import kind_of

EXAMPLES = """\
  diptych train cyclegan photos/ --out runs/x          trainA/ trainB/ (testA/ testB/) inside photos/
  diptych train cyclegan horses/ zebras/ --preset laptop
  diptych train pix2pix facades/ --data.direction b2a  side-by-side A|B images, or A/ B/ paired by name
  diptych train horse2zebra                            a published experiment fetches its data, once you agree to their terms
  diptych train edges2photo photos/                    makes the pairs of one folder of photos first (docs/prepare.md)
  diptych train recipe.yaml --dry-run                  the complete recipe, its memory and its time
  diptych train cyclegan photos/ --weights horse2zebra.safetensors
  diptych train --from runs/x --more-epochs 50         go on where a finished run ended
The same command again resumes an interrupted run. Every setting that --dry-run prints can be given as --part.name VALUE."""


def parser() -> argparse.ArgumentParser:
    """The command's options. Recipe settings (--method.*, --data.*, --train.*) are parsed by the recipe."""
    p = command_parser("train", EXAMPLES, "diptych train RECIPE [DATA ...] [options] [--part.name VALUE ...]")
    add_recipe(p, required=False)
    p.add_argument(
        "--out", type=out_folder, metavar="DIR", help="the run folder to write or to resume (default: runs/RECIPE-DATA)"
    )
    p.add_argument(
        "--weights",
        metavar="FILE",
        help="begin with the weights of a snapshot, a run folder or another tool's file, as far as they fit",
    )
    p.add_argument("--weights-a2b", metavar="FILE", help="the same for the networks of the direction A to B alone")
    p.add_argument("--weights-b2a", metavar="FILE", help="the same for the networks of the direction B to A alone")
    p.add_argument(
        "--freeze",
        action="append",
        metavar="PART",
        help="do not train a part of the networks, such as G_ab.down; may be repeated",
    )
    p.add_argument(
        "--from",
        dest="from_run",
        type=Path,
        metavar="RUN",
        help="go on where the training of a run folder ended, in a new run folder; takes the place of RECIPE and, if none is "
        "named, of DATA; other settings may be given too",
    )
    p.add_argument("--more-epochs", type=positive, metavar="N", help="the number of epochs that --from goes on for")
    p.add_argument("--device", default="auto", help="the hardware that computes: auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="number of processes that load images (default: 0 for a CPU, up to 8 for a GPU)",
    )
    p.add_argument(
        "--cache",
        choices=get_args(Cache),
        default="auto",
        help="where decoded images are kept; auto takes RAM, or the GPU for a few images, if they fit (default: auto)",
    )
    p.add_argument(
        "--compile",
        choices=get_args(Compile),
        default="auto",
        help="compile the networks, which takes minutes in the first step; auto does not, as measured (default: auto)",
    )
    p.add_argument("--strict", action="store_true", help="refuse to train if any image cannot be read")
    p.add_argument(
        "--save-every", type=seconds, default=300.0, metavar="SECONDS", help="seconds between two saves (default: 300)"
    )
    p.add_argument(
        "--log-every", type=positive, default=50, metavar="STEPS", help="steps between two lines of losses (default: 50)"
    )
    p.add_argument(
        "--previews", type=count, default=20, metavar="N", help="number of contact sheets over the whole training (default: 20)"
    )
    p.add_argument(
        "--validations",
        type=count,
        default=20,
        metavar="N",
        help="how many times held-out images are scored over the whole training (default: 20)",
    )
    p.add_argument(
        "--patience",
        type=count,
        default=0,
        metavar="VALIDATIONS",
        help="end the training when so many validations in a row brought no better score (default: 0, never)",
    )
    p.add_argument(
        "--keep-every",
        type=count,
        default=0,
        metavar="EPOCHS",
        help="keep a snapshot after every so many epochs, besides the last and the best (default: 0, none)",
    )
    p.add_argument(
        "--report-every",
        type=count,
        default=0,
        metavar="MINUTES",
        help="write report.html during the training too; a browser that shows it keeps it up to date (default: 0, at the end)",
    )
    p.add_argument(
        "--log",
        action="append",
        default=[],
        choices=get_args(LoggerName),
        help="show losses, scores and previews in TensorBoard (in RUN/tensorboard) or Weights & Biases too; may be repeated",
    )
    p.add_argument(
        "--no-graph", action="store_true", help="on CUDA, launch each step as it is instead of replaying a recorded CUDA graph"
    )
    p.add_argument(
        "--no-test", action="store_true", help="do not score the test images at the end; `diptych evaluate` can do it later"
    )
    p.add_argument(
        "--on-nan",
        choices=get_args(OnNaN),
        default="stop",
        help="what to do after an update with NaN or infinity, which is never applied to the weights (default: stop)",
    )
    p.add_argument(
        "--on-save-error",
        choices=get_args(OnSaveError),
        default="stop",
        help="what to do when the disk refuses a save before the last one: stop, or warn and go on (default: stop)",
    )
    p.add_argument(
        "--auto-batch", action="store_true", help="when memory runs out, continue with each batch split into more parts"
    )
    p.add_argument(
        "--yes", action="store_true", help="agree to the terms of a published data set that is not here, and download it"
    )
    p.add_argument(
        "--dry-run", action="store_true", help="print the complete recipe and the plan of its training, and train nothing"
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Train, score the test images, and write the report."""
    args = parse(parser(), argv)
    refuse_file(args.out)
    find_own_modules(args.recipe, args.method)
    from diptych.cli.console import console, notes, show_notes, watching

    show_notes()
    recipe = choose_recipe(args)
    if kind := kind_of(args.recipe):
        recipe = on_pairs(kind, recipe, dry_run=args.dry_run, strict=args.strict)
    from diptych.cli.estimate import Estimate, advice
    from diptych.cli.finish import finish
    from diptych.cli.live import LivePage
    from diptych.cli.plan import largest_that_fit, planned
    from diptych.cli.run_folders import default_out, follow_up
    from diptych.data.listing import refuse_out_in_data
    from diptych.device import describe, pick_device, pick_precision
    from diptych.errors import OutOfMemory
    from diptych.pages.card import write_card
    from diptych.run import read_census
    from diptych.scoring.validation import validation_of
    from diptych.training.loop import train
    from diptych.training.progress import Progress
    from diptych.training.status import status_of

    device = pick_device(args.device)
    resolved = recipe.replace(**{"train.precision": pick_precision(recipe.train.precision, device)})
    out = args.out or (follow_up(args.from_run, resolved) if args.from_run else default_out(args.recipe, resolved))
    refuse_out_in_data(out, recipe.data.source)
    if args.dry_run:
        console.print(recipe.to_yaml() + planned(recipe, device).comments(), soft_wrap=True, end="")
        return 0
    first = os.environ.get("RANK", "0") == "0"
    if first:
        notes.print(f"{args.recipe} on {describe(device, resolved.train.precision)}, into {out}", soft_wrap=True)
    options = {
        "workers": args.workers,
        "cache": args.cache,
        "compile": args.compile,
        "graph": not args.no_graph,
        "strict": args.strict,
        "save_every": args.save_every,
        "log_every": args.log_every,
        "num_previews": args.previews,
        "validation": validation_of(recipe, args.device, out) if args.validations else None,
        "num_validations": args.validations,
        "patience": args.patience,
        "keep_every": args.keep_every,
        "loggers": args.log,
        "on_nan": args.on_nan,
        "on_save_error": args.on_save_error,
        "auto_batch": args.auto_batch,
    }
    may_take_preset = not (args.from_run or args.preset or args.recipe.endswith(FILES))
    shortage = ""
    before = status_of(out)
    estimate, page = Estimate(), LivePage(60.0 * args.report_every)
    try:
        with watching() as show_progress:

            def watch(step: Progress) -> None:
                if not first:
                    return
                show_progress(step)
                if page.due(step):
                    page.write(out)
                seconds = estimate.seconds(step) if device.type == "cpu" else None
                if seconds is not None and (text := advice(seconds, recipe, read_census(out), may_take_preset)):
                    notes.print(f"note: {text}", soft_wrap=True)

            train(recipe, out, device=args.device, watch=watch, **options)
    except OutOfMemory as error:  # the error keeps the training's memory in use; what fits can be measured once it is gone
        shortage = str(error)
    if shortage:
        raise OutOfMemory(shortage + (largest_that_fit(recipe, device) if "WORLD_SIZE" not in os.environ else ""))
    if first:
        after = status_of(out)
        nothing_new = before is not None and after is not None and before.step == after.step
        scored = nothing_new and (out / "evaluation.json").exists()
        finish(out, device=args.device, test=not (args.no_test or scored))
        write_card(out)
    return 0

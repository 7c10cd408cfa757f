"""diptych train: folders of images in, a trained and reported translator out."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, count, find_own_modules, positive

if TYPE_CHECKING:  # the real import waits until the command runs, so that --help is instant
    from diptych.recipe import Recipe

EXAMPLES = """\
  diptych train cyclegan photos/ --out runs/x          trainA/ trainB/ (testA/ testB/) inside photos/
  diptych train cyclegan horses/ zebras/ --preset laptop
  diptych train pix2pix facades/ --data.direction b2a  side-by-side A|B images, or A/ B/ paired by name
  diptych train recipe.yaml --dry-run                  the resolved recipe, memory and estimated time
The same command again resumes an interrupted run. Every setting that --dry-run prints can be given as --part.name VALUE."""


def parser() -> argparse.ArgumentParser:
    """The command's options; recipe settings (--method.*, --data.*, --train.*) pass through to the recipe."""
    p = command_parser("train", EXAMPLES, "diptych train RECIPE [DATA ...] [options] [--part.name VALUE ...]")
    p.add_argument(
        "recipe",
        metavar="RECIPE",
        help="a method (pix2pix, cyclegan, module:Class), a published experiment, or a .yaml/.json file",
    )
    p.add_argument(
        "data", metavar="DATA", nargs="*", help="one folder, two folders (A and B), or the name of embedded data: relief"
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="the run folder (default: runs/RECIPE)")
    p.add_argument("--preset", default="paper", help="paper: as published, 256 px; laptop: small, for a CPU (default: paper)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument("--workers", type=count, metavar="N", help="processes that read images (default: by device)")
    p.add_argument(
        "--cache",
        choices=("auto", "ram", "disk", "device", "off"),
        default="auto",
        help="where images stay once decoded; auto: in RAM, or on a GPU where they are few, if they fit (default: auto)",
    )
    p.add_argument(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="generate kernels for the networks: minutes in the first step; auto: off, as measured (default: auto)",
    )
    p.add_argument("--strict", action="store_true", help="refuse to train when any image cannot be read")
    p.add_argument("--save-every", type=float, default=300.0, metavar="SECONDS", help="how often to save (default: 300)")
    p.add_argument("--log-every", type=positive, default=50, metavar="STEPS", help="how often to log losses (default: 50)")
    p.add_argument("--previews", type=count, default=20, metavar="N", help="contact sheets over the whole training (default: 20)")
    p.add_argument(
        "--validations",
        type=count,
        default=20,
        metavar="N",
        help="times to score held-out images over the whole training (default: 20)",
    )
    p.add_argument(
        "--no-graph", action="store_true", help="on CUDA, launch each step as it is instead of replaying a recorded CUDA graph"
    )
    p.add_argument("--no-test", action="store_true", help="do not score the test images at the end; `diptych evaluate` can later")
    p.add_argument(
        "--on-nan",
        choices=("stop", "skip", "rollback"),
        default="stop",
        help="after an update that is not finite, which never reaches the weights (default: stop)",
    )
    p.add_argument(
        "--auto-batch", action="store_true", help="where memory runs out, go on with each batch in more parts, one after another"
    )
    p.add_argument(
        "--dry-run", action="store_true", help="print the resolved recipe, and what `diptych plan` says of it; train nothing"
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Train, score and report."""
    args, overrides = parser().parse_known_args(argv)
    from diptych.cli.console import console, notes, show_notes, watching
    from diptych.cli.finish import finish
    from diptych.cli.plan import largest_that_fit, planned
    from diptych.device import describe, pick_device, pick_precision
    from diptych.errors import OutOfMemory
    from diptych.scoring.validation import validation_of
    from diptych.training.loop import train

    show_notes()
    find_own_modules()
    recipe = choose_recipe(args.recipe, args.data, args.preset, overrides)
    out = args.out or Path("runs") / re.sub(r"\.(ya?ml|json)$", "", Path(args.recipe).name).replace(":", "-")
    device = pick_device(args.device)
    if args.dry_run:
        console.print(recipe.to_yaml() + planned(recipe, device).comments(), soft_wrap=True, end="")
        return 0
    first = os.environ.get("RANK", "0") == "0"
    if first:
        notes.print(
            f"{args.recipe} on {describe(device, pick_precision(recipe.train.precision, device))}, into {out}", soft_wrap=True
        )
    options = {
        "workers": args.workers,
        "cache": args.cache,
        "compile": args.compile,
        "graph": not args.no_graph,
        "strict": args.strict,
        "save_every": args.save_every,
        "log_every": args.log_every,
        "num_previews": args.previews,
        "validation": validation_of(recipe, args.device) if args.validations else None,
        "num_validations": args.validations,
        "on_nan": args.on_nan,
        "auto_batch": args.auto_batch,
    }
    shortage = ""
    try:
        with watching() as watch:
            train(recipe, out, device=args.device, watch=watch, **options)
    except OutOfMemory as error:  # it holds what the training held: what fits can be measured only when it is gone
        shortage = str(error)
    if shortage:
        raise OutOfMemory(shortage + (largest_that_fit(recipe, device) if "WORLD_SIZE" not in os.environ else ""))
    if first:
        finish(out, device=args.device, test=not args.no_test)
    return 0


def choose_recipe(name: str, data: Sequence[str], preset_name: str, overrides: Sequence[str]) -> Recipe:
    """The recipe that RECIPE, DATA, --preset and the settings on the command line mean together, as a Recipe."""
    from diptych.data.catalogue import EMBEDDED
    from diptych.errors import ConfigError
    from diptych.music.recipes import RECIPES as MUSIC
    from diptych.recipe import Recipe
    from diptych.recipes import RECIPES, named, preset

    recipes = RECIPES | MUSIC
    options = [re.sub(r"[+=].*", "", word, flags=re.DOTALL) for word in overrides if re.match("--?[A-Za-z]", word)]
    unknown = [word for word in options if "." not in word and word != "--extra"]
    if unknown or (overrides and not overrides[0].startswith("--")):
        raise ConfigError(
            f"no option is called {(unknown or overrides)[0]}; settings have two parts, such as --train.epochs 10; see --help"
        )
    source = {"source": [word if word in EMBEDDED else str(Path(word)) for word in data]} if data else {}
    if name.endswith((".yaml", ".yml", ".json")):
        base = Recipe.load(name)
    elif name in recipes:
        base = named(name, recipes)
    else:
        base = Recipe.create(name, preset(preset_name, name))
    values = base.to_dict()
    values["data"] |= source
    recipe = Recipe.from_dict(values, overrides)
    if not recipe.data.source:
        raise ConfigError(f"train {name}: no data given; name one or two folders, or relief, the embedded data")
    return recipe

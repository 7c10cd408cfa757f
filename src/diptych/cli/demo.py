"""diptych demo: train, score and report on the embedded real data, in minutes on two CPU cores."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser
from diptych.cli.own_files import out_folder

EXAMPLES = """\
  diptych demo               pix2pix: elevation tints to shaded relief; trained on the Old World, tested on the Americas
  diptych demo --unpaired    CycleGAN on the same tiles without their pairing"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("demo", EXAMPLES)
    p.add_argument("--unpaired", action="store_true", help="train CycleGAN, which is not told which tiles belong together")
    p.add_argument("--out", type=out_folder, metavar="DIR", help="the run folder (default: runs/demo or runs/demo-unpaired)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    return p


def main(argv: Sequence[str]) -> int:
    """Train the recipe of the demo, score it against the truth, and write the report."""
    args = parser().parse_args(argv)
    from diptych.cli.console import notes, show_notes, watching
    from diptych.cli.finish import finish
    from diptych.device import describe, pick_device, pick_precision
    from diptych.pages.card import write_card
    from diptych.recipes import relief, relief_unpaired
    from diptych.scoring.validation import validation_of
    from diptych.training.loop import train

    show_notes()
    out = args.out or Path("runs/demo-unpaired" if args.unpaired else "runs/demo")
    recipe = relief_unpaired() if args.unpaired else relief()
    device = pick_device(args.device)
    notes.print(
        f"{recipe.method.name} on {describe(device, pick_precision(recipe.train.precision, device))}, into {out}", soft_wrap=True
    )
    with watching() as watch:
        validation = validation_of(recipe, args.device)
        train(
            recipe, out, device=args.device, watch=watch, log_every=10, num_previews=8, validation=validation, num_validations=7
        )
    finish(out, device=args.device, truth=True)
    write_card(out)
    return 0

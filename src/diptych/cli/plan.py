"""diptych plan: measure how much memory and time a training would need."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, find_own_modules, train
from diptych.cli.recipe_options import add_recipe, choose_recipe, parse

if TYPE_CHECKING:  # the real imports wait until the command runs, so that --help is instant
    import torch

    from diptych.recipe import Recipe
    from diptych.training.planning.plan import Plan

EXAMPLES = """\
  diptych plan cyclegan horses/ zebras/ --preset laptop
  diptych plan pix2pix facades/ --train.batch_size 8 --json plan.json
Real training steps on random images are measured at two or three sizes, in separate processes.
The options of `diptych train` are taken too, so that its command can be planned by its first word.
The exit code is 0 if the training fits into the memory, and 3 if it does not."""


def parser() -> argparse.ArgumentParser:
    """The command's options. Recipe settings (--method.*, --data.*, --train.*) are parsed by the recipe."""
    p = command_parser("plan", EXAMPLES, "diptych plan RECIPE [DATA ...] [options] [--part.name VALUE ...]")
    add_recipe(p, required=False)
    p.add_argument("--device", default="auto", help="the hardware that computes: auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument("--json", metavar="FILE", type=Path, help="also write all numbers to this file, in bytes and seconds")
    for action in of_train(p):
        p._add_action(action)
    return p


MEANT = {"--weights", "--weights-a2b", "--weights-b2a", "--freeze", "--from", "--more-epochs", "--yes"}
"""Options of train that say what is trained; the others say how, of which a plan takes no account."""


def of_train(p: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options of train that a parser lacks, which help does not list; None means that one is not given."""
    own = {option for action in p._actions for option in action.option_strings}
    actions = [
        action for action in train.parser()._actions if action.option_strings and not own.intersection(action.option_strings)
    ]
    for action in actions:
        action.help, action.default = argparse.SUPPRESS, None
    return actions


def main(argv: Sequence[str]) -> int:
    """Measure and print; return 3 when the training would not fit."""
    args = parse(p := parser(), argv)
    if args.recipe is None and args.from_run is None and args.more_epochs is None:
        p.error("the following arguments are required: RECIPE")
    find_own_modules(args.recipe, args.method)
    recipe = choose_recipe(args)
    from diptych.cli.console import console, notes, show_notes
    from diptych.cli.own_files import refuse_foreign
    from diptych.device import pick_device
    from diptych.files import refuse_overwrite
    from diptych.run import write_json

    show_notes()
    idle = [
        action.option_strings[0]
        for action in p._actions
        if action.help == argparse.SUPPRESS and vars(args)[action.dest] is not None
    ]
    if idle := [option for option in idle if option not in MEANT]:
        notes.print(f"note: a plan takes no account of {', '.join(idle)}", soft_wrap=True)
    refuse_overwrite(args.json, args.recipe)
    refuse_foreign(args.json, (b'"margin"', b'"measured"'))
    found = planned(recipe, pick_device(args.device))
    console.print("\n".join(found.lines()), soft_wrap=True)
    if args.json:
        write_json(args.json, found.to_dict())
    return 0 if found.fits else 3


def planned(recipe: Recipe, device: torch.device, task: str = "measuring") -> Plan:
    """Make a plan, with a progress bar."""
    from diptych.cli.console import bar
    from diptych.training.planning.plan import NUM_TASKS, plan_training

    with bar("") as progress:
        number = progress.add_task(task, total=NUM_TASKS, note="")
        progress.update(number, completed=0)
        found = plan_training(recipe, device, lambda: progress.advance(number))
        progress.update(number, completed=NUM_TASKS)
    return found


def largest_that_fit(recipe: Recipe, device: torch.device) -> str:
    """Advice for a training that ran out of memory: the sizes that fit, measured now. It is empty if they cannot be measured."""
    from diptych.errors import DiptychError

    try:
        found = planned(recipe, device)
    except (DiptychError, RuntimeError, OSError):  # the training's own error is the one to report
        return ""
    return "; measured now: it fits with " + found.advice()

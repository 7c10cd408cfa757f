"""diptych zoo: list trained networks that can be used by name, or make files for such a list."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser
from diptych.cli.own_files import out_folder
from diptych.errors import ConfigError
from diptych.licences import licence_of

EXAMPLES = """\
  diptych zoo                                                       what there is
  diptych translate elevation2relief map.png --out relief.png       a name instead of a file
  diptych zoo pack runs/x --name horse2zebra --back zebra2horse --licence CC0-1.0 --shows "horses to zebras" --out zoo/
  diptych zoo pack runs/x --name horse2zebra --discriminators --licence CC0-1.0 --shows "horses to zebras" --out zoo/
  diptych zoo pack runs/x --name horse2zebra --bits 8 --licence CC0-1.0 --shows "horses to zebras" --out zoo/
$DIPTYCH_ZOO names another zoo: a folder, or https://..."""

WIDTH = 100  # columns of the table where there is no terminal that is narrower


def parser() -> argparse.ArgumentParser:
    """The command's actions and their options."""
    p = command_parser("zoo", EXAMPLES, "diptych zoo [pack SNAPSHOT ...]")
    actions = p.add_subparsers(dest="action", metavar="ACTION", parser_class=type(p), prog="diptych zoo")
    sentence = "Write each network of a snapshot as a small file of its own, with a card and an entry in the folder's zoo.json."
    c = actions.add_parser("pack", help="make the files of a zoo from a snapshot", description=sentence, allow_abbrev=False)
    c.add_argument("snapshot", metavar="SNAPSHOT", type=Path, help="a run folder or a snapshot")
    c.add_argument("--name", required=True, help="the name of the network from A to B; NAME-D_b and so on are discriminators")
    c.add_argument("--back", default="", metavar="NAME", help="the name of the network from B to A (default: NAME-b2a)")
    c.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="the folder of the zoo")
    c.add_argument("--shows", required=True, metavar="TEXT", help="what it does and what it was trained on, in one sentence")
    c.add_argument(
        "--shows-back", default="", metavar="TEXT", help="the same for the network from B to A (default: TEXT, backwards)"
    )
    c.add_argument(
        "--licence",
        required=True,
        metavar="ID",
        help="what others may do with it; mind the training images: an identifier of SPDX such as CC-BY-4.0, perhaps with a "
        "remark in parentheses, https://..., or 'other: TEXT'",
    )
    c.add_argument("--discriminators", action="store_true", help="pack the discriminators of the run folder as well")
    c.add_argument(
        "--bits",
        default=16,
        type=int,
        choices=(16, 8),
        help="bits of a weight: 16, or 8 for files of half the size, less exact (default: 16)",
    )
    c.add_argument(
        "--max-error",
        default=1.0,
        type=float,
        metavar="LEVELS",
        help="the largest mean difference that this may make to outputs, in levels of 255 (default: 1)",
    )
    return p


def main(argv: Sequence[str]) -> int:
    """List the zoo, or pack a snapshot."""
    args = parser().parse_args(argv)
    return pack(args) if args.action == "pack" else listing()


def listing() -> int:
    """Print a table of what every network does, its name, size, licence and scores."""
    from rich import box
    from rich.table import Table

    from diptych.cli.console import Plain, console
    from diptych.messages import printable
    from diptych.zoo import models

    found = models()
    if not found:
        console.print("this zoo is empty; `diptych zoo pack` adds to one", soft_wrap=True)
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("What it does", ratio=2)
    table.add_column("Name", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("Licence and scores", ratio=3)
    for model in found.values():
        does = f"{model.shows}{'' if model.generator else ' (discriminator)'}"
        about = [model.licence, *(f"{name} {value}" for name, value in model.scores.items())]
        table.add_row(printable(does), model.name, f"{model.size / 1e6:.1f}", "\n".join(map(printable, about)))
        table.add_section()
    width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    Plain(highlight=False, markup=False, emoji=False, width=width).print(table)
    console.print("next: diptych translate NAME PHOTO --out RESULT.png", soft_wrap=True)
    return 0


def pack(args: argparse.Namespace) -> int:
    """Write the files of one snapshot, and print what the bits of their weights cost."""
    for option, name in (("--name", args.name), ("--back", args.back or args.name)):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise ConfigError(f"{option} {name!r}: must be of lower-case letters, digits, - and _, as it is typed as a word")
    licence = licence_of(args.licence)
    from diptych.cli.console import console, show_notes
    from diptych.messages import show
    from diptych.scoring.packing import pack_snapshot

    show_notes()
    for model, cost in pack_snapshot(
        args.snapshot,
        args.name,
        args.out,
        args.shows,
        licence,
        back=args.back,
        shows_back=args.shows_back,
        discriminators=args.discriminators,
        bits=args.bits,
        max_error=args.max_error,
    ):
        apart = f"  {cost}" if cost else ""
        console.print(f"{show(args.out / model.file)}  {model.size:,} bytes{apart}", soft_wrap=True)
    return 0

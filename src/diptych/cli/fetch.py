"""diptych fetch: download a published data set."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser
from diptych.errors import ConfigError

EXAMPLES = """\
  diptych fetch                              the data sets, their sizes and their terms
  diptych fetch horse2zebra                  into the cache; then: diptych train horse2zebra horse2zebra
  diptych fetch maps --out data/maps
$DIPTYCH_DATA names another cache, $DIPTYCH_DATA_URL a mirror: https://..., file:///... or http://localhost..."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("fetch", EXAMPLES)
    p.add_argument("name", metavar="NAME", nargs="?", help="the data set; without one, all are listed")
    p.add_argument("--out", type=Path, metavar="DIR", help="the folder to unpack into (default: NAME in the cache)")
    return p


def main(argv: Sequence[str]) -> int:
    """Say the terms, fetch, unpack, and print what was found."""
    args = parser().parse_args(argv)
    from diptych.cli.console import bar, console, show_notes
    from diptych.data.folders import find_data
    from diptych.data.published import PUBLISHED, fetch, fetched, published
    from diptych.messages import show

    if not args.name:
        if args.out:
            raise ConfigError("--out: needs the name of a data set; `diptych fetch` alone lists them")
        for each in PUBLISHED.values():
            size = f"{each.size / 1e6:,.0f} MB" if each.size else "size unknown"
            here = "  (fetched)" if fetched(each.name) else ""
            console.print(f"{each.name:24}{each.shows} ({size}){here}", soft_wrap=True)
            console.print(f"{'':24}{each.terms}", soft_wrap=True)
        return 0
    show_notes()
    wanted = published(args.name)
    console.print(f"terms: {wanted.terms}", soft_wrap=True)
    with bar("bytes") as progress:
        task = progress.add_task(wanted.name, total=None, note="")
        folder = fetch(wanted, args.out, lambda done, total: progress.update(task, completed=done, total=total or None))
    layout = find_data([folder], paired=wanted.paired)
    splits = {"train": layout.train, "val": layout.val, "test": layout.test}
    counts = ", ".join(f"{name} {split}" for name, split in splits.items() if split)
    console.print(f"{show(folder)}: {wanted.shows}; {counts}", soft_wrap=True)
    method = "pix2pix" if wanted.paired else "cyclegan"
    way = f" --data.direction {wanted.direction}" if wanted.direction != "a2b" else ""
    console.print(f"next: diptych train {method} {show(folder)}{way}", soft_wrap=True)
    return 0

"""diptych check: check a data set before training."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, positive
from diptych.cli.own_files import out_folder

if TYPE_CHECKING:  # the real import waits until the command runs, so that --help is instant
    from diptych.data.checkup import Checkup

EXAMPLES = """\
  diptych check facades/                       one folder, as `diptych train` takes it
  diptych check photos/ paintings/ --unpaired  two folders whose equal names mean nothing
  diptych check facades/ --json | jq .findings
The exit code is 0 if nothing was found, 1 if the data can be used in spite of findings, and 2 if a training would refuse it."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("check", EXAMPLES)
    p.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="the images: one folder, two folders (A and B), lists, archives (docs/sets.md), or relief, which is embedded",
    )
    pairs = p.add_mutually_exclusive_group()
    pairs.add_argument(
        "--paired",
        action="store_true",
        default=None,
        help="treat images of the same name as pairs (default: layout and names decide, and films are no pairs)",
    )
    pairs.add_argument("--unpaired", dest="paired", action="store_false", help="treat the images as two sets without pairs")
    p.add_argument(
        "--data.layout",
        dest="layout",
        choices=("auto", "side_by_side"),
        default="auto",
        help="side_by_side: one folder holds images A|B, whatever their shape (default: auto)",
    )
    p.add_argument(
        "--out", type=out_folder, metavar="DIR", help="the folder for check.html and check.json (default: runs/check-DATA)"
    )
    p.add_argument("--json", action="store_true", help="print everything as JSON instead of a summary")
    p.add_argument(
        "--workers", type=positive, metavar="N", help="number of threads that read images (default: one for each core)"
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Check, write the page, and print what was found."""
    args = parser().parse_args(argv)
    from diptych.cli.console import bar, console, show_notes
    from diptych.cli.own_files import PAGE, refuse_foreign
    from diptych.data.checkup import check
    from diptych.messages import show
    from diptych.pages.checkup import write_checkup

    show_notes()
    out = args.out or default_folder(args.data)
    refuse_foreign(out / "check.json", (b'"sources"', b'"verdict"'))
    refuse_foreign(out / "check.html", PAGE)
    with bar("files") as progress:
        task = progress.add_task("looking", total=None, note="")
        found = check(
            args.data,
            paired=args.paired,
            layout=args.layout,
            threads=args.workers or os.cpu_count() or 1,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    page = write_checkup(out, found)
    if args.json:
        console.print(json.dumps(found.to_dict(), indent=2), soft_wrap=True)
    else:
        console.print("\n".join(summary(found)), soft_wrap=True)
        console.print(show(page), soft_wrap=True)
    return found.verdict


def default_folder(sources: Sequence[str]) -> Path:
    """runs/check-DATA. Raises ConfigError where the check of other data of this name is there."""
    from diptych.data.archives import split_archive
    from diptych.data.formats import show
    from diptych.errors import ConfigError, DataError
    from diptych.schemas import MAPPING, read_json

    inside = [split_archive(Path(source).resolve()) for source in sources]
    named = [
        f"{at[0].name}/{at[1]}".strip("/") if at else Path(source).resolve().name
        for source, at in zip(sources, inside, strict=True)
    ]
    names = [re.sub(r"[^\w.-]+", "-", show(name)) for name in named]
    folder = Path("runs") / f"check-{'-'.join(names)}"
    try:
        checked = [*map(str, read_json(folder / "check.json", MAPPING)["sources"])]
    except FileNotFoundError:
        return folder
    except (OSError, DataError, LookupError, TypeError):
        checked = []
    if [os.path.realpath(source) for source in checked] != [os.path.realpath(source) for source in sources]:
        other = f"the check of {show(' and '.join(checked))}" if checked else "a check.json that cannot be read"
        raise ConfigError(f"{show(folder)}: holds {other}; name another folder with --out")
    return folder


def summary(found: Checkup) -> list[str]:
    """The findings in a few lines, the most serious first."""
    from diptych.data.checkup import VERDICTS

    rows = [(row.split or "?", row.side, f"{row.images:,}", row.kinds, row.sizes, row.files) for row in found.rows]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    lines = [f"{found.layout}: {found.pairing}"]
    lines += ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), *row[4:]]) for row in rows]
    lines += [f"{'error' if finding.blocks else 'found'}: {finding}" for finding in found.findings]
    lines += [f"note: {note}" for note in found.notes]
    return [*lines, *([found.alignment] if found.alignment else []), f"{found.images:,} images: {VERDICTS[found.verdict]}"]

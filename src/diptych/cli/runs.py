"""diptych runs: list the runs in a folder, how far each came, and its best score."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser

EXAMPLES = """\
  diptych runs                    all runs in runs/
  diptych runs experiments/ --json runs.json
Runs that are being trained are listed too. The best score is that of snapshot-best.safetensors, with its rule."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("runs", EXAMPLES)
    p.add_argument(
        "folder", metavar="DIR", type=Path, nargs="?", default=Path("runs"), help="a folder of run folders (default: runs)"
    )
    p.add_argument("--json", metavar="FILE", type=Path, help="write the list there as well")
    return p


def main(argv: Sequence[str]) -> int:
    """Print a line for each run."""
    args = parser().parse_args(argv)
    from dataclasses import asdict

    from diptych.cli.console import console, show_notes
    from diptych.cli.own_files import refuse_foreign
    from diptych.errors import DataError
    from diptych.messages import show
    from diptych.run import write_json
    from diptych.training.status import RunStatus, find_runs

    show_notes()
    refuse_foreign(args.json, (b'"folder"', b'"state"'))
    if not args.folder.is_dir():
        raise DataError(f"{show(args.folder)}: no such folder; train something, or name the folder of your runs")
    found = find_runs(args.folder)
    if not found:
        raise DataError(f"{show(args.folder)}: holds no runs; name the folder of your runs")

    def progress(run: RunStatus) -> str:
        if not run.steps:
            return run.state
        return f"{run.state}, {run.step:,} steps" if run.finished else f"{run.state} at {run.step / run.steps:.0%}"

    rows = [(show(run.folder), run.method, progress(run), run.best or "no best snapshot") for run in found]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        console.print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]), soft_wrap=True)
    if args.json:
        write_json(args.json, [asdict(run) | {"folder": str(run.folder)} for run in found])
    return 0

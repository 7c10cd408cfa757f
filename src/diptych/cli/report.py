"""diptych report: write a run's report.html again from its folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser

EXAMPLES = """\
  diptych report runs/x        also while it is still training
  diptych report runs/demo"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("report", EXAMPLES)
    p.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    return p


def main(argv: Sequence[str]) -> int:
    """Write the report and print its path."""
    args = parser().parse_args(argv)
    from diptych.cli.console import show_notes
    from diptych.pages.report import write_report
    from diptych.recorded import named_in

    show_notes()
    if (args.run / "recipe.json").exists():  # a page beside a recipe of nothing would pass for a report
        named_in(args.run / "recipe.json")
    print(write_report(args.run))
    return 0

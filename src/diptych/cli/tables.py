"""An evaluation on the terminal: progress, tables, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from diptych.cli.console import bar, notes
from diptych.evaluation.results import Evaluation
from diptych.evaluation.tables import reasons, tables
from diptych.pages.comparison import PairTable
from diptych.training.signals import catch_interrupts


@contextmanager
def watched(
    stopped: str = "stopped; no result was written, features of images are kept",
) -> Iterator[Callable[[str, int, int], None]]:
    """A watch that draws a bar for each task it hears of; a signal ends the block at once, with one line."""
    with catch_interrupts() as interrupts, interrupts.at_once(stopped), bar("images") as progress:
        tasks: dict[str, TaskID] = {}

        def watch(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, note="")
            progress.update(tasks[name], completed=done, total=total)

        yield watch


def print_tables(evaluation: Evaluation) -> None:
    """Print a table for each direction: numbers with their intervals, and each metric with its N and protocol."""
    wide = wide_console()
    for found in tables(evaluation.to_json()):
        table = Table(title=found.title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        for title in found.columns.values():
            table.add_column(title, justify="right")
        for row in found.rows:
            cells = [row.cells.get(of) for of in found.columns]
            texts = ["\n".join(filter(None, (c.value, c.interval, c.note))) if c else "" for c in cells]
            better = "↑" if row.better == "higher" else "↓"
            unit = f", {row.unit}" if row.unit else ""
            table.add_row(f"{better} {row.title}{unit}\n  N={row.n:,} {row.protocol}", *texts)
        wide.print(table)


def print_differences(found: Sequence[PairTable]) -> None:
    """Print a table for each pair of systems: values, difference with its interval, p, and which is better."""
    wide = wide_console()
    for pair in found:
        title = f"{pair.one} against {pair.other}, {pair.direction}"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        for heading in (pair.one, pair.other, "Difference", "p"):
            table.add_column(heading, justify="right")
        table.add_column("Better")
        for row in pair.rows:
            better = "undecided" if row.better is None else (pair.one, pair.other)[row.better]
            table.add_row(
                f"{row.arrow} {row.title}\n  N={row.n:,}",
                "\n".join(row.one),
                "\n".join(row.other),
                f"{row.difference}\n{row.interval}",
                row.p,
                better,
            )
        wide.print(table)


def wide_console() -> Console:
    """A console for tables: as wide as the terminal, or 160 columns where there is none."""
    wide = Console(highlight=False, markup=False, emoji=False)
    return wide if wide.is_terminal else Console(highlight=False, markup=False, emoji=False, width=160)


def say_left_out(left_out: Mapping[str, str]) -> None:
    """Print the metrics that were not computed, in one line for each reason."""
    for names, reason in reasons(left_out):
        notes.print(f"not computed: {names}: {reason}", soft_wrap=True)

"""An evaluation on the terminal and in a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich import box
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from diptych.cli.console import notes
from diptych.errors import Interrupted
from diptych.evaluation.results import Evaluation
from diptych.evaluation.tables import reasons, tables
from diptych.training.signals import Interrupts


def watcher(progress: Progress, interrupts: Interrupts) -> Callable[[str], Callable[[int, int], None]]:
    """Makes a watch for each task: it draws the bar, and stops the work after a signal."""
    tasks: dict[str, TaskID] = {}

    def task(name: str) -> Callable[[int, int], None]:
        def watch(done: int, total: int) -> None:
            if interrupts.signum:
                raise Interrupted("stopped; no result was written, features of images are kept", interrupts.signum)
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, note="")
            progress.update(tasks[name], completed=done, total=total)

        return watch

    return task


def print_tables(evaluation: Evaluation) -> None:
    """One table for each direction: every number with its interval, and below each metric its N and protocol."""
    wide = Console(highlight=False, markup=False, emoji=False)
    if not wide.is_terminal:
        wide = Console(highlight=False, markup=False, emoji=False, width=160)
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


def say_left_out(left_out: Mapping[str, str]) -> None:
    """One line for each reason."""
    for names, reason in reasons(left_out):
        notes.print(f"not computed: {names}: {reason}", soft_wrap=True)

"""What people see while a command works: progress bars, notes and warnings."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diptych.cli.progress import Count, Lines

if TYPE_CHECKING:  # at run time this would import torch, before wrong words are refused
    from diptych.training.progress import Progress as Step
    from diptych.training.progress import Watch

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line ends


class Plain(Console):
    """A console on which texts cannot steer the terminal: names of files may hold escape sequences."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as Console does, with control characters written out."""
        super().print(*(_written_out(each) if isinstance(each, str) else each for each in objects), **options)


def _written_out(text: str) -> str:
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


console = Plain(highlight=False, markup=False, emoji=False)  # file names may hold [brackets] and :colons:
notes = Plain(stderr=True, highlight=False, markup=False, emoji=False)


class Notes(logging.Handler):
    """A log handler that prints the library's log as plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record as a note or a warning."""
        prefix = "warning: " if record.levelno >= logging.WARNING else "note: "
        notes.print(prefix + record.getMessage(), soft_wrap=True)


def show_notes() -> None:
    """Send the library's log to stderr."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # diptych itself reports damaged TIFFs
    logger = logging.getLogger("diptych")
    logger.handlers = [Notes()]
    logger.setLevel(logging.INFO)


class Bars(Progress):
    """Progress bars that become lines by time on an output that is no terminal (see diptych.cli.progress)."""

    def __init__(self, *columns: ProgressColumn) -> None:
        super().__init__(*columns, console=notes, disable=not notes.is_terminal)
        self.lines = Lines(lambda text: notes.print(text, soft_wrap=True))

    def add_task(
        self,
        description: str,
        start: bool = True,
        total: float | None = 100.0,
        completed: int = 0,
        visible: bool = True,
        **fields: Any,
    ) -> TaskID:
        """Add a task as Progress does, whose bar ends with a note."""
        return super().add_task(description, start, total, completed, visible, **({"note": ""} | fields))

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task as Progress does."""
        super().update(task_id, **changes)
        if self.disable:
            task = next(task for task in self.tasks if task.id == task_id)
            self.lines.see(Count(task.description, int(task.completed), int(task.total or 0)))

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Say that more of a task is done."""
        self.update(task_id, advance=advance)


@contextmanager
def bar(unit: str) -> Iterator[Progress]:
    """A progress bar on stderr with count, elapsed and remaining time.

    When stderr is not a terminal, it prints lines by time instead.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    times = (
        TimeElapsedColumn(),
        TextColumn("<"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, *times) as progress:
        yield progress


@contextmanager
def watching() -> Iterator[Watch]:
    """A Watch that draws a progress bar for each task of a training, with speed and losses.

    When stderr is not a terminal, it prints lines by time instead (see diptych.cli.progress).
    """
    lines = Lines(lambda text: notes.print(text, soft_wrap=True))
    with bar("") as progress:
        tasks: dict[str, TaskID] = {}
        short = ""

        def watch(step: Step) -> None:
            nonlocal short
            if step.task == "preview":
                return
            if not notes.is_terminal:
                lines.see(step)
                return
            if step.task not in tasks:
                tasks[step.task] = progress.add_task(step.task, total=step.total, completed=step.done, note="")
            phases = {name.partition("/")[0]: 0.0 for name in step.losses or {}}
            for name, value in (step.losses or {}).items():
                phases[name.partition("/")[0]] += value
            short = "".join(f"  {phase} {value:.3f}" for phase, value in phases.items()) or short  # all terms do not fit
            where = f"epoch {step.epoch}  {step.images_s:.3g} images/s" if step.epoch and step.images_s else ""
            progress.update(tasks[step.task], completed=step.done, note=where + (short if step.epoch else ""))

        yield watch

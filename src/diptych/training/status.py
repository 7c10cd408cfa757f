"""How far a run came, from its folder alone: also while another process trains it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diptych.errors import ConfigError, DiptychError
from diptych.locks import is_locked
from diptych.recipe_files import method_named, read_values
from diptych.recorded import Recorded
from diptych.run import CENSUS, Run, read_census
from diptych.training.job import Schedule
from diptych.trees import read_header
from diptych.walking import walk

State = Literal["not begun", "training", "stopped", "stopped early", "finished", "damaged"]


@dataclass(frozen=True)
class RunStatus:
    """A run in a few facts: ``step`` of ``steps`` are saved; ``best`` says how the best snapshot was chosen, and its score.

    ``steps`` is 0 before the images were read, and where the recipe cannot be understood.
    """

    folder: Path
    method: str
    state: State
    step: int = 0
    steps: int = 0
    best: str = ""

    @property
    def finished(self) -> bool:
        """Whether the same command would train no further step."""
        return self.state == "finished"


def status_of(folder: Path) -> RunStatus | None:
    """The status of a run folder; None for a folder that holds no recipe."""
    path = folder / "recipe.json"
    if not path.is_file():
        return None
    try:
        method = method_named(read_values(path))
    except ConfigError:
        return RunStatus(folder, "?", "damaged")
    run = Run(folder)
    states = run.states()
    step = int(states[0].stem.removeprefix("state-")) if states else 0
    steps = _steps(folder)
    lines = run.lines()
    state: State = "stopped" if step else "not begun"
    if steps and step >= steps:
        state = "finished"
    elif is_locked(folder):
        state = "training"
    elif lines and "early_stop" in lines[-1]:
        state = "stopped early"
    return RunStatus(folder, method, state, step, steps, _selection(run.best))


def find_runs(folder: Path) -> list[RunStatus]:
    """The runs in a folder and in the folders inside it, in the order of their names; runs are not searched for other runs.

    Raises DataError as `walk` does.
    """
    runs: list[RunStatus] = []
    for path, folders, _ in walk(folder):
        if found := status_of(Path(path)):
            runs.append(found)
            folders.clear()
        folders[:] = [inside for inside in folders if not os.path.basename(inside).startswith(".")]
    return sorted(runs, key=lambda run: run.folder)


def _steps(folder: Path) -> int:
    """The steps of the whole training; 0 where they are not known."""
    try:
        recipe = Recorded.read(folder / "recipe.json")
        census = read_census(folder) if (folder / CENSUS).exists() else None
    except (DiptychError, OSError):
        return 0
    return Schedule(recipe.train, max(len(census.split.a), len(census.split.b))).steps if census else 0


def _selection(best: Path) -> str:
    if not best.exists():
        return ""
    try:
        header: Any = read_header(best)
        return str(header["about"].get("selection", ""))
    except (DiptychError, LookupError, AttributeError):
        return ""

"""The run folder: the files that a training writes, the lock that lets one process write them, and resuming.

recipe.json                 the complete recipe
census.json                 the training images, their domains, and which files were skipped, with the reason
files.json                  the names and sizes of the image files and hashes of some, by which they are known again elsewhere
stats.jsonl                 one line of losses for every so many steps, appended
preview-*.png               contact sheets of the same images, translated as training proceeds
snapshot.safetensors        the translators, replaced at every save; safe to share
snapshot-epoch-*.safetensors   the translators after some epochs, where they are to be kept
snapshot-best.safetensors   the translators with the best score on the validation images
state-*.safetensors         everything that an exact resume needs; the last two are kept
evaluation.json, evaluation.html, report.html
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diptych.data.census import Census
from diptych.data.fingerprints import Prints, read_prints, write_prints
from diptych.data.listing import refuse_out_in_data
from diptych.errors import ConfigError, DataError, DiptychError, SnapshotError, StorageError
from diptych.files import open_to_append, read_bounded, read_text, remove_remains, sha256_of, sync, write_atomic
from diptych.locks import take_lock
from diptych.messages import show
from diptych.recipe import Recipe, first_difference
from diptych.recipe_files import read_values
from diptych.snapshot import check_header
from diptych.stats_lines import read_stats as read_stats
from diptych.trees import Tree, read_tree, write_tree

log = logging.getLogger(__name__)
RECIPE = "recipe.json"
CENSUS = "census.json"
PRINTS = "files.json"
STATE_FORMAT = 1
WRITTEN = (CENSUS, PRINTS, "stats.jsonl", "snapshot.safetensors", "snapshot-best.safetensors", "report.html", "evaluation.json")
KEPT_STATES = 2
MOST_BYTES = 2**31  # of a census; one of a million images has a tenth of it


class Run:
    """A run folder that one process may write. Open it with ``with Run.open(...)``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshot = folder / "snapshot.safetensors"
        self.best = folder / "snapshot-best.safetensors"
        self.stats = folder / "stats.jsonl"
        self._lock_id = 0  # the inode of the lock file, where this process holds the lock

    @classmethod
    @contextmanager
    def open(cls, folder: Path, recipe: Recipe) -> Iterator[Run]:
        """Make a run folder or open an existing one, and hold its lock meanwhile.

        Raises LockedError while another process holds the lock, ConfigError when the folder lies in the data or holds a run of
        another recipe, naming the first difference (settings that only affect memory may differ), and StorageError when it cannot
        be written.
        """
        refuse_out_in_data(folder, recipe.data.source)
        refuse_other_files(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open_to_append(folder / ".lock")  # held until the run ends
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made or written ({error.strerror}); choose another --out") from error
        with lock:
            take_lock(lock, folder)
            run = cls(folder)
            run._lock_id = os.fstat(lock.fileno()).st_ino
            new = not (folder / RECIPE).exists()
            run._check_recipe(recipe)
            try:
                yield run
            except DiptychError:
                left = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
                if new and left and left <= {RECIPE, ".lock"}:  # refused before it began
                    (folder / RECIPE).unlink(missing_ok=True)
                raise

    def _check_recipe(self, recipe: Recipe) -> None:
        path = self.folder / RECIPE
        if not path.exists():
            self.write_json(RECIPE, recipe.to_dict())
            return
        try:
            kept = read_values(path)
            kept = Recipe.from_dict(kept).to_dict()  # a recipe of an older version lacks newer settings
        except (OSError, ValueError, ConfigError) as error:
            raise ConfigError(
                f"{path}: damaged ({error}); remove it to go on with the recipe you give, or choose another --out"
            ) from error
        given = recipe.to_dict()
        difference = first_difference(kept, given)
        if difference and self.states():
            raise ConfigError(
                f"{self.folder}: holds a run of another recipe ({difference}); "
                "give the settings that it began with to go on with it, or another --out for a new run"
            )
        source = kept["data"]["source"]
        if (difference or source != given["data"]["source"]) and not self.states():  # nothing was learnt yet, so nothing is lost
            for name in (CENSUS, PRINTS):
                (self.folder / name).unlink(missing_ok=True)
        elif kept != given:  # the place of the data is written once the data were found to be the same
            given = given | {"data": given["data"] | {"source": source}}
        if kept != given:
            self.write_json(RECIPE, given)

    def snapshot_of_epoch(self, epoch: int) -> Path:
        """The file of a snapshot that is kept after an epoch."""
        return self.folder / f"snapshot-epoch-{epoch:04d}.safetensors"

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of this folder atomically."""
        write_json(self.folder / name, value)

    def census(self) -> Census | None:
        """The census of this run, None before the first training."""
        return read_census(self.folder) if (self.folder / CENSUS).exists() else None

    def keep_census(self, census: Census) -> None:
        """Write the census, so that a resumed run trains on the same images and need not read all of them again."""
        write_atomic(self.folder / CENSUS, census.to_json().encode())

    def prints(self) -> Prints | None:
        """The names, sizes and some hashes of the image files that this run began with; None for a run of an earlier version."""
        path = self.folder / PRINTS
        return read_prints(read_text(path)) if path.exists() else None

    def keep_prints(self, prints: Prints) -> None:
        """Write down which image files this run begins with."""
        write_atomic(self.folder / PRINTS, write_prints(prints).encode())

    def keep_source(self, recipe: Recipe) -> None:
        """Write down where the data lie now, once they were found to be those that this run began with."""
        kept = read_values(self.folder / RECIPE)
        places = {"source": list(recipe.data.source)} | ({"instances": recipe.data.instances} if recipe.data.instances else {})
        if (data := kept["data"] | places) != kept["data"]:
            self.write_json(RECIPE, kept | {"data": data})

    def refuse_removed(self) -> None:
        """Raise StorageError when the run folder was removed while this process trains into it; nothing is made anew there."""
        try:
            there = (self.folder / ".lock").stat().st_ino if self._lock_id else int(self.folder.is_dir())
        except OSError:
            there = -1
        if there != (self._lock_id or 1):
            raise StorageError(
                f"{self.folder}: was removed or moved while the training wrote it; the training ends, and nothing more is saved"
            )

    def add_stats(self, line: dict[str, Any]) -> None:
        """Append one line of statistics."""
        self.refuse_removed()
        try:
            with open_to_append(self.stats) as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.stats}: cannot be written ({error.strerror}); free some space and run the same command"
            ) from error

    def lines(self) -> list[dict[str, Any]]:
        """The lines of statistics written so far."""
        return read_stats(self.stats)[0]

    def rewind_stats(self, step: int) -> None:
        """Remove the lines after a step, which a run that resumes at this step writes again.

        Lines that a kill or a power failure damaged are removed too, with a warning.
        """
        lines, damaged = read_stats(self.stats)
        kept = [line for line in lines if line["step"] <= step]
        if damaged:
            log.warning("%s: repaired; a kill or a power failure had damaged %s of its lines", self.stats, f"{damaged:,}")
        if damaged or len(kept) < len(lines):
            write_atomic(self.stats, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def states(self) -> list[Path]:
        """Training states, newest first by step."""
        numbered = {int(m[1]): p for p in self.folder.glob("state-*.safetensors") if (m := re.fullmatch(r"state-(\d+)", p.stem))}
        return [numbered[step] for step in sorted(numbered, reverse=True)]

    def save_state(self, step: int, tree: Tree) -> None:
        """Write a training state, and remove all but the newest two.

        The statistics that belong to it are on the disk before it is.
        """
        self.refuse_removed()
        sync(self.stats)
        write_tree(
            self.folder / f"state-{step:09d}.safetensors",
            {"kind": "state", "format": STATE_FORMAT, "step": step} | self._origin() | tree,
        )
        for old in self.states()[KEPT_STATES:]:
            old.unlink()
        for name in ("state-*", self.snapshot.name, self.best.name, "snapshot-epoch-*"):  # others may write other files here
            remove_remains(self.folder, name)

    def _origin(self) -> dict[str, Any]:
        """By what a state knows its run: the recipe but for where its data lie, and the SHA-256 of the list of its images.

        Empty without a recipe.
        """
        recipe, prints = self.folder / RECIPE, self.folder / PRINTS
        if not recipe.exists():
            return {}
        return {"recipe": _anywhere(read_values(recipe)), "images_sha256": sha256_of(prints) if prints.exists() else None}

    def _check_origin(self, path: Path, state: Tree) -> None:
        """Raise SnapshotError for a state that was renamed, or that comes from another run. Earlier versions wrote no origin."""
        if state.get("step") != int(path.stem.removeprefix("state-")):
            raise SnapshotError(f"{path}: is the state of step {state.get('step')} and was renamed; give it its name again")
        own = self._origin()
        if not own or "recipe" not in state:
            return
        try:
            difference = None
            if _anywhere(state["recipe"]) != own["recipe"]:
                kept, given = (Recipe.from_dict(values).to_dict() for values in (state["recipe"], own["recipe"]))
                difference = first_difference(kept, given)
        except (ConfigError, TypeError, AttributeError) as error:
            raise SnapshotError(f"{path}: the recipe in it is damaged ({error}); use another copy or an older file") from error
        images = state.get("images_sha256")
        if not difference and None not in (images, own["images_sha256"]) and images != own["images_sha256"]:
            difference = "it was trained on other images"
        if difference:
            raise SnapshotError(f"{path}: is the state of another run ({difference}); put the run's own state there")

    def load_state(self, read: Callable[[Path], Tree] | None = None) -> tuple[Tree | None, list[str]]:
        """The newest undamaged state of this run, and the problems of newer ones; None where no state was saved yet.

        ``read`` reads a file and raises SnapshotError for one that is damaged.
        Raises SnapshotError when there are states and all are damaged.
        """
        problems: list[str] = []
        for path in self.states():
            try:
                state = (read or read_any_state)(path)
                self._check_origin(path, state)
                return state, problems
            except SnapshotError as error:
                problems.append(str(error))
        if problems:
            raise SnapshotError(
                f"{self.folder}: no training state is whole; first: {problems[0]}; start again with another --out"
            )
        return None, problems


def read_any_state(path: Path) -> Tree:
    """Read a state of whatever content. Raises SnapshotError for another kind of file, a newer format, and damage."""
    check_header(path, "state", STATE_FORMAT)
    return read_tree(path)


def refuse_other_files(folder: Path) -> None:
    """Raise ConfigError where a folder is no run but holds files of names that a run would replace."""
    if (folder / RECIPE).exists() or any(folder.glob("state-*.safetensors")):
        return
    there = [name for name in WRITTEN if (folder / name).exists()]
    if there:
        raise ConfigError(
            f"{folder}: holds {', '.join(there)}, which no run made there and a training would replace; choose another --out"
        )


def _anywhere(recipe: dict[str, Any]) -> dict[str, Any]:
    """The values of a recipe without where its data lie."""
    data = recipe.get("data")
    return (
        recipe | {"data": {name: value for name, value in data.items() if name != "source"}} if isinstance(data, dict) else recipe
    )


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_atomic(path, json.dumps(value, indent=1).encode())


def read_census(folder: Path) -> Census:
    """The census that a run was trained on."""
    path = folder / CENSUS
    try:
        return Census.from_json(read_bounded(path, MOST_BYTES).decode(errors="replace"))
    except DataError as error:
        raise DataError(f"{show(path)}: {error}") from error
    except OSError as error:
        raise DataError(f"{show(path)}: cannot be read ({error.strerror}); remove it and run the same command again") from error

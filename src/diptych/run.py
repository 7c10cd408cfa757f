"""The run folder: what a training writes, who may write it, and how it goes on after an interruption.

recipe.json            the resolved recipe
census.json            the images it trains on, their domains, what was skipped and why
stats.jsonl            one line of losses for every so many steps
preview-*.png          the same test images, translated as training goes on
snapshot.safetensors   the translators, replaced at every save; safe to share
snapshot-best.safetensors   those with the best score on the validation split
state-*.safetensors    everything an exact resume needs; the last two
evaluation.json, evaluation.html, report.html
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from diptych.data.census import Census
from diptych.errors import ConfigError, LockedError, SnapshotError, StorageError
from diptych.files import UNSUPPORTED, remove_remains, sync, write_atomic
from diptych.recipe import Recipe, first_difference
from diptych.snapshot import check_header
from diptych.trees import Tree, read_tree, write_tree

log = logging.getLogger(__name__)
CENSUS = "census.json"
STATE_FORMAT = 1
KEPT_STATES = 2
FAR = 1 << 30  # a position in the lock file beyond all that is written there


class Run:
    """One run folder, open for writing by one process. Use ``with Run.open(...)``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshot = folder / "snapshot.safetensors"
        self.best = folder / "snapshot-best.safetensors"
        self.stats = folder / "stats.jsonl"

    @classmethod
    @contextmanager
    def open(cls, folder: Path, recipe: Recipe) -> Iterator[Run]:
        """Make or re-enter a run folder and hold its lock.

        Raises LockedError while another process writes it, ConfigError when it holds a run of another recipe (naming the first
        difference; settings of memory alone may differ), StorageError when it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / ".lock", "a+")  # noqa: SIM115 - held until the run ends
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made or written ({error.strerror}); choose another --out") from error
        with lock:
            _lock(lock, folder)
            run = cls(folder)
            run._check_recipe(recipe)
            yield run

    def _check_recipe(self, recipe: Recipe) -> None:
        path = self.folder / "recipe.json"
        if not path.exists():
            self.write_json("recipe.json", recipe.to_dict())
            return
        try:
            kept = json.loads(path.read_text())
            kept = Recipe.from_dict(kept).to_dict()  # a run of before may lack settings that have come since
        except (OSError, ValueError, ConfigError) as error:
            raise ConfigError(
                f"{path}: damaged ({error}); remove it to go on with the recipe you give, or choose another --out"
            ) from error
        difference = first_difference(kept, recipe.to_dict())
        if difference and self.states():
            raise ConfigError(
                f"{self.folder}: holds a run of another recipe ({difference}); "
                "give the same settings to resume it, or another --out"
            )
        if difference:  # nothing was learnt yet, so nothing is lost
            (self.folder / CENSUS).unlink(missing_ok=True)
        if kept != recipe.to_dict():
            self.write_json("recipe.json", recipe.to_dict())

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of this folder atomically."""
        write_json(self.folder / name, value)

    def census(self) -> Census | None:
        """The census that was kept, None when there is none yet."""
        return read_census(self.folder) if (self.folder / CENSUS).exists() else None

    def keep_census(self, census: Census) -> None:
        """Keep what was found, so that a resumed run trains on the same images without looking at all of them again."""
        write_atomic(self.folder / CENSUS, census.to_json().encode())

    def add_stats(self, line: dict[str, Any]) -> None:
        """Append one line of statistics."""
        try:
            with open(self.stats, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.stats}: cannot be written ({error.strerror}); free some space and run the same command"
            ) from error

    def lines(self) -> list[dict[str, Any]]:
        """The lines of statistics so far."""
        return read_stats(self.stats)[0]

    def rewind_stats(self, step: int) -> None:
        """Forget lines after a step, so that the step's resumed run writes them again.

        Lines that a kill or a power failure damaged go too, with a warning.
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
        """Write a state, after the statistics that belong to it have reached the disk, then drop all but the newest ones."""
        sync(self.stats)
        write_tree(self.folder / f"state-{step:09d}.safetensors", {"kind": "state", "format": STATE_FORMAT, "step": step} | tree)
        for old in self.states()[KEPT_STATES:]:
            old.unlink()
        for name in ("state-*", self.snapshot.name, self.best.name):  # other files may be in the making, by other commands
            remove_remains(self.folder, name)

    def load_state(self) -> tuple[Tree | None, list[str]]:
        """The newest state whose hash verifies, None when there is no state at all, and what was wrong with newer ones.

        Raises SnapshotError when there are states and none is good.
        """
        problems: list[str] = []
        for path in self.states():
            try:
                check_header(path, "state", STATE_FORMAT)
                return read_tree(path), problems
            except SnapshotError as error:
                problems.append(str(error))
        if problems:
            raise SnapshotError(
                f"{self.folder}: no training state is whole; first: {problems[0]}; start again with another --out"
            )
        return None, problems


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_atomic(path, json.dumps(value, indent=1).encode())


def read_stats(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a stats.jsonl, none where there is no file, and how many lines are damaged.

    A kill or a power failure leaves a torn last line, or NUL bytes where the system had made room and written nothing yet; a line
    after NUL bytes is whole.
    """
    lines, damaged = [], 0
    *texts, torn = path.read_text(errors="replace").split("\n") if path.exists() else [""]
    for text in texts:
        try:
            line = json.loads(text.lstrip("\0"))
            whole = isinstance(line["step"], int)
        except (ValueError, LookupError, TypeError):
            whole = False
        lines += [line] if whole else []
        damaged += not whole or text.startswith("\0")
    return lines, damaged + bool(torn)


def read_census(folder: Path) -> Census:
    """The census that a run was trained on."""
    return Census.from_json((folder / CENSUS).read_text())


def _lock(lock: IO[str], folder: Path) -> None:
    """Hold the lock file until it is closed. The operating system releases it, so that a killed owner never leaves it locked.

    Warns on file systems that have no locks, and raises LockedError where another process holds it.
    """
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(lock.fileno(), FAR, os.SEEK_SET)  # the same byte for every opener, away from the note, which they read
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.register_at_fork(after_in_child=lock.close)  # or the loader's workers would hold the lock of a killed owner
    except OSError as error:
        if error.errno in UNSUPPORTED:
            log.warning("%s: its file system has no locks (%s); let no other process train into it", folder, error.strerror)
            return
        lock.seek(0)
        raise LockedError(
            f"{folder}: another process writes this run ({lock.read().strip() or 'unknown'}); "
            "wait for it, or choose another --out"
        ) from error
    with suppress(OSError):  # the note is a courtesy: on a full disk the lock holds without it
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), f"pid {os.getpid()} on {socket.gethostname()}".encode())

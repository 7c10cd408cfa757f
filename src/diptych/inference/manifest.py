"""The record that a folder of translations keeps of itself, so that no translation replaces a file that it did not make.

``.diptych-translations.jsonl`` has one line for each image, appended just before its translation is written and again, with the
SHA-256 of the result, just after; the last line of an image counts. A line without that hash is a write that was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.data.archives import read_member, split_archive
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import sha256_of
from diptych.messages import show

NAME = ".diptych-translations.jsonl"
OTHERS = {"snapshot_sha256": "another snapshot", "norm_from_sha256": "another --norm-from"}


@dataclass(frozen=True)
class Job:
    """An image to translate, and the file that its translation is written to."""

    source: Path
    target: Path


class Manifest:
    """What was translated into a folder, from which input, by which snapshot and how.

    ``made_by`` are the facts that determine a result besides its input: the SHA-256 of the snapshot, the direction and so on.
    Several threads may record at the same time.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self.folder, self.path, self.made_by = folder, folder / NAME, dict(made_by)
        self.entries = read_entries(self.path)
        self._one_at_a_time = threading.Lock()

    def begin(self, job: Job) -> None:
        """Record that a result is about to be written. Raises StorageError when the record cannot be written."""
        self._append(job, {})

    def finish(self, job: Job) -> None:
        """Record a result that was written."""
        self._append(job, {"output_sha256": hash_of(job.target)})

    def obstacle(self, job: Job) -> str | None:
        """Why a job may not be done without being asked for, in words; empty if its result is there; None if it is to be done.

        An obstacle that begins with "was made" can be overcome by --overwrite: the file is a translation of this folder. Any
        other file is never replaced.
        """
        if not os.path.lexists(job.target):
            return None
        entry = self.entries.get(self._key(job))
        if entry is None:
            return "is there already and was not made by `diptych translate`"
        if "output_sha256" not in entry:
            return None
        if entry["output_sha256"] != hash_of(job.target):
            return "was changed after `diptych translate` had made it"
        for name, value in self.made_by.items():
            if entry.get(name) != value:
                other = OTHERS.get(name) or f"{name} {entry.get(name)} instead of {value}"
                return f"was made with {other}"
        return "" if entry["input_sha256"] == hash_of(job.source) else "was made from an input that has changed since"

    def _key(self, job: Job) -> str:
        return job.target.relative_to(self.folder).as_posix()

    def _append(self, job: Job, result: Mapping[str, Any]) -> None:
        entry = {
            "output": self._key(job),
            "input": str(job.source),
            "input_sha256": hash_of(job.source),
            **self.made_by,
            **result,
        }
        try:
            with self._one_at_a_time, open(self.path, "a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise StorageError(f"{show(self.path)}: cannot be written ({error.strerror}); choose another --out") from error
        self.entries[entry["output"]] = entry


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each image by the path of its result; damaged lines, as a crash leaves them, are passed over."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            found[entry["output"]] = entry
        except (ValueError, LookupError, TypeError):
            continue
    return found


def left_to_do(jobs: Iterable[Job], manifest: Manifest, *, overwrite: bool, skip_existing: bool) -> list[Job]:
    """The jobs whose results are not there yet, so that a command that was interrupted goes on when it is given again.

    ``overwrite`` also does those whose results this folder's manifest knows and that would be different now; ``skip_existing``
    leaves every file alone that is there. Raises ConfigError, before anything is written, for files that would be replaced
    otherwise.
    """
    left: list[Job] = []
    ours: list[str] = []
    others: list[str] = []
    for job in jobs:
        obstacle = manifest.obstacle(job)
        if obstacle is None or (overwrite and obstacle.startswith("was made") and not skip_existing):
            left.append(job)
        elif obstacle and not skip_existing:
            (ours if obstacle.startswith("was made") else others).append(f"{show(job.target)}: {obstacle}")
    if others:
        raise ConfigError(f"{others[0]}{_more(others)}; choose another --out, or keep what is there with --skip-existing")
    if ours:
        raise ConfigError(f"{ours[0]}{_more(ours)}; make it anew with --overwrite, or keep what is there with --skip-existing")
    return left


def _more(problems: list[str]) -> str:
    return f" (and {len(problems) - 1:,} more such files)" if len(problems) > 1 else ""


def hash_of(path: Path) -> str:
    """The SHA-256 of a file, in an archive or not; empty when it cannot be read, which equals no hash of a file.

    Of a folder, such as a Zarr, it is that of the names, sizes and times of its files.
    """
    try:
        if inside := split_archive(path):
            return hashlib.sha256(read_member(*inside)).hexdigest()
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            known = [(file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
            return hashlib.sha256(json.dumps(known).encode()).hexdigest()
        return sha256_of(path)
    except (OSError, DataError):
        return ""

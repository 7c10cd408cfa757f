"""The record that a folder of translations keeps of itself, so that no translation replaces a file that it did not make.

``.diptych-translations.jsonl`` has one line for each image, appended just before its translation is written and again, with the
SHA-256 of the result, just after; the newest line of an image counts. A line without that hash is a write that was interrupted.
Processes that share the work (`--shard`) have such a file each.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from diptych.choices import Backend, ComputingPrecision
from diptych.data.archives import read_member, split_archive
from diptych.data.splits import Ref
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import name_below, open_regular, open_to_append, remove_remains, sha256_of
from diptych.messages import show
from diptych.schemas import parse_json
from diptych.walking import files_below

STEM = ".diptych-translations"
NAME = f"{STEM}.jsonl"
FINISHED = b'"output_sha256": "'
Stamp = tuple[int, ...]
OTHERS = {
    "snapshot_sha256": "another snapshot",
    "norm_from_sha256": "another --norm-from",
    "instances_sha256": "other instance maps",
}
COMPUTING = ("backend", "precision")  # facts that are decided after a manifest was opened; records before them lack both


@dataclass(frozen=True, slots=True)
class Job:
    """An image to translate, and the file that its translation is written to."""

    source: Path
    target: Path
    instances: Path | None = None
    """The instance map of a label map (see diptych.data.instances)."""

    @property
    def ref(self) -> Ref:
        """The image to translate."""
        return Ref(self.source, instances=self.instances)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one translation. ``made_by`` is shared by all that were made alike; stamps are (size, time) of the files.

    ``output`` is the SHA-256 of the result, empty where the write was interrupted.
    """

    time: int
    made_by: Mapping[str, Any]
    input: bytes
    output: bytes
    input_stamp: Stamp
    output_stamp: Stamp


class Manifest:
    """What was translated into a folder, from which input, by which snapshot and how.

    ``made_by`` are the facts that determine a result besides its input: the SHA-256 of the snapshot, the direction and so on.
    ``shard`` (i, n) is the share of a process that works in the folder together with others; it writes a file of its own.
    Several threads may record at the same time. What is recorded is not kept in memory: the next Manifest of the folder reads it.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], shard: tuple[int, int] | None = None) -> None:
        name = NAME if shard is None else f"{STEM}-{shard[0]}-of-{shard[1]}.jsonl"
        self.folder, self.path, self.made_by = folder, folder / name, dict(made_by)
        self.entries = read_entries(folder)
        self._one_at_a_time, self._torn = threading.Lock(), _ends_torn(self.path)
        self._otherwise: dict[int, str] = {}  # by the identity of the facts, which entries that were made alike share

    def settle(self, **facts: Any) -> None:
        """Add facts that determine the results, and that were decided after this manifest was opened."""
        self.made_by |= facts
        self._otherwise.clear()

    def computed_by(self) -> Counter[tuple[Backend, ComputingPrecision] | None]:
        """Count the backend and precision of the results that are there and were made alike; None where it was not recorded."""
        found: Counter[tuple[Backend, ComputingPrecision] | None] = Counter()
        for name, entry in self.entries.items():
            if entry.output and not self._made_otherwise(entry.made_by) and os.path.lexists(os.path.join(self.folder, name)):
                backend, precision = map(entry.made_by.get, COMPUTING)
                found[(backend, precision) if backend and precision else None] += 1
        return found

    def begin(self, job: Job) -> None:
        """Record that a result is about to be written, without the remains of a write of it that was killed.

        Raises StorageError when the record cannot be written.
        """
        earlier = self.entries.get(self.key(job))
        if earlier and not earlier.output:
            remove_remains(job.target.parent, glob.escape(job.target.name[:40]))
        self._append(job, {})

    def finish(self, job: Job) -> None:
        """Record a result that was written."""
        self._append(job, {"output_sha256": hash_of(job.target), "output_stamp": stamp_of(job.target)})

    def obstacle(self, job: Job) -> str | None:
        """Why a job may not be done without being asked for, in words; empty if its result is there; None if it is to be done.

        An obstacle that begins with "was made" can be overcome by --overwrite: the file is a translation of this folder. Any
        other file is never replaced. Files whose size and time are as recorded are not read again.
        """
        stamp = stamp_of(job.target)
        if not stamp and not os.path.lexists(job.target):
            return None
        entry = self.entries.get(self.key(job))
        if entry is None:
            return "is there already and was not made by `diptych translate`"
        if not entry.output:
            return None
        if _changed(job.target, entry.output, entry.output_stamp, stamp):
            return "was changed after `diptych translate` had made it"
        if otherwise := self._made_otherwise(entry.made_by):
            return otherwise
        changed = _changed(job.source, entry.input, entry.input_stamp, stamp_of(job.source))
        return "was made from an input that has changed since" if changed else ""

    def _made_otherwise(self, made_by: Mapping[str, Any]) -> str:
        """In which way a translation was made otherwise than this manifest's are, in words; empty if it was made alike."""
        if (known := self._otherwise.get(id(made_by))) is not None:  # all that were made alike share one value
            return known
        found = ""
        for name, value in self.made_by.items():
            if made_by.get(name) != value and (name in made_by or name not in COMPUTING):
                found = f"was made with {OTHERS.get(name) or _difference(name, made_by.get(name), value)}"
                break
        return self._otherwise.setdefault(id(made_by), found)

    def key(self, job: Job) -> str:
        """The name of a result in its folder."""
        return name_below(job.target, self.folder)

    def _append(self, job: Job, result: Mapping[str, Any]) -> None:
        known = {"output": self.key(job), "input": str(job.source), "time": time.time_ns()}
        known |= {"input_sha256": hash_of(job.source), "input_stamp": stamp_of(job.source)}
        try:
            with self._one_at_a_time, open_to_append(self.path) as file:
                file.write("\n" * self._torn + json.dumps({**known, **self.made_by, **result}) + "\n")
                self._torn = False
        except OSError as error:
            raise StorageError(f"{show(self.path)}: cannot be written ({error.strerror}); choose another --out") from error


def read_entries(folder: Path) -> dict[str, Entry]:
    """The newest line of each image by the path of its result; damaged lines, as a crash leaves them, are passed over."""
    found: dict[str, Entry] = {}
    made: list[Mapping[str, Any]] = []
    for path in sorted(folder.glob(f"{STEM}*.jsonl")):
        with open_regular(path) as file:
            for line in _telling(file):
                try:
                    name, entry = _read_entry(_parsed(line), made)
                except (ValueError, LookupError, TypeError, AttributeError):
                    continue
                if name not in found or entry.time >= found[name].time:
                    found[name] = entry
    return found


def _telling(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The whole lines of a record but those about the beginning of a write whose end follows: half of them, as a rule."""
    begun: dict[bytes, bytes] = {}
    for line in lines:
        name = line[: line.find(b'", "')]  # of the result, as it is spelled in the file
        if not line.rstrip().endswith(b"}"):  # cut by a crash
            continue
        if FINISHED in line:
            begun.pop(name, None)
            yield line
        else:
            begun[name] = line
    yield from begun.values()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = from_json(line)
    except ValueError:  # a file name of bytes that are no text, for which only the standard library has a form; or a damaged line
        found = parse_json(line)
    return dict(found)


def _read_entry(line: dict[str, Any], made: list[Mapping[str, Any]]) -> tuple[str, Entry]:
    """The name of a result and what is known of it; ``made`` holds one value for all images that were made alike, newest last."""
    name, when, _ = line.pop("output"), line.pop("time", 0), line.pop("input", None)
    before, after = bytes.fromhex(line.pop("input_sha256")), bytes.fromhex(line.pop("output_sha256", ""))
    stamps = [tuple(line.pop(key, None) or ()) for key in ("input_stamp", "output_stamp")]
    if not made or made[-1] != line:
        if line in made:
            made.remove(line)
        made.append(line)
    return name, Entry(when, made[-1], before, after, stamps[0], stamps[1])


def _ends_torn(path: Path) -> bool:
    """Whether the last line of a file was cut, as when a process is killed."""
    if not path.exists() or not path.stat().st_size:
        return False
    with open_regular(path) as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _difference(name: str, was: Any, wanted: Any) -> str:
    """How a result was made otherwise, in the words of the command line."""
    if name == "flow":
        return "--no-flow instead of without it" if was is False else "the filter along the flow, which --no-flow leaves out"
    return f"{name.replace('_', ' ')} {_in_words(was)} instead of {_in_words(wanted)}"


def _in_words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        value = ", ".join("=".join(map(str, item)) if isinstance(item, (list, tuple)) else str(item) for item in value)
    return "the default" if value is None or value == "" else str(value)


def stamp_of(path: Path) -> Stamp:
    """The size of a file and the time of its last change, in nanoseconds; nothing for a folder and where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else ()


def _changed(path: Path, sha256: bytes, recorded: Stamp, stamp: Stamp) -> bool:
    if recorded and recorded == stamp:
        return False
    return bytes.fromhex(hash_of(path)) != sha256


def share_of(jobs: Iterable[Job], manifest: Manifest, shard: tuple[int, int]) -> list[Job]:
    """The jobs of process i of n (from 1), by a hash of the name of the result: all processes together do each job once."""
    number, count = shard
    hashes = ((job, hashlib.sha256(os.fsencode(manifest.key(job))).digest()) for job in jobs)
    return [job for job, digest in hashes if int.from_bytes(digest[:8]) % count == number - 1]


def left_to_do(jobs: Iterable[Job], manifest: Manifest, *, overwrite: bool, skip_existing: bool) -> list[Job]:
    """The jobs whose results are not there yet, so that a command that was interrupted goes on when it is given again.

    ``overwrite`` also does those whose results this folder's manifest knows and that would be different now; ``skip_existing``
    leaves every file alone that is there, so one excludes the other. Raises ConfigError, before anything is written, for files
    that would be replaced otherwise.
    """
    assert not (overwrite and skip_existing), "the command line refuses both together"
    left: list[Job] = []
    ours: list[str] = []
    others: list[str] = []
    for job in jobs:
        obstacle = manifest.obstacle(job)
        if obstacle is None or (overwrite and obstacle.startswith("was made")):
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
            files = sorted(file for file in files_below(path) if file.is_file())
            known = [(file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
            return hashlib.sha256(json.dumps(known).encode()).hexdigest()
        return sha256_of(path)
    except (OSError, DataError):
        return ""

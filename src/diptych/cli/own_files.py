"""Files that a command writes where it is told: it replaces only what it made itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.errors import ConfigError
from diptych.messages import show


def refuse_foreign(path: Path | None, marks: Sequence[bytes]) -> None:
    """Raise ConfigError when a file is there that this command did not make.

    A file of this command holds all of ``marks``. Devices and pipes may be written to, and None means that there is no file.
    """
    if path is None or not path.is_file():
        return
    try:
        data = path.read_bytes()
    except OSError:
        return  # whoever may not read it may not write it either, which the command will say
    if not all(mark in data for mark in marks):
        raise ConfigError(f"{show(path)}: is there already and was not made by this command; name another file, or remove it")


def refuse_same_files(given: Mapping[str, Path | None]) -> None:
    """Raise ConfigError where two options, by name, name one file, of which the later would replace the earlier."""
    seen: dict[str, str] = {}
    for option, path in given.items():
        if path is None or (path.exists() and not path.is_file()):  # several things may go to one device or pipe
            continue
        before = seen.setdefault(os.path.realpath(path), option)
        if before != option:
            raise ConfigError(f"{option} {show(path)}: is the file of {before} too; give each its own")


PAGE = (b'name="generator" content="diptych ',)
"""What every page of diptych holds."""


def refuse_existing(path: Path) -> None:
    """Raise ConfigError when any file is there: one in which nothing says what made it, such as a picture or a song."""
    if path.is_file() or (os.path.lexists(path) and not path.exists()):
        raise ConfigError(f"{show(path)}: is there already; name another file, or remove it")


def refuse_file(out: Path | None) -> None:
    """Raise ConfigError where a file stands in place of the folder to write into. None means that there is no such folder."""
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"{show(out)}: is there already and is no folder; choose another --out")


def refuse_foreign_folder(folder: Path, note: str) -> None:
    """Raise ConfigError when a folder holds files but not the ``note`` that this command leaves in its own folders."""
    if folder.is_dir() and not (folder / note).is_file() and any(folder.iterdir()):
        raise ConfigError(f"{show(folder)}: is not empty and was not made by this command; choose another --out")

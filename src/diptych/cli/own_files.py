"""Files that a command writes where it is told: it replaces only what it made itself."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.errors import ConfigError
from diptych.messages import printable, show

LIKE_A_FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]+$")


def out_folder(text: str) -> Path:
    """The type of an --out that is a folder; - is refused, and a folder that is named like a file is said."""
    path = _named(text)
    say_folder(path)
    return path


def out_path(text: str) -> Path:
    """The type of an --out that may be a file. A folder that is made around it is said, since it may be misspelt."""
    path = _named(text)
    if not path.parent.exists() and not os.path.lexists(path.parent):
        say(f"--out {show(path)}: the folder {show(path.parent)} is not there, and is made when something is written")
    return path


def out_file(text: str) -> Path:
    """The type of an --out that is one file."""
    if text.endswith(("/", os.sep)):
        raise argparse.ArgumentTypeError(f"{text} is a folder, and one file is written; add its name")
    return out_path(text)


def _named(text: str) -> Path:
    if text == "-":
        raise argparse.ArgumentTypeError("- is no file here, as nothing is written to standard output; name a file or a folder")
    return Path(text)


def say_folder(path: Path | None) -> None:
    """Say that a folder will be made whose name looks like that of a file. None means that there is no such folder."""
    if path is not None and LIKE_A_FILE.search(path.name) and not os.path.lexists(path):
        say(f"--out {show(path)}: is made as a folder, although its name ends like that of a file")


def refuse_suffix(out: Path, suffixes: Sequence[str], what: str) -> None:
    """Raise ConfigError for a file with the suffix of something else than ``what`` is written into it."""
    if (
        LIKE_A_FILE.search(out.name)
        and not out.name.lower().endswith(tuple(suffixes))
        and not (out.exists() and not out.is_file())
    ):
        raise ConfigError(f"--out {show(out)}: {what} is written, whose name ends in {' or '.join(suffixes)}; change the suffix")


def say(text: str) -> None:
    """Print a note, before there is a console."""
    if os.environ.get("RANK", "0") == "0":
        print(printable(f"note: {text}"), file=sys.stderr)


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

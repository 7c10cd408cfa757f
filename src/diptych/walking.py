"""Walk through a folder and the folders inside it, within bounds that neither links nor special file systems escape."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from diptych.errors import DataError
from diptych.messages import show

log = logging.getLogger(__name__)

DEEPEST = 100  # folders inside one another
MOST_WAYS = 1000  # that lead through links to one folder: links that multiply (two to a folder with two ...) have no end
SPECIAL = {
    *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs"),
    *("fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs"),
}
"""File systems by which Linux shows itself. Their folders hold no files of people, change all the time, and may have no end."""


def walk(root: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder with the paths of the folders and of the files directly in it, in any order.

    Folders that the caller removes from the list are not entered. Links to folders are followed. Links back to a folder around
    them and special folders of the system are left out, and a warning names each once. Raises DataError where the root is a
    special folder, for a folder that cannot be listed, one that lies too deep, and links that multiply without end.
    """
    todo: list[tuple[str, tuple[tuple[int, int], ...], bool]] = [(str(root), (), False)]
    ways: Counter[tuple[int, int]] = Counter()
    while todo:
        folder, above, linked = todo.pop()
        try:
            status = os.stat(folder)
            identity = status.st_dev, status.st_ino
            if reason := _outside(status.st_dev):
                if not above:
                    raise DataError(f"{show(folder)}: {reason}; give a folder of files")
                _say(folder, f"{reason}; it is left out")
                continue
            if identity in above:
                _say(folder, "is a link back to a folder around it; it is left out")
                continue
            entries = [(entry.path, _is_dir(entry), entry.is_symlink()) for entry in list(os.scandir(folder))]
        except OSError as error:
            raise DataError(f"{show(folder)}: cannot be listed ({error.strerror}); make it readable, or remove it") from error
        ways[identity] += linked
        if ways[identity] > MOST_WAYS:
            raise DataError(f"{show(folder)}: links lead to it in more than {MOST_WAYS:,} ways; remove those that you don't need")
        links = {path for path, is_dir, is_link in entries if is_dir and is_link}
        folders = [path for path, is_dir, _ in entries if is_dir]
        yield folder, folders, [path for path, is_dir, _ in entries if not is_dir]
        if folders and len(above) >= DEEPEST:
            raise DataError(f"{show(folders[0])[:200]} ...: lies more than {DEEPEST} folders deep; give a folder inside")
        todo += [(path, (*above, identity), linked or path in links) for path in folders]


def files_below(root: Path) -> Iterator[Path]:
    """All that lies in a folder and the folders inside it and is no folder, in any order. Raises DataError as `walk` does."""
    for _, _, files in walk(root):
        yield from map(Path, files)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link that leads round in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _say(folder: str, reason: str) -> None:
    """Warn once, since a command may walk through a folder several times."""
    log.warning("%s: %s", show(folder), reason)


@lru_cache(maxsize=1024)
def _outside(device: int) -> str:
    """Say that a device is a special file system; '' for all others, and where the system does not tell."""
    try:
        with open("/proc/self/mountinfo") as file:
            lines = [line.split() for line in file]
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = {line[line.index("-") + 1] for line in lines if len(line) > 2 and line[2] == number and "-" in line}
    return f"is a special folder of the system ({', '.join(sorted(kinds))})" if kinds and kinds <= SPECIAL else ""

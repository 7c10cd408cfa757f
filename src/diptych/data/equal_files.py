"""Find files that are equal byte for byte, without opening most of them."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import TypeVar

from diptych.data.archives import changed_at, read_member, split_archive
from diptych.errors import DataError
from diptych.files import open_regular

END = 4096  # bytes at both ends of a file that are compared before all of it is

T = TypeVar("T")


def equal_files(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two files or more that are equal: by size, then by both ends, then by SHA-256.

    A file that cannot be read, or that is empty, is equal to no other.
    """
    groups = [list(dict.fromkeys(paths))]
    for key in (_size, _ends, file_digest):
        groups = [equal for group in groups for equal in grouped(group, key)]
    return groups


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Items of one key together, where there are several."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return [group for group in groups.values() if len(group) > 1]


def file_digest(path: Path) -> Hashable:
    """The SHA-256 of a file, or its path where it cannot be read."""
    try:
        if inside := split_archive(path):
            return hashlib.sha256(read_member(*inside)).digest()
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, DataError):
        return path


def _size(path: Path) -> Hashable:
    try:
        return changed_at(path)[0] or path  # empty files are alike in nothing that matters
    except (OSError, DataError):
        return path


def _ends(path: Path) -> Hashable:
    try:
        if inside := split_archive(path):
            data = read_member(*inside)
            return data[:END], data[-END:]
        with open_regular(path) as file:
            head = file.read(END)
            file.seek(-min(END, path.stat().st_size), os.SEEK_END)
            return head, file.read()
    except (OSError, DataError):
        return path

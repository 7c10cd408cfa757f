"""Protocols: everything that determines a number, with a short id. Numbers with equal protocols can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from diptych.data.folders import Ref
from diptych.errors import DataError
from diptych.messages import show

LIBRARIES = ("diptych", "torch", "numpy", "pillow", "imagecodecs", "kornia")  # that can change a digit


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a protocol; the order of its keys makes no difference."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:12]


def versions() -> dict[str, str]:
    """The versions of diptych and of the libraries that compute its numbers."""
    return {name: version(name) for name in LIBRARIES}


def file_sums(refs: Iterable[Ref], threads: int = 2) -> dict[Path, str]:
    """The SHA-256 of each file. Raises DataError, beginning with the path, when a file cannot be read."""
    paths = list(dict.fromkeys(ref.path for ref in refs))
    with ThreadPool(threads) as pool:  # hashing releases the GIL
        return dict(zip(paths, pool.map(_sum, paths), strict=True))


def _sum(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{show(path)}: cannot be read ({error.strerror}); it was there when the folder was listed") from error


def list_sum(refs: Iterable[Ref], sums: Mapping[Path, str]) -> str:
    """One hash of the contents of a list of images, in order; where they lie and what they are called makes no difference."""
    lines = (f"{sums[ref.path]} {ref.half}\n" for ref in refs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

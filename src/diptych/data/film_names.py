"""Films as folders of their frames: film.mp4/f000012 is frame 12 of film.mp4, counted from 0."""

from __future__ import annotations

import os
import re
from pathlib import Path

SUFFIXES = frozenset(
    "." + name
    for name in (
        *("3g2", "3gp", "apng", "asf", "avi", "dv", "f4v", "flv", "gxf", "ivf", "m2ts", "m2v", "m4v", "mj2", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "mxf", "nut", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv", "wtv", "y4m"),
    )
)
"""The suffixes of films. Animated GIF, WebP and PNG files are images unless the result is to be a film."""
FRAME = re.compile(r"f\d{6,}")


def is_film(path: str | Path) -> bool:
    """Whether a name is that of a film, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES


def film_of(path: str | Path) -> Path | None:
    """Return the film that a path is a frame of, None for every other path."""
    if not FRAME.fullmatch(os.path.basename(path)):  # first, as this tells at once of most files
        return None
    path = Path(path)
    return path.parent if is_film(path.parent) and path.parent.is_file() else None


def frame_paths(film: Path, count: int) -> list[Path]:
    """Name all frames of a film."""
    return [film / f"f{number:06d}" for number in range(count)]

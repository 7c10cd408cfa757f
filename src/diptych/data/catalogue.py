"""Data that ships inside the package, by name, so that everything can be tried without a download."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from diptych.errors import DataError
from diptych.messages import nearest

# Name -> what it shows. Each is a folder of that name beside this file, with trainA, trainB, valA, valB, testA, testB, NOTICE.md.
EMBEDDED: dict[str, str] = {
    "relief": "ETOPO1 elevation tints (A) and Natural Earth shaded relief (B); validated on Australia, tested on the Americas",
}


def embedded(name: str) -> Path:
    """Return the folder of embedded data. Raises DataError that names the near one when there is none of this name."""
    if name not in EMBEDDED:
        near = nearest(name, EMBEDDED, n=1)
        hint = f"did you mean {near[0]}?" if near else "pass one of these names, or a folder"
        raise DataError(f"{name!r}: no embedded data of this name, there is {', '.join(EMBEDDED)}; {hint}")
    return Path(str(files("diptych.data"))) / name

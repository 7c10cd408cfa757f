"""Files that a command writes where it is told: it replaces only what it made itself."""

from __future__ import annotations

from collections.abc import Sequence
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

"""The translators that ship with diptych. At four pixels a staff space, two read and draw single staves, and two the staves of a
piano; another finds the symbols of engraved pages.

They were trained on 1,040 songs of OpenScore Lieder (CC0 1.0, https://github.com/OpenScore/Lieder); experiments/music describes
how. Their weights are CC0 1.0 too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from diptych.errors import ConfigError
from diptych.music.layout import Layout

SYMBOLS = "symbols-6.safetensors"  # the translator of engraved pages to maps of symbols, at six pixels a staff space
PRETRAINED = Path(__file__).parent / "pretrained"


def builtin(task: Literal["read", "draw"], layout: Layout) -> Path:
    """Return the snapshot that ships for a task and a layout. Raises ConfigError where there is none."""
    path = PRETRAINED / f"{task}-{layout.staves}-{layout.space}.safetensors"
    if not path.exists():
        known = sorted(tuple(map(int, found.stem.split("-")[1:])) for found in PRETRAINED.glob(f"{task}-*.safetensors"))
        words = {1: "1 staff", 2: "2 staves"}
        there = " and ".join(f"{words[staves]} at {space} pixels a space" for staves, space in known)
        raise ConfigError(
            f"diptych ships a translator for {there or 'no layout'}, not for {words[layout.staves]} at {layout.space}; train one "
            f"with `diptych train music-{task}` and pass it as --snapshot"
        )
    return path


def builtin_symbols() -> Path:
    """Return the snapshot that reads the symbols of engraved pages. Raises ConfigError where none ships."""
    if not (PRETRAINED / SYMBOLS).exists():
        raise ConfigError(
            "diptych ships no reader of engraved pages; train one with `diptych music symbols` and `diptych train "
            "music-symbols`, and pass it as --snapshot"
        )
    return PRETRAINED / SYMBOLS

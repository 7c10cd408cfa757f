"""The translators that come with diptych: a reader and a drawer of single staves at four pixels a staff space.

They were trained on 1,040 songs of OpenScore Lieder (CC0 1.0, https://github.com/OpenScore/Lieder) as experiments/music says, and
their weights are under CC0 too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from diptych.errors import ConfigError
from diptych.music.layout import Layout

PRETRAINED = Path(__file__).parent / "pretrained"


def builtin(task: Literal["read", "draw"], layout: Layout) -> Path:
    """The snapshot for a layout. Raises ConfigError where none comes with diptych."""
    path = PRETRAINED / f"{task}-{layout.staves}-{layout.space}.safetensors"
    if not path.exists():
        known = sorted(tuple(map(int, found.stem.split("-")[1:])) for found in PRETRAINED.glob(f"{task}-*.safetensors"))
        there = " and ".join(f"{staves} staff at {space} pixels a space" for staves, space in known)
        raise ConfigError(
            f"diptych brings a translator for {there or 'no layout'}, not for {layout.staves} at {layout.space}; train one with "
            f"`diptych train music-{task}` and give it as --snapshot"
        )
    return path

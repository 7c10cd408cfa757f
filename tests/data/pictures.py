"""Folders of small pictures of noise, of every pixel type, and the census of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diptych.data.census import Census, take_census
from diptych.data.folders import find_data
from diptych.data.formats import write_pixels

Kind = tuple[int, str]  # channels and dtype


def noise(shape: Sequence[int], dtype: str, seed: int) -> np.ndarray:
    """Random pixels over the whole range of a type, float32 in [0, 1)."""
    random = np.random.default_rng(seed)
    return random.random(shape, np.float32) if dtype == "float32" else random.integers(0, np.iinfo(dtype).max, shape, dtype)


def two_sides(
    root: Path, *, paired: bool = True, counts: tuple[int, int] = (7, 7), kinds: tuple[Kind, Kind] = ((3, "uint8"), (3, "uint8"))
) -> Census:
    """trainA and trainB of images of many sizes, 40 pixels a side or more; pairs have one size."""
    for side, (name, count, (channels, dtype)) in enumerate(zip(("trainA", "trainB"), counts, kinds, strict=True)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            seed = side * 1000 + i
            size = (40 + 3 * i, 44 + 5 * (i % 3))
            write_pixels(root / name / f"{i:02d}.npy", noise((*size, channels), dtype, seed))
    return take_census(find_data([root], paired=paired).train)


def side_by_side(root: Path, count: int = 5) -> Census:
    """Pairs in one PNG each."""
    (root / "train").mkdir(parents=True)
    for i in range(count):
        write_pixels(root / "train" / f"{i}.png", noise((40 + i, 88, 3), "uint8", i))
    return take_census(find_data([root], paired=True).train)

"""Images of the two domains as values: which file, which half of it, and what it shares its name with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from diptych.data.formats import read_pixels
from diptych.data.frames import Frame
from diptych.data.listing import spelling
from diptych.errors import DataError
from diptych.messages import show
from diptych.reading import Reading

Half = Literal["whole", "left", "right"]


@dataclass(frozen=True)
class Ref:
    """One image of one domain: a file, or the left or right half of a side-by-side file.

    ``key`` is what the two images of a pair have in common (see diptych.data.pairing); it is the file's stem unless given.
    ``frame`` is what brings it to the size of its partner, where theirs differ (see diptych.data.frames).
    """

    path: Path
    half: Half = "whole"
    key: str = field(default="", compare=False, repr=False)
    frame: Frame | None = None

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", spelling(self.path.stem))

    @property
    def name(self) -> str:
        """The file's stem, exactly as on disk, to name what is made from it."""
        return self.path.stem

    def read(self, reading: Reading | None = None) -> np.ndarray:
        """Native pixels (h, w, c). Raises DataError as read_pixels does."""
        return take_half(read_pixels(self.path, reading), self)


def take_half(pixels: np.ndarray, ref: Ref) -> np.ndarray:
    """The part of a file's pixels that a Ref means: halves are cut at w // 2 as published, an odd last column is in neither.

    Of that part the Ref's frame is taken.
    """
    part = _half(pixels, ref)
    return ref.frame.of(part) if ref.frame else part


def _half(pixels: np.ndarray, ref: Ref) -> np.ndarray:
    middle = pixels.shape[1] // 2
    if ref.half == "whole":
        return pixels
    if middle < 1:
        raise DataError(f"{show(ref.path)}: is one pixel wide, expected A and B side by side; remove it")
    columns = slice(0, middle) if ref.half == "left" else slice(middle, 2 * middle)
    return np.ascontiguousarray(pixels[:, columns])


@dataclass(frozen=True)
class Split:
    """The images of both domains; when paired, a[i] belongs to b[i]."""

    a: tuple[Ref, ...]
    b: tuple[Ref, ...]
    paired: bool

    def __post_init__(self) -> None:
        assert not self.paired or len(self.a) == len(self.b), f"{len(self.a)} and {len(self.b)} images cannot be pairs"

    def swapped(self) -> Split:
        """The same images with a and b exchanged."""
        return Split(self.b, self.a, self.paired)

    def __str__(self) -> str:
        return f"{len(self.a)} pairs" if self.paired else f"{len(self.a)} + {len(self.b)} images"

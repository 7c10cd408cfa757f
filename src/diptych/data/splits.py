"""Images of the two domains as values: which file, which half of it, what it shares its name with, and in which split it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych.choices import Axis
from diptych.data.film_names import film_of
from diptych.data.formats import read_pixels
from diptych.data.frames import Frame
from diptych.data.listing import spelling
from diptych.data.volumes import is_volume, slices_of, volume_of
from diptych.errors import DataError
from diptych.messages import show
from diptych.reading import Reading

Half = Literal["whole", "left", "right"]


@dataclass(frozen=True)
class Ref:
    """One image of one domain: a file, or the left or right half of a side-by-side file.

    ``key`` is what the two images of a pair have in common (see diptych.data.pairing); it is the file's stem unless given.
    ``frame`` is what brings it to the size of its partner, where theirs differ (see diptych.data.frames). ``instances`` is the
    file with the numbers of a label map's objects, where there is one (see diptych.data.instances).
    """

    path: Path
    half: Half = "whole"
    key: str = field(default="", compare=False, repr=False)
    frame: Frame | None = None
    instances: Path | None = None

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


def films_in(splits: Iterable[Split]) -> frozenset[Path]:
    """The films whose frames are images of some splits."""
    return frozenset(film for split in splits for ref in (*split.a, *split.b) if (film := film_of(ref.path)))


def along(split: Split, axis: Axis) -> Split:
    """The same split with the slices of volumes along another axis, in the place of those along z.

    Raises DataError where the volumes of a pair have not equally many of them.
    """
    if not split.paired:
        a, b = (
            [image for whole in dict.fromkeys(map(_whole, side)) for image in _slices(whole, axis)] for side in (split.a, split.b)
        )
        return Split(tuple(a), tuple(b), False)
    pairs: list[tuple[Ref, Ref]] = []
    for of_a, of_b in dict.fromkeys((_whole(a), _whole(b)) for a, b in zip(split.a, split.b, strict=True)):
        slices = _slices(of_a, axis), _slices(of_b, axis)
        if len(slices[0]) != len(slices[1]):
            found = f"{len(slices[0])} and {len(slices[1])} slices along {axis}"
            raise DataError(f"{show(of_a.path)} and {show(of_b.path)}: have {found}, expected equally many; resample one of them")
        pairs += zip(*slices, strict=True)
    return Split(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), True)


def _whole(ref: Ref) -> Ref:
    """The volume that an image is a slice of, and every other image itself."""
    volume = volume_of(ref.path)
    return Ref(volume, ref.half, ref.key.rpartition("/")[0]) if volume else ref


def _slices(ref: Ref, axis: Axis) -> list[Ref]:
    """The slices of a volume; every other image itself, and a volume that cannot be read, which is told when it is."""
    try:
        paths = slices_of(ref.path, axis) if is_volume(ref.path) else []
    except DataError:
        paths = []
    return [Ref(path, ref.half, f"{ref.key}/{path.name}") for path in paths] or [ref]


@dataclass(frozen=True)
class Layout:
    """Holds what was found: where, the splits, and what is in none of them.

    ``unused`` are folders beside those of the splits, or single files, and how many images are in each. ``alone`` are test
    images of one side without a folder of the other; ``test`` is None then.
    """

    where: str
    train: Split
    val: Split | None
    test: Split | None
    unused: Mapping[Path, int] = field(default_factory=dict)
    alone: Split | None = None

    @property
    def films(self) -> frozenset[Path]:
        """The films whose frames are among the images."""
        return films_in(split for split in (self.train, self.val, self.test, self.alone) if split)

    @property
    def description(self) -> str:
        """Say in a sentence what was found."""
        test = self.test or self.alone
        counts = "".join(f", {name}: {split}" for name, split in (("val", self.val), ("test", test)) if split)
        unused = f"; not used: {self.leftovers}" if self.unused else ""
        return f"{self.where}: train on {self.train}{counts}{unused}"

    def along(self, axis: Axis) -> Layout:
        """The same with slices of volumes along another axis than z. Raises DataError as splits.along, and without volumes."""
        if axis == "z":
            return self
        moved: dict[str, Any] = {
            name: along(split, axis) for name in ("train", "val", "test", "alone") if (split := getattr(self, name))
        }
        if all(split == getattr(self, name) for name, split in moved.items()):
            raise DataError(f"{self.where}: data.axis {axis} is for volumes (.nii, .nii.gz), and there are none; set data.axis z")
        return replace(self, **moved)

    @property
    def leftovers(self) -> str:
        """Name what is not used, at most three of it."""
        named = [f"{show(path)} ({number:,} image{'s' if number > 1 else ''})" for path, number in list(self.unused.items())[:3]]
        return ", ".join(named) + (f" and {len(self.unused) - 3} more" if len(self.unused) > 3 else "")

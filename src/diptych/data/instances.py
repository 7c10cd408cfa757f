"""Instance maps: files beside label maps that give each object a number or a colour of its own, such as 26001 in Cityscapes.

Objects of one label that touch are told apart by nothing else. In memory an object has a number of two bytes, the last two bands
of its label map, so that whatever crops, mirrors or keeps a label map does the same to the objects on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from diptych.data.formats import read_pixels
from diptych.data.listing import find_images, open_folder, spelling
from diptych.data.pairing import key_in
from diptych.data.splits import Layout, Ref, Split
from diptych.errors import DataError
from diptych.messages import show
from diptych.reading import Reading

MOST_OBJECTS = 65535  # in one image; 0 stands for none
READING = Reading(masks=False)  # no profile and no nodata value changes a number
SPLIT = re.compile(r"(train|val|test)", re.IGNORECASE)


def with_instances(split: Split, folder: str | Path) -> Split:
    """The split with the instance map of each label map of A: the file of the same name in a folder, or in one inside it.

    Where several have the name, as in ``train/1.png`` and ``test/1.png``, the one whose folders are called most like those of the
    label map is meant, and one in a folder of another split never is: a test image has other objects than the training image of
    its name. Raises DataError, which names the first, where label maps have none or several are as likely.
    """
    root = open_folder(folder)
    keys: dict[str, list[tuple[str, Path]]] = {}
    for path in find_images(root):
        key = key_in(root, path)
        keys.setdefault(key.rpartition("/")[2], []).append((key, path))
    found = [_of(ref, keys, root.resolve().name) for ref in split.a]
    if missing := [ref for ref, path in zip(split.a, found, strict=True) if path is None]:
        of_all = f"{len(missing):,} of {len(split.a):,} label maps"
        its_split = _split_of(missing[0].path.parent.as_posix())
        named = "a file of the same name" + (f", in a folder called {its_split} or in one of no split" if its_split else "")
        raise DataError(f"{show(root)}: has no instance map for {of_all}, such as {show(missing[0].path)}; give it {named}")
    return replace(split, a=tuple(replace(ref, instances=path) for ref, path in zip(split.a, found, strict=True)))


def without_maps(layout: Layout, folder: str | Path) -> Layout:
    """The layout without the instance maps of a folder among what it leaves unused; all of it where the folder is empty."""
    if not folder:
        return layout
    maps = {path.parent.resolve() for path in find_images(open_folder(folder))}
    left = {path: n for path, n in layout.unused.items() if not any(map_.is_relative_to(path.resolve()) for map_ in maps)}
    return replace(layout, unused=left)


def _of(ref: Ref, keys: Mapping[str, Sequence[tuple[str, Path]]], root: str) -> Path | None:
    key = ref.path.stem if ref.key.startswith("row ") else ref.key  # images of a list are known by their rows
    named = [(found, path) for found, path in keys.get(key.rpartition("/")[2], ()) if f"/{found}".endswith(f"/{key}")]
    if own := _split_of(ref.path.parent.as_posix()):
        named = [(found, path) for found, path in named if _split_of(f"{root}/{found}".rpartition("/")[0]) in (own, "")]
    likeness = partial(_shared, spelling(ref.path.with_suffix("").as_posix()).split("/"))
    best = max((likeness(found.split("/")) for found, _ in named), default=0)
    chosen = [path for found, path in named if likeness(found.split("/")) == best]
    if len(chosen) > 1:
        raise DataError(
            f"{show(chosen[0])} and {show(chosen[1])}: may both be the instance map of {show(ref.path)}; give each split "
            "a folder of its own, such as train and test, or remove one of them"
        )
    return chosen[0] if chosen else None


def _split_of(folder: str) -> str:
    """The split that a path's folders name, the innermost that names one; '' where none does."""
    splits = [found[1].lower() for name in folder.split("/") if (found := SPLIT.match(name))]
    return splits[-1] if splits else ""


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the last names of two paths agree, where train, trainA and train_inst are one name."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        split_a, split_b = SPLIT.match(a), SPLIT.match(b)
        alike = a == b or (split_a and split_b and split_a[0].lower() == split_b[0].lower())
        if not alike:
            break
        count += 1
    return count


def beside(labels: Shaped[np.ndarray, "h w bands"], ref: Ref) -> Shaped[np.ndarray, "h w bands+2"]:
    """A label map with the numbers of its objects as two more bands. Raises DataError, which begins with the file's path."""
    if ref.instances is None:
        raise DataError(f"{show(ref.path)}: has no instance map, and this model was trained with such; give --instances DIR")
    found = read_pixels(ref.instances, READING)
    try:
        return joined(labels, ref.frame.of(found) if ref.frame else found)
    except DataError as error:
        raise DataError(f"{show(ref.path)}: its instance map {show(ref.instances)} {error}") from error


def joined(labels: Shaped[np.ndarray, "h w bands"], instances: np.ndarray) -> Shaped[np.ndarray, "h w bands+2"]:
    """A label map with the numbers of its objects, from an array (h, w) or (h, w, c) of numbers or colours, as two more bands.

    Raises DataError for another size, and for values that count no objects.
    """
    if instances.shape[:2] != labels.shape[:2]:
        (height, width), (high, wide) = instances.shape[:2], labels.shape[:2]
        raise DataError(f"is {width} x {height}, expected {wide} x {high} as the label map")
    return np.concatenate([labels, numbered(instances).astype(labels.dtype)], 2)


def numbered(instances: np.ndarray) -> UInt8[np.ndarray, "h w 2"]:
    """Number the objects of a map from 1 on, as two bytes with the high one first: those of one value, or of one colour.

    Raises DataError for more than 65,535 objects, and for values that are not whole numbers.
    """
    height, width = instances.shape[:2]
    values = instances.reshape(height * width, -1)
    if values.dtype.kind not in "iub" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise DataError("holds values that are not whole numbers; save a number or a colour for each object")
    if values.shape[1] not in (1, 3):
        raise DataError(f"has {values.shape[1]} channels, expected numbers (1) or colours (3)")
    packed = values.astype(np.int64) @ (65536 ** np.arange(values.shape[1], dtype=np.int64))  # of colours up to 16 bits
    different, numbers = np.unique(packed, return_inverse=True)
    if len(different) > MOST_OBJECTS:
        raise DataError(f"holds {len(different):,} objects, expected at most {MOST_OBJECTS:,}")
    order = numbers.reshape(height, width) + 1
    return np.stack([order >> 8, order & 255], 2).astype(np.uint8)

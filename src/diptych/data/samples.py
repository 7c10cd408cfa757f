"""Samples that are in no folders: WebDataset shards, and tables of Hugging Face (see diptych.data.hub).

``wds:shards/train-{000..009}.tar`` takes the images of local .tar files by their samples.

Members that share their name up to its first dot are one sample: ``0001.photo.jpg`` and ``0001.label.png`` are a pair. Shards are
indexed once and read in place (see diptych.data.archives), so that images can be drawn in any order, and a training goes on
exactly. Words such as ``val`` in the name of a shard put its samples into that split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from diptych.data.archives import members
from diptych.data.formats import SUFFIXES
from diptych.data.hub import HF, tables_of
from diptych.data.listing import WDS
from diptych.data.lists import WORDS, Rows, read_list
from diptych.data.splits import Ref
from diptych.errors import DataError
from diptych.messages import show

ORDERS = (  # which of two columns is A
    *(("a", "b"), ("input", "target"), ("input", "output"), ("source", "target"), ("photo", "label"), ("image", "label")),
    *(("image", "mask"), ("image", "segmentation")),
)


def read_rows(source: str | Path) -> Rows:
    """Read a list, shards or a table by what the source looks like. Raises DataError as each of these does."""
    text = str(source)
    if text.startswith(WDS):
        return read_shards(text)
    return read_hub(text) if text.startswith(HF) else read_list(source)


def read_shards(source: str) -> Rows:
    """Read the samples of the shards of a source. Raises DataError for shards that are not there, or samples unlike the first."""
    pattern, asked = split_columns(source.removeprefix(WDS))
    if re.match(r"(\w+://|pipe:)", pattern):
        raise DataError(f"{source}: is not on this machine; copy the shards, and pass wds: with their path")
    shards = [Path(found) for text in expanded(pattern) for found in sorted(glob(text))]
    if not shards:
        raise DataError(f"{source}: no shards found; expected wds:shards/train-{{000..009}}.tar, wds:shards/*.tar ...")
    rows: Rows = {}
    columns: tuple[str, ...] = ()
    for shard in shards:
        split = next((WORDS[word] for word in re.split(r"[^a-z]+", shard.stem.lower()) if word in WORDS), "train")
        for key, images in _samples(shard):
            columns = columns or choose_columns(list(images), asked, source)
            if missing := [column for column in columns if column not in images]:
                found = ", ".join(images) or "no image"
                raise DataError(f"{show(shard)}: sample {show(key)} has {found} and no {missing[0]}; every sample needs both")
            paths = [shard / images[column] for column in columns]
            rows.setdefault(split, []).append(tuple(Ref(path, key=f"{shard.name}/{key}") for path in paths))
    if not rows:
        raise DataError(f"{source}: the shards hold no images; expected .jpg, .png, .webp ... members")
    return rows


def read_hub(source: str) -> Rows:
    """The rows of a data set. Raises DataError where it cannot be loaded or has no image columns, MissingExtraError."""
    name, asked = split_columns(source.removeprefix(HF))
    rows: Rows = {}
    for split, table in tables_of(name).items():
        images = [column for column, kind in table.features.items() if type(kind).__name__ == "Image"]
        columns = choose_columns(images, asked, source)
        ours = WORDS.get(split.lower())
        if ours is None:
            raise DataError(f"{source}: has a split {split}, expected train, validation and test; save the one to use alone")
        paths = ((tuple(Path(f"{HF}{name}", split, column, f"{i:08d}") for column in columns), i) for i in range(len(table)))
        rows[ours] = [tuple(Ref(path, key=f"row {i}") for path in row) for row, i in paths]
    return rows


def _samples(shard: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The samples of a shard in its order: the key, and its images' members by their extension without the file type's dot."""
    samples: dict[str, dict[str, str]] = {}
    for name in members(shard):
        folder, _, file = name.rpartition("/")
        stem, _, extension = file.partition(".")
        if stem and Path(name).suffix.lower() in SUFFIXES:
            samples.setdefault(f"{folder}/{stem}".lstrip("/"), {})[extension.lower()] = name
    yield from samples.items()


def expanded(pattern: str) -> list[str]:
    """Write out ``{000..009}`` and ``{x,y}`` in a pattern."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return [pattern]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        width = len(numbers[1])
        words = [f"{number:0{width}d}" for number in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        words = found[1].split(",")
    return [text for word in words for text in expanded(pattern[: found.start()] + word + pattern[found.end() :])]


def split_columns(text: str) -> tuple[str, tuple[str, ...]]:
    """A source without the columns that may be named at its end, as in ``name:photo,label``, and those."""
    found = re.fullmatch(r"(.+):([\w.]+(?:,[\w.]+)?)", text)
    return (found[1], tuple(found[2].split(","))) if found else (text, ())


def choose_columns(found: Sequence[str], asked: Sequence[str], source: str) -> tuple[str, ...]:
    """The columns that are the sides, A first: those asked for, or the one or two that there are.

    Raises DataError where that does not say which.
    """
    names = ", ".join(found) or "none"
    if asked:
        if unknown := [column for column in asked if column not in found]:
            raise DataError(f"{source}: has no images called {unknown[0]}; there are {names}")
        return tuple(asked)
    if not 1 <= len(found) <= 2:
        raise DataError(f"{source}: images are called {names}; choose one or two of them, as in {source}:photo,label")
    by_word = {name.split(".")[0]: name for name in found}
    for order in ORDERS:
        if set(order) == set(by_word):
            return tuple(by_word[word] for word in order)
    return tuple(found)

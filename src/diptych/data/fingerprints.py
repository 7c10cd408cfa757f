"""Whether the images of a run are still those that it began with, wherever they lie: by names, sizes and hashes of a sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.data.archives import changed_at
from diptych.data.census import TOLERATED_SHARE, Census, Skipped
from diptych.data.splits import Ref, Split
from diptych.errors import DataError
from diptych.files import sha256_of
from diptych.messages import show
from diptych.schemas import parse_json
from diptych.sheets import spread

NUM_HASHED = 16  # files, evenly spread
Prints = dict[str, tuple[int, str]]
"""By the name of an image: the bytes of its file, and the SHA-256 of some; -1 and empty where they are not known."""


@dataclass(frozen=True)
class Changes:
    """The names of images that a run did not begin with, that are gone, and whose files differ, out of ``total``."""

    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]
    total: int

    def too_many(self) -> bool:
        """Whether more images are gone or differ than a training may lack."""
        return len(self.gone) + len(self.changed) > TOLERATED_SHARE * self.total

    def __str__(self) -> str:
        counted = (("new", self.new), ("gone", self.gone), ("changed", self.changed))
        return "; ".join(f"{len(names):,} {word}: {_examples(names)}" for word, names in counted if names)


def names_of(splits: Mapping[str, Split | None]) -> dict[str, Ref]:
    """The images of some splits by names that do not depend on where their folders lie, such as ``train/a/deep/1.png``."""
    return {
        _name(word, side, ref): ref
        for word, split in splits.items()
        if split
        for side, refs in (("a", split.a), ("b", split.b))
        for ref in refs
    }


def take_prints(images: Mapping[str, Ref], hashed: Sequence[str] | None = None) -> Prints:
    """Measure the files of images, and hash those of some names; by default of a sample."""
    hashed = spread(sorted(images), NUM_HASHED) if hashed is None else hashed
    return {name: (_bytes(ref.path), _hash(ref.path) if name in hashed else "") for name, ref in images.items()}


def prints_of(census: Census, own_val: bool) -> Prints:
    """The names in a census of which no prints were kept; ``own_val``: whether its validation images have their own folder."""
    return dict.fromkeys(_census_images(census, own_val), (-1, ""))


def compare(kept: Prints, images: Mapping[str, Ref], known: Sequence[Path] = ()) -> Changes:
    """Compare the prints that a run began with with the images that are there now.

    Images in ``known`` are not new: they were seen, and left out.
    """
    now = take_prints(images, [name for name, (_, digest) in kept.items() if digest])
    seen = {path.name for path in known}
    new = tuple(name for name, ref in images.items() if name not in kept and ref.path.name not in seen)
    gone = tuple(name for name in kept if name not in now)
    changed = tuple(name for name, was in kept.items() if name in now and was[0] >= 0 and now[name] != was)
    return Changes(new, gone, changed, len(kept))


def relocated(census: Census, images: Mapping[str, Ref], own_val: bool) -> Census:
    """A census whose images lie where they are found now; images that are gone keep the place that they had."""
    before = _census_images(census, own_val)
    there = [(ref, images[name]) for name, ref in before.items() if name in images]
    moved = {ref.path: now.path for ref, now in there}
    maps = {ref.instances: now.instances for ref, now in there}

    def at(path: Path) -> Path:
        return moved.get(path, path)

    def relocated_ref(ref: Ref) -> Ref:
        return replace(ref, path=at(ref.path), instances=maps.get(ref.instances, ref.instances))

    def side(refs: Sequence[Ref]) -> tuple[Ref, ...]:
        return tuple(map(relocated_ref, refs))

    def split(part: Split) -> Split:
        return Split(side(part.a), side(part.b), part.paired)

    return replace(
        census,
        split=split(census.split),
        val=split(census.val) if census.val else None,
        skipped=tuple(Skipped(at(item.path), item.reason) for item in census.skipped),
        flat=tuple(map(at, census.flat)),
        outliers=tuple(map(at, census.outliers)),
        sizes={relocated_ref(ref): size for ref, size in census.sizes.items()},
    )


def write_prints(prints: Prints) -> str:
    """Write prints as one line of ASCII; names of any bytes survive, as JSON escapes lone surrogates."""
    return json.dumps(prints)


def read_prints(text: str) -> Prints:
    """Read what write_prints wrote. Raises DataError when the text is anything else."""
    try:
        return {name: (int(size), str(digest)) for name, (size, digest) in parse_json(text).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(f"files.json: damaged ({type(error).__name__}: {error}); remove it to go on without it") from error


def _census_images(census: Census, own_val: bool) -> dict[str, Ref]:
    """The images of a census by name; those that were held out for validation came from the training folder."""
    held_out = None if own_val else census.val
    return names_of({"val": census.val if own_val else None, "train": census.split}) | names_of({"train": held_out})


def _name(word: str, side: str, ref: Ref) -> str:
    half = "" if ref.half == "whole" else f" ({ref.half} half)"
    return f"{word}/{side}/{ref.key}{ref.path.suffix}{half}"


def _bytes(path: Path) -> int:
    try:
        return changed_at(path)[0]
    except (OSError, DataError):
        return -1


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _examples(names: Sequence[str]) -> str:
    return ", ".join(map(show, names[:3])) + (" ..." if len(names) > 3 else "")

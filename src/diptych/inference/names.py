"""The names of results: those of their inputs, with clashes found before anything is written, all at once."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from diptych.choices import Frames, Names
from diptych.data.labels import suffix_for
from diptych.data.large_files import only_in_windows
from diptych.data.stacks import count_frames, holds_frames
from diptych.data.volumes import is_volume, volume_of
from diptych.errors import DataError
from diptych.messages import show
from diptych.pixels import Domain

SHOWN = 10  # clashes that are named
ONLY_FIRST = "only the first of several frames or pages translated; --frames all translates all"


class Noted(Protocol):
    """What became of a file, as far as it is told at the end."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def frames(self) -> int: ...


class Planned(Protocol):
    """A file to translate, and the file that it becomes."""

    @property
    def source(self) -> Path: ...

    @property
    def target(self) -> Path: ...


def result_name(relative: Path, suffix: str, names: Names) -> Path:
    """Name the result of an input with another suffix: a.gif becomes a.png, or with ``full`` names a.gif.png."""
    if relative.suffix == suffix:
        return relative
    if names == "plain":
        return relative.with_suffix(suffix)
    return relative.with_name(relative.name + suffix)


def result_of(path: Path, relative: Path, target: Domain, names: Names, frames: Frames) -> Path:
    """Name the result of an input in a target domain; a file of which all frames are translated keeps its container."""
    if is_volume(path):
        return relative
    if only_in_windows(path):
        return result_name(relative, ".zarr" if relative.suffix.lower() == ".zarr" else ".tif", names)
    if frames == "all" and count_frames(path) > 1:
        suffix = (
            relative.suffix
            if holds_frames(relative.suffix, target.bands, target.stored or target.dtype, alpha=target.alpha == "keep")
            else ".tiff"
        )
        return result_name(relative, suffix, names)
    return result_name(relative, suffix_for(relative.suffix, target), names)


def notes_of(outcomes: Sequence[Noted], frames: Frames) -> list[str]:
    """Say in a line each, with how many files it concerns, what reading changed or left out."""
    counts = sum((notes_in(outcome, frames) for outcome in outcomes), Counter[str]())
    return in_lines(counts, len(outcomes))


def notes_in(outcome: Noted, frames: Frames) -> Counter[str]:
    """What reading one file changed or left out."""
    return Counter([*outcome.notes, *([ONLY_FIRST] if outcome.frames > 1 and frames == "first" else [])])


def in_lines(counts: Counter[str], files: int) -> list[str]:
    """Say in a line each how many of the files a note concerns."""
    return [f"{count:,} of {files:,}: {note}" for note, count in counts.most_common() if count]


def whole_files(images: Sequence[Path]) -> list[Path]:
    """Put each volume in the place of its slices."""
    volumes = [volume_of(path) for path in images]
    if not any(volumes):  # as a rule; hashing a million paths takes seconds
        return list(images)
    return list(dict.fromkeys(volume or path for volume, path in zip(volumes, images, strict=True)))


def _folded(target: Path) -> str:
    """The name of a result without what some file systems make no difference of."""
    return unicodedata.normalize("NFC", str(target)).casefold()


def refuse_clashes(planned: Sequence[Planned], names: Names) -> None:
    """Raise DataError where several inputs would have one result, naming all such results.

    Names that differ in upper and lower case alone are one file on macOS and Windows.
    """
    if len({_folded(job.target) for job in planned}) == len(planned):  # as a rule, also of millions
        return
    by_name: dict[str, list[tuple[Path, Path]]] = defaultdict(list)
    for job in planned:
        by_name[_folded(job.target)].append((job.source, job.target))
    clashes = [group for group in by_name.values() if len(group) > 1]
    named = [f"{' and '.join(show(source) for source, _ in group)} -> {show(group[0][1])}" for group in clashes[:SHOWN]]
    more = f" and {len(clashes) - SHOWN:,} more" if len(clashes) > SHOWN else ""
    same_case = all(len({target for _, target in group}) == 1 for group in clashes)
    other_suffixes = all(len({source.name for source, _ in group}) == len(group) for group in clashes)
    advice = "translate them apart, or rename them"
    if names == "plain" and same_case and other_suffixes:
        advice = "use --names full, which keeps the suffixes of inputs"
    also = "" if same_case else " (upper and lower case are one on macOS and Windows)"
    what = "1 result" if len(clashes) == 1 else f"{len(clashes):,} results"
    raise DataError(f"{what} would have the name of another{also}: {'; '.join(named)}{more}; {advice}")

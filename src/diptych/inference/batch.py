"""Translate files and trees of folders: results keep names, tree and sizes, and each file is written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from diptych.choices import Norms
from diptych.data.carrying import carried
from diptych.data.datasets import read_picture_as
from diptych.data.labels import write_as
from diptych.data.large_files import is_large
from diptych.data.metadata import Metadata
from diptych.data.pillow_images import TooLargeError
from diptych.data.untrusted import among_strangers
from diptych.data.window_files import written_only_in_windows
from diptych.errors import ConfigError, DataError, MissingExtraError, out_of_memory
from diptych.files import make_folder
from diptych.inference.budget import COPIES, host_left, reading_bytes
from diptych.inference.jobs import folder_of, names_a_file, plan
from diptych.inference.large import in_parts, note_on, scratch_folder, translate_large, way_of
from diptych.inference.manifest import Job, Manifest
from diptych.inference.translator import Translator, WorkingSize
from diptych.messages import show
from diptych.overlap import ahead

__all__ = ["Outcome", "folder_of", "names_a_file", "outcomes_of", "plan", "scratch_folder", "translate_files"]

SMALLER = "cut it into smaller images, or use --at trained"
THREADS = min(4, os.cpu_count() or 1)  # this many read files, and as many write them


@dataclass(frozen=True)
class Outcome:
    """What became of a job: it was done, or not done for the reason in ``problem``.

    ``by_stages`` says that the image was translated by stages or in windows, as it was too large for the memory. ``notes`` say
    what reading changed or left out, and how near windows come; ``frames`` is how many the file has, where only the first of
    them was translated.
    """

    job: Job
    problem: str | None = None
    by_stages: bool = False
    notes: tuple[str, ...] = ()
    frames: int = 1


@dataclass(frozen=True)
class _Loaded:
    """An image before or after the network, with the height and width that it has in its file.

    ``without`` are the pixels (h, w) that have no data; None where all have. ``how`` says how an image was translated that does
    not fit into the memory as a whole.
    """

    job: Job
    pixels: Shaped[Tensor, "c h w"]
    height: int
    width: int
    how: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    without: np.ndarray | None = None


@dataclass(frozen=True)
class _Large:
    """An image that is read, translated and written in windows."""

    job: Job


def translate_files(
    jobs: Iterable[Job],
    translator: Translator,
    *,
    at: WorkingSize = "native",
    batch: int = 1,
    batch_values: int | None = None,
    manifest: Manifest | None = None,
    watch: Callable[[Outcome], None] = lambda o: None,
    watch_stages: Callable[[Job, float], None] = lambda job, share: None,
    norms: Norms = "whole",
) -> list[Outcome]:
    """Translate every job and list what became of each; `outcomes_of` is the same one by one, and says what the arguments are."""
    how: dict[str, Any] = {"at": at, "batch": batch, "batch_values": batch_values, "manifest": manifest, "norms": norms}
    outcomes = []
    with closing(outcomes_of(jobs, translator, **how, watch_stages=watch_stages)) as found:
        for outcome in found:
            outcomes.append(outcome)
            watch(outcome)
    return outcomes


def outcomes_of(
    jobs: Iterable[Job],
    translator: Translator,
    *,
    at: WorkingSize = "native",
    batch: int = 1,
    batch_values: int | None = None,
    manifest: Manifest | None = None,
    watch_stages: Callable[[Job, float], None] = lambda job, share: None,
    norms: Norms = "whole",
) -> Generator[Outcome, None, None]:
    """Translate every job. An image that cannot be read or written, or is too large for the memory, is reported in its outcome.

    Threads read the next few images and write the last few while the network computes. Up to ``batch`` successive images of one
    size go through the network together, as long as they have no more than ``batch_values`` numbers. Outcomes are in the order
    of the jobs, and nothing is kept of those that are done. Images that do not fit into the memory are translated by stages:
    ``watch_stages`` is called with the share that is done, and an interrupted image goes on from a hidden folder beside its
    result. Such as are too large to be read at once are read and written in windows; see `large.py`, also for ``norms``. The
    ``manifest`` of the folder records every result.
    Raises StorageError when the disk refuses.
    """
    batch = 1 if translator.depends_on_batch else batch
    load = partial(_load, translator=translator, at=at)
    large = partial(_large, translator=translator, norms=norms, manifest=manifest, watch_stages=watch_stages)
    apart = partial(_in_parts, translator=translator, norms=norms, watch_stages=watch_stages)
    write = partial(_write, translator=translator, manifest=manifest)
    most = host_left(translator) // 4  # bytes of images that are read while another is translated, and of those that are written
    side: dict[str, Any] = {"threads": THREADS, "depth": batch + THREADS, "most": most}
    with (
        closing(ahead(load, jobs, weight=partial(_reading, translator=translator), **side)) as loaded,
        closing(_translated(_grouped(loaded, batch, batch_values), translator, apart, large)) as translated,
        closing(ahead(write, translated, weight=_writing, **side)) as written,
    ):
        yield from written


def _reading(job: Job, translator: Translator) -> int:
    """The bytes of memory that reading an image takes, where they are limited."""
    limited = translator.memory is not None and translator.device.type == "cpu"
    return reading_bytes(job.source, translator.source) if limited else 0


def _writing(item: _Loaded | Outcome) -> int:
    return COPIES * item.pixels.nbytes if isinstance(item, _Loaded) else 0


def _load(job: Job, translator: Translator, at: WorkingSize) -> _Loaded | _Large | Outcome:
    try:
        if is_large(job.source) or written_only_in_windows(job.target):
            return _large_at(job, at, translator)
        if _reading(job, translator) > max(0, host_left(translator)) // 2:
            return _large_at(job, at, translator)
        picture, pixels = read_picture_as(job.ref, translator.source)
        without = np.isnan(picture.pixels).any(2) if picture.pixels.dtype == np.float32 else None
        prepared = translator.prepare(pixels, at)
        height, width = pixels.shape[:2]
        return _Loaded(job, prepared, height, width, metadata=picture.metadata, without=without)
    except TooLargeError as error:
        return Outcome(job, problem=str(error)) if among_strangers() else _large_at(job, at, translator)
    except DataError as error:
        return Outcome(job, problem=str(error))
    except MemoryError:
        return Outcome(job, problem=f"{show(job.source)}: does not fit into memory; {SMALLER}")


def _large_at(job: Job, at: WorkingSize, translator: Translator) -> _Large | Outcome:
    if translator.source.instances:
        return Outcome(job, problem=f"{show(job.source)}: is too large to be read together with its instance map; {SMALLER}")
    if at == "native":
        return _Large(job)
    return Outcome(job, problem=f"{show(job.source)}: is too large to be resized as a whole; leave out --at {at}")


def _large(
    item: _Large, translator: Translator, norms: Norms, manifest: Manifest | None, watch_stages: Callable[[Job, float], None]
) -> Outcome:
    job = item.job
    try:
        metadata, how = translate_large(job, translator, norms, manifest, partial(watch_stages, job))
    except (DataError, MissingExtraError) as error:
        return Outcome(job, problem=str(error))
    except ConfigError as error:
        return Outcome(job, problem=f"{show(job.source)}: cannot be translated in windows: {error}")
    except MemoryError:
        return Outcome(job, problem=f"{show(job.source)}: does not fit into memory; {SMALLER}")
    return Outcome(job, by_stages=how != "whole", notes=(*metadata.notes, *note_on(how)), frames=metadata.frames)


def _grouped(
    loaded: Iterable[_Loaded | _Large | Outcome], batch: int, batch_values: int | None
) -> Generator[list[_Loaded] | _Large | Outcome, None, None]:
    """Put successive images of one size into groups that go through the network at once. All else passes unchanged."""
    group: list[_Loaded] = []
    for item in loaded:
        if group and (not isinstance(item, _Loaded) or not _joins(group, item, batch, batch_values)):
            yield group
            group = []
        if not isinstance(item, _Loaded):
            yield item
        else:
            group.append(item)
    if group:
        yield group


def _joins(group: list[_Loaded], item: _Loaded, batch: int, batch_values: int | None) -> bool:
    if len(group) == batch or item.pixels.shape != group[0].pixels.shape:
        return False
    return batch_values is None or (len(group) + 1) * item.pixels.numel() <= batch_values


def _translated(
    groups: Iterable[list[_Loaded] | _Large | Outcome],
    translator: Translator,
    apart: Callable[[_Loaded], _Loaded | Outcome],
    large: Callable[[_Large], Outcome],
) -> Generator[_Loaded | Outcome, None, None]:
    """Give the images after the network.

    On CUDA two groups are under way at a time, so that the device computes one while the other is copied.
    """
    through = partial(_through, translator=translator, apart=apart, large=large)
    if translator.device.type != "cuda":
        for group in groups:
            yield from through(group)
        return
    with closing(ahead(through, groups, threads=2, depth=2)) as results:
        for result in results:
            yield from result


def _through(
    group: list[_Loaded] | _Large | Outcome,
    translator: Translator,
    apart: Callable[[_Loaded], _Loaded | Outcome],
    large: Callable[[_Large], Outcome],
) -> list[_Loaded | Outcome]:
    if isinstance(group, Outcome):
        return [group]
    if isinstance(group, _Large):
        return [large(group)]
    height, width = group[0].pixels.shape[1:]
    fits = translator.fits(height, width, len(group))
    try:
        if fits:
            outs = translator.tensors(torch.stack([item.pixels for item in group]))
            return [replace(item, pixels=out) for item, out in zip(group, outs, strict=True)]
        if len(group) == 1:
            return [apart(group[0])]
    except Exception as error:
        if not out_of_memory(error):
            raise
    if len(group) > 1:
        return [result for item in group for result in _through([item], translator, apart, large)]
    (item,) = group
    problem = f"{show(item.job.source)}: {height} x {width} pixels need more memory than there is; {SMALLER}"
    return [Outcome(item.job, problem=problem)]


def _in_parts(
    item: _Loaded, translator: Translator, norms: Norms, watch_stages: Callable[[Job, float], None]
) -> _Loaded | Outcome:
    job, pixels = item.job, item.pixels.permute(1, 2, 0).numpy()
    out = np.full((*pixels.shape[:2], translator.target.bands), 0, translator.target.dtype)  # filled, so that its memory counts
    try:
        how = in_parts(translator, pixels, out, norms, scratch_folder(job.target), partial(watch_stages, job))
    except ConfigError as error:
        whole = "needs more memory to be translated whole than there is by --memory, or by ulimit -v"
        return Outcome(job, problem=f"{show(job.source)}: {whole}, and cannot be translated {way_of(translator, norms)}: {error}")
    return replace(item, pixels=torch.from_numpy(out).permute(2, 0, 1), how=how)


def _write(item: _Loaded | Outcome, translator: Translator, manifest: Manifest | None) -> Outcome:
    if isinstance(item, Outcome):
        return item
    job = item.job
    make_folder(job.target.parent)
    problem = None
    try:
        out = translator.finish(item.pixels, item.height, item.width)
        out, metadata = carried(out, item.metadata, translator.target, item.without)
        if manifest:
            manifest.begin(job)
        write_as(job.target, out, translator.target, metadata)
        if manifest:
            manifest.finish(job)
    except DataError as error:
        problem = str(error)
    except MemoryError:
        problem = f"{show(job.source)}: its translation does not fit into memory; {SMALLER}"
    if item.how:
        shutil.rmtree(scratch_folder(job.target), ignore_errors=True)
    found = item.metadata
    notes = (*found.notes, *note_on(item.how))
    return Outcome(job, problem=problem, by_stages=bool(item.how), notes=notes, frames=found.frames)

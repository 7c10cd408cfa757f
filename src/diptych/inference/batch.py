"""Translating files and trees of folders: same names, same tree, same sizes, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.datasets import read_as
from diptych.data.folders import Ref, find_images
from diptych.data.formats import output_suffix, show, write_pixels
from diptych.errors import DataError, StorageError
from diptych.inference.translator import At, Translator


@dataclass(frozen=True)
class Job:
    """One image to translate, and where the result goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: done, already there, or the reason why not."""

    job: Job
    skipped: bool = False
    problem: str | None = None


def plan(inputs: Sequence[str | Path], out: str | Path, translator: Translator) -> list[Job]:
    """A job for each input file and each image in input folders; a folder's tree is kept below out.

    Where out lies inside an input folder, what it already holds are results and no inputs.
    Raises DataError when an input is missing, a folder holds no images, or a result would overwrite its input or another result.
    """
    jobs: dict[Path, Job] = {}
    for given in map(Path, inputs):
        if not given.exists():
            raise DataError(f"{show(given)}: no such file or folder; give images or folders of images")
        files = [(given, Path(given.name))]
        if given.is_dir():
            results = Path(out).resolve() if given.resolve() in Path(out).resolve().parents else None
            images = [path for path in find_images(given) if not (results and path.resolve().is_relative_to(results))]
            files = [(path, path.relative_to(given)) for path in images]
        for path, relative in files:
            suffix = output_suffix(relative.suffix, translator.target.channels, translator.target.dtype)
            target = Path(out) / relative.with_suffix(suffix)
            if target.exists() and os.path.samefile(path, target):
                raise DataError(f"{show(path)}: would be overwritten by its own translation; choose another --out")
            if target in jobs:
                raise DataError(
                    f"{show(path)}: {show(jobs[target].source)} is also translated to {show(target)}; translate them apart"
                )
            jobs[target] = Job(path, target)
    return list(jobs.values())


def translate_files(
    jobs: Iterable[Job],
    translator: Translator,
    *,
    at: At = "native",
    skip_existing: bool = False,
    watch: Callable[[Outcome], None] = lambda o: None,
) -> list[Outcome]:
    """Translate every job; an unreadable image is reported in its outcome and the rest goes on.

    Each file appears whole or not at all, so ``skip_existing`` goes on where an interrupted job stopped.
    Raises StorageError when the disk refuses.
    """
    outcomes = []
    for job in jobs:
        outcomes.append(_translate(job, translator, at, skip_existing))
        watch(outcomes[-1])
    return outcomes


def _translate(job: Job, translator: Translator, at: At, skip_existing: bool) -> Outcome:
    if skip_existing and job.target.exists():
        return Outcome(job, skipped=True)
    try:
        pixels = translator.pixels(read_as(Ref(job.source), translator.source), at)
    except DataError as error:
        return Outcome(job, problem=str(error))
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{show(job.target.parent)}: cannot be made ({error.strerror}); choose another --out") from error
    write_pixels(job.target, pixels)
    return Outcome(job)

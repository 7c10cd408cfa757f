"""Translate all frames of animations, pages of TIFF and DICOM files, and slices of volumes into files of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from diptych.choices import Frames
from diptych.data.carrying import carried
from diptych.data.kinds import fit
from diptych.data.metadata import Metadata
from diptych.data.stacks import count_frames, read_frames, write_frames
from diptych.data.volumes import is_volume
from diptych.errors import DataError, MissingExtraError, StorageError
from diptych.files import make_folder
from diptych.inference.batch import Outcome
from diptych.inference.manifest import Job, Manifest
from diptych.inference.translator import Translator, WorkingSize
from diptych.messages import show


def is_stack(job: Job, frames: Frames) -> bool:
    """Whether a job is of a file of many images, all of which are to be translated."""
    return is_volume(job.source) or (frames == "all" and count_frames(job.source) > 1)


def translate_stacks(
    jobs: Iterable[Job],
    translator: Translator,
    *,
    at: WorkingSize = "native",
    manifest: Manifest | None = None,
    watch: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Translate every frame of each file by itself and write them as one file; see write_frames for what that keeps.

    A file of which a frame cannot be read or written is reported in its outcome and not written at all. Frames are held in
    memory until the last is done. The ``manifest`` of the folder records every result. Raises StorageError when the disk refuses.
    """
    outcomes = []
    for job in jobs:
        outcome = _translated(job, translator, at, manifest)
        outcomes.append(outcome)
        watch(outcome)
    return outcomes


def _translated(job: Job, translator: Translator, at: WorkingSize, manifest: Manifest | None) -> Outcome:
    source, target = translator.source, translator.target
    frames: list[np.ndarray] = []
    metadata, notes = Metadata(), dict[str, None]()  # notes that many frames share are one
    try:
        for i, picture in enumerate(read_frames(job.source, source.reading)):
            without = np.isnan(picture.pixels).any(2) if picture.pixels.dtype == np.float32 else None
            try:
                fitted = fit(picture.pixels, source, picture.metadata.stored)
            except DataError as error:
                raise DataError(f"{show(job.source)}: frame {i}: {error}") from error
            out = translator.pixels(fitted, at)
            pixels, found = carried(out, picture.metadata, target, without)
            metadata = metadata if i else replace(found, nodata=None)
            metadata = replace(metadata, nodata=found.nodata if metadata.nodata is None else metadata.nodata)
            if frames and pixels.shape != frames[0].shape and job.target.suffix.lower() not in (".tif", ".tiff"):
                raise DataError(f"{show(job.source)}: frame {i} is of another size than the first; save its frames as files")
            frames.append(pixels)
            notes |= dict.fromkeys(picture.metadata.notes)
        make_folder(job.target.parent)
        if manifest:
            manifest.begin(job)
        write_frames(job.target, frames, job.source, metadata, alpha=target.alpha == "keep", axis=source.axis)
        if manifest:
            manifest.finish(job)
    except (DataError, MissingExtraError) as error:
        return Outcome(job, problem=str(error))
    except MemoryError:
        return Outcome(job, problem=f"{show(job.source)}: its {len(frames) + 1} frames do not fit into memory; split the file")
    except OSError as error:
        raise StorageError(f"{show(job.target)}: cannot be written ({error.strerror}); check space and permissions") from error
    return Outcome(job, notes=tuple(notes))

"""Translate an image that is too large for the memory from file to file: it is read, translated and written in windows.

What is done lies in a hidden folder beside the result until the result is there, so that an interrupted image goes on; feature
maps that are small stay in memory (see `in_parts`).
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np

from diptych.choices import Norms
from diptych.data.carrying import carried
from diptych.data.datasets import read_as
from diptych.data.folders import Ref
from diptych.data.labels import write_as
from diptych.data.large_files import is_large, open_windows
from diptych.data.metadata import Metadata
from diptych.data.pillow_images import TooLargeError
from diptych.data.window_files import write_windows, written_in_windows
from diptych.data.windows import Fitted, Windows
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import refuse_links_out
from diptych.inference.budget import stages_fit
from diptych.inference.manifest import Job, Manifest, hash_of
from diptych.inference.maps import PixelFile, Source, Target
from diptych.inference.norm_statistics import NormStatistics
from diptych.inference.staged import Watch, staging_of
from diptych.inference.translator import Translator
from diptych.memory import in_words
from diptych.messages import show
from diptych.pixels import Domain

IN_MEMORY = 2 * 10**9  # bytes of feature maps up to which an interrupted image begins anew


def scratch_folder(target: Path) -> Path:
    """The hidden folder beside a result in which its translation by stages lies until it is done.

    Raises ConfigError where it is a link that leads elsewhere.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]  # since long names are cut
    folder = target.with_name(f".{target.name[:40]}.{digest}.stages")
    refuse_links_out([folder], target.parent)
    return folder


def translate_large(
    job: Job,
    translator: Translator,
    norms: Norms = "whole",
    manifest: Manifest | None = None,
    watch: Callable[[float], None] = lambda share: None,
) -> tuple[Metadata, str]:
    """Translate a file that is read in windows, and return its metadata and how it was done, in words.

    ``norms`` says from what the norms of a network that does not fit as a whole take their statistics: the whole image, or a
    sample of it. Raises DataError for a file that cannot be read or written, ConfigError for a network that cannot be applied so,
    StorageError when the disk refuses.
    """
    source, target = translator.source, translator.target
    allowed = translator.left() // 2
    with closing(open_windows(job.source, source.reading, allowed)) as image:
        fitted = Fitted(image, source, job.source, hash_of(job.source))
        height, width, _ = image.shape
        scratch = scratch_folder(job.target)
        _refuse_what_cannot_be_written(job, target, (height, width), allowed)
        _make(scratch, 3 * height * width * target.bands * np.dtype(target.dtype).itemsize)
        with closing(PixelFile(scratch / "pixels.bin", (height, width, target.bands), target.dtype)) as out:
            how = _translated(fitted, out, translator, norms, scratch / "stages", watch)
            result = _Result(out, fitted, target)
            if manifest:
                manifest.begin(job)
            if written_in_windows(job.target):
                averaged = not target.classes and result.metadata.nodata is None
                keep = target.alpha == "keep"
                write_windows(job.target, result, result.metadata, scratch / "levels", alpha=keep, averaged=averaged)
            else:
                write_as(job.target, result.read(0, height, 0, width), target, result.metadata)
            if manifest:
                manifest.finish(job)
    shutil.rmtree(scratch, ignore_errors=True)
    return image.metadata, how


def _make(scratch: Path, needed: int) -> None:
    """Make the folder, on a disk with enough space for the pixels, the result and its smaller copies."""
    try:
        if not scratch.exists():
            scratch.mkdir(parents=True)
            if (free := shutil.disk_usage(scratch).free) < needed:
                scratch.rmdir()
                raise StorageError(
                    f"{show(scratch)}: the translation needs {in_words(needed)} of disk, found {in_words(free)} free; free some "
                    "space, or choose an --out on another disk"
                )
    except OSError as error:
        raise StorageError(f"{show(scratch)}: cannot be made ({error.strerror}); choose another --out") from error


def measure_file(path: Path, translator: Translator) -> NormStatistics:
    """Measure the norms of a network in an image of any size; see `Translator.measure_norms`.

    Raises DataError for a file that cannot be read, and what that method raises.
    """
    source = translator.source
    if not is_large(path):
        try:
            return translator.measure_norms(read_as(Ref(path), source))
        except TooLargeError:
            pass
    with closing(open_windows(path, source.reading, translator.left() // 2)) as image:
        return translator.measure_by_stages(Fitted(image, source, path, hash_of(path)))


def _translated(
    fitted: Fitted, out: PixelFile, translator: Translator, norms: Norms, scratch: Path, watch: Callable[[float], None]
) -> str:
    height, width, _ = fitted.shape
    if translator.fits(height, width):
        out[0:height, 0:width] = translator.pixels(fitted[0:height, 0:width])
        return "whole"
    return in_parts(translator, fitted, out, norms, scratch, watch)


def way_of(translator: Translator, norms: Norms) -> str:
    """How images are translated that do not fit into the memory as a whole, with norms of the whole image or of a sample."""
    return "in windows" if norms == "sampled" or translator.fits_windows else "by stages"


def in_parts(translator: Translator, source: Source, out: Target, norms: Norms, scratch: Path, watch: Watch) -> str:
    """Translate an image that does not fit into the memory as a whole, and return how it was done, in words.

    The folder ``scratch`` stays, so that an interrupted translation goes on; it is not made for feature maps that are small and
    fit into the memory, whose stages take a minute or two. Raises what `Translator.by_stages` and `Translator.by_windows` raise.
    """
    if way_of(translator, norms) == "by stages":
        maps = staging_of(translator._torch(), *source.shape[:2]).scratch
        files = maps > min(IN_MEMORY, translator.left() // 2)
        translator.by_stages(source, out, scratch=scratch if files else None, keep_scratch=files, watch=watch)
        return "by stages"
    try:
        _, error = translator.by_windows(source, out, state=scratch / "windows.safetensors", watch=watch)
    except ConfigError as refused:
        if norms == "sampled" and stages_fit(translator, source):
            raise ConfigError(f"{refused}; or leave out --sample-norms, as this memory is enough for the exact way") from refused
        raise
    return f"in windows, with a mean error of at most {upwards(error / 2)} of the range" if error else "in windows"


def upwards(value: float) -> str:
    """A number of at least 0 with two digits, rounded up, as an upper figure is."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value else 1.0
    return f"{math.ceil(value / step) * step:.2g}"


def note_on(how: str) -> tuple[str, ...]:
    """What is said of how an image was translated: windows may be inexact, and stages go without saying."""
    return (f"translated {how}",) if how.startswith("in windows") else ()


def _refuse_what_cannot_be_written(job: Job, target: Domain, size: tuple[int, int], allowed: int) -> None:
    """Raise DataError, before anything is computed, for a result that its format cannot hold."""
    if written_in_windows(job.target):
        if job.target.suffix.lower() == ".dzi" and (target.bands not in (1, 3) or target.dtype != "uint8"):
            raise DataError(f"{show(job.target)}: Deep Zoom holds 8-bit gray and RGB; name it .tif or .zarr")
        return
    needed = 3 * size[0] * size[1] * target.bands * np.dtype(target.dtype).itemsize
    if needed > allowed:
        raise DataError(
            f"{show(job.source)}: its translation, {size[1]} x {size[0]}, is too large for {job.target.suffix}, which is "
            f"encoded as a whole and takes {in_words(needed)}; name the result by --out {job.target.stem}.tif"
        )


@final
class _Result(Windows):
    """What is written of a translation: pixels without data as the file of the input marks them."""

    def __init__(self, out: PixelFile, source: Fitted, target: Domain) -> None:
        self.out, self.source, self.target, self.shape = out, source, target, out.shape
        marked = np.ones((1, 1), bool) if source.metadata.nodata is not None else None
        _, metadata = carried(np.zeros((1, 1, target.bands), target.dtype), source.metadata, target, marked)
        self.metadata = replace(metadata, notes=())

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read a window as it is written."""
        pixels = self.out.read(top, bottom, left, right)
        return carried(pixels, self.source.metadata, self.target, self.source.without(top, bottom, left, right))[0]

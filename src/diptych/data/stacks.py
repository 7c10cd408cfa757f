"""Animations and files of many pages: how many frames they hold, each as native pixels, and the same container written again."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from diptych.choices import Axis
from diptych.data.archives import split_archive
from diptych.data.dicom import encode_dicom
from diptych.data.encoders import holds, write_page
from diptych.data.formats import read_bytes, read_picture, write_whole
from diptych.data.metadata import Metadata, Picture
from diptych.data.pillow_images import to_pillow
from diptych.data.tiffs import MASK, REDUCED
from diptych.data.untrusted import decode, refuse_untrusted
from diptych.data.volumes import is_volume, joined, slices_of, volume_bytes
from diptych.errors import DataError
from diptych.messages import show
from diptych.reading import Reading

ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
ANIMATIONS = frozenset(ANIMATED) - {".png"}  # who names one of these wants all frames
STACKED = (".tif", ".tiff")
USUAL_DURATION = 100.0  # milliseconds of a frame whose file says nothing


def count_frames(path: Path) -> int:
    """Count the frames, pages or slices of a file; 1 where it cannot be read, as reading it says why.

    Raises DataError among strangers' files.
    """
    refuse_untrusted()
    try:
        if is_volume(path):
            return len(slices_of(path))
        if path.suffix.lower() in STACKED:
            with tifffile.TiffFile(_opened(path)) as file:
                stacked = len(file.pages) > 1 and file.series[0].axes == "CYX"
                return 1 if stacked else sum(not int(page.aspage().subfiletype) & (REDUCED | MASK) for page in file.pages)
        if path.suffix.lower() in ANIMATED:
            with Image.open(_opened(path), formats=("GIF", "WEBP", "PNG")) as image:
                return int(getattr(image, "n_frames", 1))
        return read_picture(path).metadata.frames if path.suffix.lower() in (".dcm", ".dicom") else 1
    except Exception:  # whatever is wrong with it is told where it is read
        return 1


def _opened(path: Path) -> Path | io.BytesIO:
    """A file as libraries open it; one in an archive as its bytes."""
    refuse_untrusted()
    return io.BytesIO(read_bytes(path)) if split_archive(path) else path


def read_frames(path: Path, reading: Reading) -> Iterator[Picture]:
    """Read all frames of a file in their order. Raises DataError that begins with the path."""
    if is_volume(path) and not split_archive(path):
        try:
            yield from (Picture(*_of_volume(path, name)) for name in slices_of(path, reading.axis))
        except DataError as error:
            raise DataError(str(error) if str(error).startswith(show(path)) else f"{show(path)}: {error}") from error
        return
    first = read_picture(path, reading)
    yield first
    data = read_bytes(path) if first.metadata.frames > 1 else b""
    for frame in range(1, first.metadata.frames):
        try:
            yield decode(data, reading, frame)
        except DataError as error:
            raise DataError(f"{show(path)}: frame {frame}: {error}") from error


def _of_volume(path: Path, name: Path) -> tuple[np.ndarray, Metadata]:
    picture = read_picture(name)
    return picture.pixels, picture.metadata


def holds_frames(suffix: str, channels: int, dtype: str, *, alpha: bool = False) -> bool:
    """Tell whether the container of a suffix holds frames of such pixels."""
    suffix = suffix.lower()
    if suffix in (".gif", ".webp", ".apng", ".png"):
        return dtype == "uint8" and channels in ((2, 4) if alpha else (1, 3))
    if suffix in (".dcm", ".dicom"):
        return channels == 1 or (channels == 3 and dtype == "uint8")
    return suffix in (".nii", ".gz") or holds(suffix, channels, dtype, alpha=alpha)


def write_frames(
    path: Path, frames: Sequence[np.ndarray], source: Path, metadata: Metadata, *, alpha: bool = False, axis: Axis = "z"
) -> None:
    """Write frames (h, w, c) as one file of the kind of its suffix: with the durations, the affine or the header of ``source``.

    Frames of a volume are its slices along ``axis``.
    GIF reduces each frame to 256 colours; all else is lossless, DICOM but for float32 (see diptych.data.dicom). Raises
    StorageError when the disk refuses.
    """
    suffix = path.suffix.lower()
    if is_volume(path):
        data = volume_bytes(source, joined(list(frames), axis), packed=suffix == ".gz")
    elif suffix in (".dcm", ".dicom"):
        data = encode_dicom(list(frames), metadata)
    elif suffix in ANIMATED:
        data = _animation(ANIMATED[suffix], [to_pillow(frame, alpha=alpha) for frame in frames], source)
    else:
        data = _pages(frames, metadata, alpha)
    write_whole(path, data)


def _pages(frames: Sequence[np.ndarray], metadata: Metadata, alpha: bool) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for frame in frames:
            write_page(writer, np.ascontiguousarray(frame), metadata, alpha)
    return file.getvalue()


def _animation(kind: str, frames: list[Image.Image], source: Path) -> bytes:
    durations, loop = [USUAL_DURATION] * len(frames), 0
    if source.suffix.lower() in ANIMATED:  # pages of other files have no durations
        durations = []
        with Image.open(_opened(source), formats=("GIF", "WEBP", "PNG")) as image:
            loop = int(image.info.get("loop", 1 if kind == "GIF" else 0))
            for frame in range(getattr(image, "n_frames", 1)):
                image.seek(frame)
                image.load()
                durations.append(float(image.info.get("duration", USUAL_DURATION)))
    file = io.BytesIO()
    how: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {"disposal": 2 if kind == "GIF" else 0}
    how |= {"duration": [round(value) for value in durations[: len(frames)]], "loop": loop}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **how)
    return file.getvalue()

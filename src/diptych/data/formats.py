"""Image files <-> native pixels: arrays (h, w, c) of uint8, uint16, int16 or float32, exactly as the file holds them.

Reading trusts content, not suffixes, and only the formats of decoders.py are ever handed to a library. A file is read into
memory once, so that it cannot change between two looks. What is wrong with a file is one DataError in one line.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from diptych.data.archives import read_member, split_archive
from diptych.data.decoders import first_line, native, refuse_foreign
from diptych.data.encoders import HOLDS, encode, holds, output_suffix
from diptych.data.film_frames import read_frame
from diptych.data.film_names import film_of
from diptych.data.hub import read_row, split_hub
from diptych.data.metadata import Metadata, Picture
from diptych.data.pillow_images import FORMATS, TooLargeError
from diptych.data.untrusted import decode, refuse_untrusted
from diptych.data.volumes import is_volume, read_slice, volume_of
from diptych.errors import DataError, StorageError
from diptych.files import open_regular, write_atomic
from diptych.messages import show
from diptych.reading import Reading

__all__ = ["HOLDS", "SUFFIXES", "output_suffix", "read_picture", "read_pixels", "write_pixels", "write_whole"]

SUFFIXES = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dcm",
        ".dicom",
        ".exr",
        ".gif",
        ".hdr",
        ".heic",
        ".heif",
        ".hif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".jxl",
        ".mpo",
        ".npy",
        ".pbm",
        ".pfm",
        ".pgm",
        ".pic",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
MAX_BYTES = 2**31
LARGE = 2**24  # pixels, or bytes of files whose header says nothing
_ONE_LARGE = threading.Lock()


def read_pixels(path: str | Path, reading: Reading | None = None) -> np.ndarray:
    """Read the pixels of an image file: (h, w, c), C-contiguous and writable, of dtype uint8, uint16, int16 or float32.

    See read_picture, which also gives what the file says besides.
    """
    return read_picture(path, reading).pixels


def read_picture(path: str | Path, reading: Reading | None = None, frame: int = 0) -> Picture:
    """Read an image file: its pixels (h, w, c), C-contiguous and writable, uint8, uint16, int16 or float32, and its metadata.

    Values are the file's own: 12 bits in a 16-bit file stay 0..4095. EXIF orientation is applied. ``reading`` says what an ICC
    profile and transparency do; without it profiles are ignored and transparency is composited over white and dropped.
    Palettes, CMYK and LAB become RGB; 1-bit becomes gray 0 and 255. TIFF and .npy may have any number of channels; extra TIFF
    samples are transparency only where the file says so. Other integers become uint16 or int16 where every value fits, else
    float32 where it holds them exactly; float16 and float64 become float32. NaN marks pixels without data, also those of a
    GeoTIFF's nodata tag or mask, whose integers become float32. ``frame`` chooses a frame of an animation or a page; TIFF pages
    which their file declares to be channels ("CYX") are stacked. A path such as scan.nii.gz/z0012 is a slice of a volume (see
    diptych.data.volumes), and film.mp4/f000012 is a frame of a film (see diptych.data.film_frames).

    Raises DataError, in one line that begins with the path, when the file is missing, damaged, hostile or of another kind.
    """
    if film := film_of(path):
        refuse_untrusted()
        return Picture(read_frame(film, Path(path).name), Metadata(frames=1))
    try:
        volume = volume_of(path)
        if volume:
            picture = read_slice(volume, Path(path).name)
            picture = replace(picture, pixels=native(picture.pixels))
        elif is_volume(path) and split_archive(Path(path)):
            raise DataError("is a volume in an archive, where its slices cannot be read; unpack it")
        elif is_volume(path):
            raise DataError("is a volume; translate it as a whole, or name one of its slices, such as /z0000")
        else:
            picture = decode(read_bytes(path), reading or Reading(), frame)
    except DataError as error:
        raise type(error)(f"{show(path)}: {error}") from error.__cause__
    return replace(picture, pixels=np.require(picture.pixels, requirements=["C", "W"]))


@contextmanager
def one_large_at_a_time(path: Path) -> Iterator[None]:
    """Wait, where a file holds a large image, until no other thread works on one: reading it takes most of a gigabyte."""
    with _ONE_LARGE if _is_large(path) else nullcontext():
        yield


def _is_large(path: Path) -> bool:
    """Tell by its header whether an image has many pixels; where Pillow doesn't know the format, by the size of the file."""
    pixels = declared_pixels(path)
    try:
        return (path.stat().st_size if pixels is None else pixels) > LARGE
    except OSError:
        return False


def declared_pixels(path: Path) -> int | None:
    """The pixels that an image's header declares; None where Pillow cannot tell, and for files of strangers."""
    try:
        refuse_untrusted()
        with warnings.catch_warnings(action="ignore"), open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # whatever is wrong with it is told where it is read
        return None


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or one inside an archive, that begins as an image does. Raises DataError without the path."""
    row, inside = split_hub(Path(path)), split_archive(Path(path))
    if row or inside:
        data = read_row(*row) if row else read_member(*cast(tuple[Path, str], inside))
        refuse_foreign(data[:512])
        return data

    def never_block(name: str, flags: int) -> int:  # a FIFO without a writer would hold open() for ever
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(path, "rb", opener=never_block) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DataError("is a pipe, socket or device, not a file; give a file")
            if status.st_size > MAX_BYTES:
                raise TooLargeError(f"has {status.st_size:,} bytes, more than {MAX_BYTES:,}; cut it into tiles")
            head = file.read(512)
            refuse_foreign(head)
            return head + file.read(status.st_size)  # no more: reading reserves as much memory as it is asked for
    except FileNotFoundError:
        if os.path.islink(path):
            raise DataError("is a broken symbolic link; restore its target, or remove it") from None
        raise DataError("does not exist; check the path, or whether it was removed meanwhile") from None
    except IsADirectoryError:
        raise DataError("is a folder, expected an image file; give one image of it") from None
    except PermissionError:
        raise DataError("permission denied; make it readable (chmod +r)") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"cannot be read ({first_line(error)}); check the disk and the path") from error


def write_pixels(path: str | Path, pixels: np.ndarray, metadata: Metadata | None = None, *, alpha: bool = False) -> None:
    """Write (h, w, c) native pixels in the format of the suffix, so that a reader sees the whole file or the old one.

    JPEG has quality 95 without chroma subsampling; everything else is lossless. ``metadata`` is written as far as the format
    holds it (see diptych.data.encoders). ``alpha`` says that the last of two or four channels is transparency. Raises DataError
    when the format cannot hold the pixels, StorageError when the disk refuses.
    """
    path = Path(path)
    assert pixels.ndim == 3, f"pixels are (h, w, c), found {pixels.shape}"
    if not holds(path.suffix, pixels.shape[2], pixels.dtype, alpha=alpha):
        better = output_suffix("", pixels.shape[2], pixels.dtype, alpha=alpha)
        raise DataError(f"{show(path)}: cannot hold {pixels.shape[2]} x {pixels.dtype}; name it {better}")
    try:
        data = encode(path.suffix.lower(), np.ascontiguousarray(pixels), metadata or Metadata(), alpha)
    except DataError as error:
        raise DataError(f"{show(path)}: {error}") from error
    except (ValueError, OSError) as error:  # such as WebP above 16383 pixels a side
        raise DataError(f"{show(path)}: cannot hold this image ({first_line(error)}); name it .png") from error
    write_whole(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError when the disk refuses."""
    try:
        write_atomic(path, data)
    except StorageError as error:
        refusal: Any = error.__cause__  # the system's own OSError
        raise StorageError(f"{show(path)}: cannot be written ({first_line(refusal)}); check space and permissions") from refusal

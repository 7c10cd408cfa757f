"""Image files <-> native pixels: arrays (h, w, c) of uint8, uint16 or float32, exactly as the file holds them.

Reading trusts content, not suffixes, and only the formats of decoders.py are ever handed to a library. A file is read into
memory once, so that it cannot change between two looks. What is wrong with a file is one DataError in one line.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any, cast

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from diptych.data.archives import read_member, split_archive
from diptych.data.decoders import decode, first_line, refuse_foreign
from diptych.data.hub import read_row, split_hub
from diptych.errors import DataError, StorageError
from diptych.files import write_atomic
from diptych.messages import show

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".npy", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
MAX_BYTES = 2**31


def read_pixels(path: str | Path) -> np.ndarray:
    """Read the pixels of an image file: (h, w, c), C-contiguous and writable, of dtype uint8, uint16 or float32.

    Values are the file's own: 12 bits in a 16-bit file stay 0..4095, ICC profiles are not applied. EXIF orientation is.
    Palettes, CMYK and LAB become RGB; 1-bit becomes gray 0 and 255; transparency is composited over white and dropped. TIFF and
    .npy may have any number of channels; extra TIFF samples are transparency only where the file says so. Other number types
    become uint16 where every value fits, float16 and float64 become float32. Animations and multi-page files give their first
    frame, except that TIFF pages which their file declares to be channels ("CYX") are stacked.

    Raises DataError, in one line that begins with the path, when the file is missing, damaged, hostile or of another kind.
    """
    try:
        pixels = decode(read_bytes(path))
    except DataError as error:
        raise DataError(f"{show(path)}: {error}") from error.__cause__
    return np.require(pixels, requirements=["C", "W"])


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
                raise DataError("is a pipe, socket or device, not a file; remove it")
            if status.st_size > MAX_BYTES:
                raise DataError(f"has {status.st_size:,} bytes, more than {MAX_BYTES:,}; cut it into tiles")
            head = file.read(512)
            refuse_foreign(head)
            return head + file.read(status.st_size)  # no more: reading reserves as much memory as it is asked for
    except FileNotFoundError:
        if os.path.islink(path):
            raise DataError("is a broken symbolic link; restore its target, or remove it") from None
        raise DataError("does not exist; check the path, or whether it was removed meanwhile") from None
    except IsADirectoryError:
        raise DataError("is a folder, expected an image file; rename or remove it") from None
    except PermissionError:
        raise DataError("permission denied; make it readable (chmod +r)") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"cannot be read ({first_line(error)}); check the disk and the path") from error


# What a suffix can hold without loss of range or channels: channel counts by dtype, 0 for any.
_EIGHT_BIT: dict[str, tuple[int, ...]] = {"uint8": (1, 3)}
_ANYTHING: dict[str, tuple[int, ...]] = {"uint8": (0,), "uint16": (0,), "float32": (0,)}
HOLDS: dict[str, dict[str, tuple[int, ...]]] = {
    ".jpg": _EIGHT_BIT,
    ".jpeg": _EIGHT_BIT,
    ".jpe": _EIGHT_BIT,
    ".jfif": _EIGHT_BIT,
    ".bmp": _EIGHT_BIT,
    ".png": {"uint8": (1, 3), "uint16": (1, 3)},
    ".webp": {"uint8": (3,)},
    ".pgm": {"uint8": (1,)},
    ".ppm": {"uint8": (3,)},
    ".tif": _ANYTHING,
    ".tiff": _ANYTHING,
    ".npy": _ANYTHING,
}


def output_suffix(suffix: str, channels: int, dtype: str | np.dtype) -> str:
    """Choose the suffix for pixels of a file with this suffix: the same where it can hold them, else .png, else .tiff."""
    return next(s for s in (suffix, ".png", ".tiff") if _holds(s, channels, dtype))


def _holds(suffix: str, channels: int, dtype: str | np.dtype) -> bool:
    counts = HOLDS.get(suffix.lower(), {}).get(np.dtype(dtype).name, ())
    return channels in counts or 0 in counts


def write_pixels(path: str | Path, pixels: np.ndarray) -> None:
    """Write (h, w, c) native pixels in the format of the suffix, so that a reader sees the whole file or the old one.

    JPEG has quality 95 without chroma subsampling; everything else is lossless. Raises DataError when the format cannot hold the
    pixels, StorageError when the disk refuses.
    """
    path = Path(path)
    assert pixels.ndim == 3, f"pixels are (h, w, c), found {pixels.shape}"
    if not _holds(path.suffix, pixels.shape[2], pixels.dtype):
        better = output_suffix("", pixels.shape[2], pixels.dtype)
        raise DataError(f"{show(path)}: cannot hold {pixels.shape[2]} x {pixels.dtype}; name it {better}")
    try:
        data = _encode(path.suffix.lower(), np.ascontiguousarray(pixels))
    except (ValueError, OSError) as error:  # such as WebP above 16383 pixels a side
        raise DataError(f"{show(path)}: cannot hold this image ({first_line(error)}); name it .png") from error
    try:
        write_atomic(path, data)
    except StorageError as error:
        refusal: Any = error.__cause__  # the system's own OSError
        raise StorageError(f"{show(path)}: cannot be written ({first_line(refusal)}); check space and permissions") from refusal


def _encode(suffix: str, pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if suffix == ".npy":
        np.save(file, pixels, allow_pickle=False)
    elif suffix in (".tif", ".tiff"):
        photometric = "rgb" if pixels.shape[2] == 3 else "minisblack"
        planar = "contig" if flat.ndim == 3 else None
        tifffile.imwrite(file, flat, photometric=photometric, planarconfig=planar, compression="zlib", metadata=None)
    elif pixels.dtype == np.uint16:
        return bytes(imagecodecs.png_encode(flat))
    elif suffix in (".jpg", ".jpeg", ".jpe", ".jfif"):
        Image.fromarray(flat).save(file, "JPEG", quality=95, subsampling=0)
    else:
        kind = {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}.get(suffix, "PPM")
        Image.fromarray(flat).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()

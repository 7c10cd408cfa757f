"""Large image files that are opened for reading in windows: TIFF, whole slides, Zarr, .npy, and what is decoded as a whole.

The values are those of `formats.read_picture`, and so are the rules for colours, transparency and pixels without data.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, final

import imagecodecs
import numpy as np
import tifffile

from diptych.data.formats import declared_pixels, read_picture
from diptych.data.metadata import Metadata
from diptych.data.pillow_images import MAX_PIXELS, UPRIGHT, TooLargeError
from diptych.data.tiff_windows import TiffWindows
from diptych.data.untrusted import refuse_untrusted
from diptych.data.windows import ADVICE, Windows, rows_of
from diptych.errors import DataError, MissingExtraError
from diptych.extras import extra
from diptych.files import open_regular
from diptych.memory import enough, in_words, resident_memory
from diptych.messages import show
from diptych.reading import Reading

SLIDES = frozenset({".bif", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".vms", ".vmu"})
ONLY_WINDOWS = SLIDES | {".zarr"}  # suffixes of images that are read in no other way
LARGE_FILE = 2**26  # bytes; a smaller file is read whole, and in windows only where that finds too many pixels


def only_in_windows(path: Path) -> bool:
    """Whether a path is an image of a kind that is always read in windows: a whole slide, or a Zarr folder."""
    return path.suffix.lower() in ONLY_WINDOWS


def open_windows(path: Path, reading: Reading, memory: int) -> Windows:
    """Open an image for reading in windows. ``memory`` bounds the bytes of one that can only be decoded as a whole.

    Raises DataError, in one line that begins with the path, for an image that cannot be read so.
    """
    try:
        refuse_untrusted()
        if path.suffix.lower() in SLIDES:
            return _Slide(path, reading)
        if path.suffix.lower() == ".zarr":
            return _Zarr(path, reading)
        with open_regular(path) as file:
            head = file.read(512)
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return TiffWindows(path, reading, memory)
        if head.startswith(b"\x93NUMPY"):
            return _of_npy(path, reading)
        return _decoded(path, head, reading, memory)
    except MissingExtraError:
        raise
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(show(path)) else f"{show(path)}: {error}") from error.__cause__
    except Exception as error:  # a damaged file can make a library raise anything
        raise DataError(f"{show(path)}: is damaged or incomplete ({str(error)[:120]}); copy or download it again") from error


def is_large(path: Path) -> bool:
    """Whether a file is to be read in windows, as its header has more pixels than are decoded at once."""
    if only_in_windows(path):
        return True
    try:
        if not path.is_file() or path.stat().st_size < LARGE_FILE:
            return False
        if path.suffix.lower() in (".tif", ".tiff"):
            refuse_untrusted()
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                return bool(page.imagelength * page.imagewidth > MAX_PIXELS)
        return path.stat().st_size > 2 * LARGE_FILE
    except Exception:  # whatever is wrong with it is told where it is read
        return False


def _of_npy(path: Path, reading: Reading) -> Windows:
    with open_regular(path) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if fortran or len(shape) not in (2, 3) or dtype.kind not in "buif":
            raise DataError(f"holds {dtype} of the shape {shape}, expected numbers (h, w) or (h, w, c) in C order; save it so")
        return rows_of(path, file.tell(), shape, dtype)


@final
class _Decoded(Windows):
    """An image that was decoded as a whole."""

    def __init__(self, pixels: np.ndarray, metadata: Metadata) -> None:
        self.pixels, self.metadata = pixels, metadata
        self.shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Cut."""
        return self.pixels[top:bottom, left:right]


def _decoded(path: Path, head: bytes, reading: Reading, memory: int) -> Windows:
    """Decode an image as a whole, also a JPEG or PNG of more pixels than other commands decode, where the memory has room."""
    from PIL import Image  # only for the header: nothing is decoded by it

    if (count := declared_pixels(path)) and 8 * count > memory:  # the decoder's 4 bytes, and an array of 3
        raise DataError(_too_large(f"has {count:,} pixels", 8 * count, memory))
    try:
        picture = read_picture(path, reading)
        return _Decoded(picture.pixels, picture.metadata)
    except TooLargeError:
        pass
    decoders = {b"\xff\xd8\xff": imagecodecs.jpeg8_decode, b"\x89PN": imagecodecs.png_decode}
    if head[:3] not in decoders:
        raise DataError(f"has more than {MAX_PIXELS:,} pixels; {ADVICE}")
    orientation = 1
    if head.startswith(b"\xff\xd8"):
        image: Image.Image = _lazily("JPEG", path)
    else:
        image = _lazily("PNG", path)
    with image:
        width, height, bands = image.width, image.height, len(image.getbands())
        orientation = int(image.getexif().get(274, 1))
        depth = 2 if image.mode.startswith("I") else 1
    if (needed := 2 * width * height * bands * depth) > memory:
        raise DataError(_too_large(f"is {width} x {height}", needed, memory))
    pixels = np.atleast_3d(decoders[head[:3]](path.read_bytes()))
    if pixels.shape[2] in (2, 4) and not head.startswith(b"\xff\xd8"):
        raise DataError(f"is a large PNG with transparency; {ADVICE}")
    return _Decoded(UPRIGHT.get(orientation, np.asarray)(pixels), Metadata())


def _too_large(what: str, needed: int, memory: int) -> str:
    """Say that an image does not fit; ``memory`` is half of what is left, since the other half is for the network."""
    return (
        f"{what}, which can only be decoded as a whole and takes {in_words(needed)}, found {in_words(memory)}; "
        f"give --memory {enough(resident_memory() + 2 * needed)} or more, or {ADVICE}"
    )


def _lazily(kind: str, path: Path) -> Any:
    from PIL import JpegImagePlugin, PngImagePlugin

    plugin: Any = JpegImagePlugin.JpegImageFile if kind == "JPEG" else PngImagePlugin.PngImageFile
    return plugin(io.BytesIO(path.read_bytes()[: 2**24]))


@final
class _Slide(Windows):
    """A whole slide at its full resolution, RGB, with white where it was not scanned."""

    def __init__(self, path: Path, reading: Reading) -> None:
        openslide = extra("openslide", "slides", f"{show(path)}: a whole slide")
        self.slide = openslide.open_slide(path)
        width, height = self.slide.dimensions
        self.shape, self.metadata = (height, width, 3), Metadata()
        x, y = (self.slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy")
        if x and y:  # micrometres a pixel
            self.metadata = Metadata(dpi=(25400 / float(x), 25400 / float(y)))

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read a region over white."""
        region = np.asarray(self.slide.read_region((left, top), 0, (right - left, bottom - top))).astype(np.uint16)
        alpha = region[..., 3:]
        return ((region[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

    def close(self) -> None:
        """Close the slide."""
        self.slide.close()


@final
class _Zarr(Windows):
    """A Zarr array (h, w) or (h, w, c), or the largest image of an OME-Zarr group at its first time and depth."""

    def __init__(self, path: Path, reading: Reading) -> None:
        zarr = extra("zarr", "zarr", f"{show(path)}: Zarr")
        self.path, found = path, zarr.open(str(path), mode="r")
        self.metadata, names = Metadata(), []
        if hasattr(found, "keys"):
            scales = (found.attrs.get("ome") or found.attrs).get("multiscales")
            if not scales:
                raise DataError("is a Zarr group without OME's multiscales; name the array in it")
            names = [axis["name"] if isinstance(axis, dict) else axis for axis in scales[0].get("axes", "tczyx")]
            found = found[scales[0]["datasets"][0]["path"]]
        names = names or ["y", "x", "c"][: found.ndim]
        if len(names) != found.ndim or not {"y", "x"} <= set(names):
            raise DataError(f"is a Zarr array of the shape {found.shape}, expected (h, w) or (h, w, c)")
        if any(found.shape[names.index(axis)] > 1 for axis in names if axis not in "yxc"):
            raise DataError(f"is a Zarr array of several times or depths, {found.shape}; save one image of them")
        self.array, self.names = found, names
        sizes = dict(zip(names, found.shape, strict=True))
        if names == ["y", "x", "c"] and sizes["y"] <= 4 < 16 < sizes["c"]:
            raise DataError(f"has the shape {found.shape}, channels come last; save array.transpose(1, 2, 0)")
        if found.dtype.kind in "iu" and found.dtype.itemsize > 2:
            raise DataError(f"is Zarr of {found.dtype}, whose range is known only when all is read; save it as uint16 or float32")
        self.shape = (sizes["y"], sizes["x"], sizes.get("c", 1))

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read the chunks that the window touches."""
        spans = {"y": slice(top, bottom), "x": slice(left, right), "c": slice(None)}
        try:
            part = np.asarray(self.array[tuple(spans.get(name, 0) for name in self.names)])
        except MemoryError:
            raise
        except Exception as error:  # a damaged chunk can make zarr raise anything
            reason = str(error)[:120] or type(error).__name__
            raise DataError(f"{show(self.path)}: is damaged or incomplete Zarr ({reason}); copy or download it again") from error
        left_over = [name for name in self.names if name in spans]
        part = part.transpose([left_over.index(name) for name in ("y", "x", "c") if name in left_over])
        return part if part.ndim == 3 else part[..., None]

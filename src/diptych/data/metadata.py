"""What a file says besides its pixels, and what of it is carried to a translation."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tifffile
from PIL import Image, TiffImagePlugin

from diptych.reading import PixelType

ORIENTATION, THUMBNAIL_IFD, DPI_TAGS = 274, 1, (282, 283, 296)
SUB_IFDS = (0x8769, 0x8825, 0xA005)  # Exif, GPS, interoperability
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112)  # scale, tie points, matrix, three of keys; GDAL's own text
NODATA_TAG = 42113
Tag = tuple[int, int, int, Any, bool]
"""Code, TIFF type, count and value, and whether it is written to the first page only, as tifffile takes extra tags."""


@dataclass(frozen=True)
class Metadata:
    """What is carried from a file to its translation, and what a reader should be told.

    ``exif`` is a TIFF structure as EXIF is embedded, with the orientation reset, as pixels are upright, and without thumbnail.
    ``geo`` are the tags that place a GeoTIFF on the earth; ``nodata`` the value of its pixels without data, which are NaN, and
    ``stored`` the integer type that they had in the file. ``frames`` counts animation frames or pages; ``header`` is a DICOM
    data set without pixels.
    ``notes`` say what reading changed or left out.
    """

    exif: bytes = b""
    dpi: tuple[float, float] | None = None
    icc: bytes = b""
    geo: tuple[Tag, ...] = ()
    nodata: float | None = None
    stored: PixelType | str = ""
    frames: int = 1
    notes: tuple[str, ...] = ()
    header: bytes = b""


@dataclass(frozen=True)
class Picture:
    """A decoded image: pixels (h, w, c), and what its file says besides them."""

    pixels: np.ndarray
    metadata: Metadata = field(default_factory=Metadata)


def of_pillow(image: Image.Image, *, icc: bytes = b"", notes: tuple[str, ...] = (), frames: int = 1) -> Metadata:
    """Gather the metadata of an image that Pillow opened."""
    dpi = image.info.get("dpi")
    try:
        x, y = (float(value) for value in dpi)  # type: ignore[union-attr]
        dpi = (x, y) if x > 0 and y > 0 and np.isfinite([x, y]).all() else None
    except (TypeError, ValueError, ZeroDivisionError):
        dpi = None
    return Metadata(clean_exif(image), dpi, icc, frames=frames, notes=notes)


def clean_exif(image: Image.Image) -> bytes:
    """Return the EXIF of an image without orientation and thumbnail; empty where there is none, or none that can be read."""
    try:
        found = image.getexif()
        kept = Image.Exif()
        strips = TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS
        described = {*range(254, 260), 262, 277, 278, 284, 317, 320, 322, 323, 324, 325, 330, 338, 339, 700, 34675, *strips}
        for tag, value in found.items():
            if tag not in (ORIENTATION, *DPI_TAGS, *SUB_IFDS, *GEO_TAGS, NODATA_TAG, *described) and not _of_tifffile(tag, value):
                kept[tag] = value
        for tag in SUB_IFDS:
            if inside := dict(found.get_ifd(tag)):
                kept.get_ifd(tag).update(inside)
                kept[tag] = kept.get_ifd(tag)
        return kept.tobytes() if len(kept) else b""
    except Exception:  # damaged EXIF says nothing, and the pixels are whole
        return b""


def _of_tifffile(tag: int, value: Any) -> bool:
    """Tell whether a tag is what tifffile puts into every file, which says nothing of the image."""
    return (tag == 270 and str(value).startswith('{"shape"')) or (tag == 305 and str(value) == "tifffile.py")


def of_tiff(page: tifffile.TiffPage, data: bytes) -> dict[str, Any]:
    """Gather the fields of Metadata from a page of a TIFF file, except what depends on how its pixels were read."""
    geo = tuple((tag.code, int(tag.dtype), tag.count, tag.value, True) for code in GEO_TAGS if (tag := page.tags.get(code)))
    unit = {2: 1.0, 3: 2.54}.get(int(page.tags.valueof(296, default=2)), 0.0)
    resolution = [page.tags.valueof(code) for code in (282, 283)]
    dpi = None
    if unit and all(isinstance(value, tuple) and len(value) == 2 and value[0] and value[1] for value in resolution):
        dpi = (resolution[0][0] / resolution[0][1] * unit, resolution[1][0] / resolution[1][1] * unit)
        dpi = None if dpi == (1.0, 1.0) else dpi  # what writers put where nothing is known
    exif = b""
    if any(tag in page.tags for tag in (*SUB_IFDS, 270, 271, 272, 306, 315, 33432)):
        try:
            with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
                exif = clean_exif(image)
        except Exception:  # Pillow doesn't know every kind of TIFF
            exif = b""
    return {"geo": geo, "dpi": dpi, "exif": exif}


def nodata_of(page: tifffile.TiffPage) -> float | None:
    """Read the value that marks pixels without data, as GDAL writes it; None where there is none."""
    text = page.tags.valueof(NODATA_TAG)
    try:
        return None if text is None else float(str(text).strip("\0 "))
    except ValueError:
        return None


def nodata_text(value: float) -> str:
    """Write a nodata value as GDAL does: integers without a point."""
    return str(int(value)) if np.isfinite(value) and value == int(value) and abs(value) < 2**53 else repr(float(value))

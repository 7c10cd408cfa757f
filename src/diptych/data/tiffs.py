"""TIFF and GeoTIFF files -> native pixels, with tifffile."""

from __future__ import annotations

import io
import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import tifffile

from diptych.data.metadata import Metadata, Picture, nodata_of, of_tiff
from diptych.data.pillow_images import MAX_PIXELS, UPRIGHT, check_size, decode_pillow, profiled, with_alpha
from diptych.errors import DataError
from diptych.reading import Reading

logging.getLogger("tifffile").addFilter(lambda record: "GDAL_NODATA" not in record.getMessage())  # nodata_of reads that tag
BLANK = 10_000  # how many times its size in the file the pixels of a blank image may take
REDUCED, MASK = 1, 4  # bits of NewSubfileType: a page that is a smaller copy, or a transparency mask


def decode_tiff(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    """Decode one page of a file, by default its first; pages that the file declares to be channels ("CYX") are stacked.

    Pixels that a nodata tag or a mask excludes become NaN, and integers float32 with them; see Metadata. Raises DataError.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages: list[Any] = list(file.pages)
        whole = [page for page in pages if not int(page.subfiletype) & (REDUCED | MASK)]
        page = (whole or [file.pages.first])[frame]
        page = page.aspage()
        check_size(page.imagelength, page.imagewidth)
        _refuse_lies(page, len(data))
        if isinstance(page.bitspersample, tuple):
            raise DataError(f"is TIFF whose channels have {page.bitspersample} bits, which is not supported; convert it to PNG")
        if page.compression not in tifffile.TIFF.DECOMPRESSORS:
            raise NotImplementedError(f"compression {page.compression}")
        kind, stacked = page.photometric, frame == 0 and len(whole) > 1 and file.series[0].axes == "CYX"
        frames = 1 if stacked else len(whole)
        if kind in (5, 8) or (kind == 6 and page.compression != 7):  # CMYK, LAB, and YCbCr that is not inside JPEG
            if page.bitspersample != 8:
                name = tifffile.PHOTOMETRIC(kind).name
                raise DataError(f"is {name} TIFF of {page.bitspersample} bits, which is not supported; convert it to RGB")
            picture = decode_pillow(data, reading, frame)
            more = {key: value for key, value in of_tiff(page, data).items() if key != "exif"}
            return Picture(picture.pixels, replace(picture.metadata, frames=frames, **more))
        pixels = np.moveaxis(file.series[0].asarray(), 0, -1) if stacked else _image_of(page)
        masks = [] if stacked else [other for other in pages if int(other.subfiletype) & MASK and not _smaller(other, page)]
        excluded = masks[0].aspage().asarray() == 0 if masks and frame == 0 else None
        orientation = page.tags.valueof(274, default=1)
        picture = of_samples(pixels, page, reading, excluded, stacked=stacked)
        metadata = replace(picture.metadata, frames=frames, **of_tiff(page, data))
    return Picture(UPRIGHT.get(orientation, np.asarray)(picture.pixels), metadata)


def _refuse_lies(page: Any, size: int) -> None:
    """Raise DataError for a page that states more strips, tiles or bytes of pixels than a file of this size can hold.

    Even an empty strip takes two bytes in the table of strips. Blank pixels may be compressed a thousand times and more, so that
    of images of four channels and 8 bits only the number of pixels is bounded.
    """
    pieces = math.prod(page.chunked)
    if pieces > size or page.nbytes > max(4 * MAX_PIXELS, BLANK * size):
        stated = f"{pieces:,} pieces and {page.nbytes:,} bytes of pixels"
        raise DataError(f"states {stated}, which a file of {size:,} bytes cannot hold; copy or download it again")


def of_samples(
    pixels: np.ndarray, page: Any, reading: Reading, excluded: np.ndarray | None = None, *, stacked: bool = False
) -> Picture:
    """Make native pixels of the samples of a page, or of a window of it: colours, transparency, and pixels without data.

    ``stacked`` samples are channels that have no colours. Of the metadata, only what depends on the samples is there.
    """
    notes, kept = list[str](), b""
    if not stacked:
        pixels, alpha, premultiplied = _colored(pixels, page)
        profile = page.tags.valueof(34675) or b""
        pixels, kept = profiled(pixels, bytes(profile), reading, notes)
        pixels = with_alpha(pixels, alpha, reading, notes, premultiplied=premultiplied)
    metadata = Metadata(icc=kept)
    if reading.masks:
        pixels, metadata = _without(pixels, metadata, nodata_of(page), excluded)
    return Picture(pixels, replace(metadata, notes=tuple(notes)))


def _smaller(page: Any, than: Any) -> bool:
    page = page.aspage()
    return bool((page.imagelength, page.imagewidth) != (than.imagelength, than.imagewidth))


def _image_of(page: Any) -> np.ndarray:
    """Read the samples of a page, (h, w) or (h, w, samples)."""
    pixels: np.ndarray = page.asarray()
    if page.axes == "SYX":
        return np.moveaxis(pixels, 0, -1)
    if page.axes not in ("YX", "YXS"):
        raise DataError(f"is TIFF with the axes {page.axes}, expected an image; save one plane of it")
    return pixels


def _colored(pixels: np.ndarray, page: Any) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Make of the samples of a page colours (h, w, c), transparency (h, w, 1) or None, and whether it is multiplied in."""
    bits, extra = page.bitspersample, [int(kind) for kind in page.extrasamples]
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colormap = page.colormap if page.photometric == 3 else None
    if pixels.dtype.kind == "u" and bits < 8 and colormap is None:  # 2 and 4 bits fill the range of 8, palette indices do not
        pixels = pixels * np.uint8(255 // (2**bits - 1))
    if page.photometric == 0:
        if pixels.dtype.kind not in "bu":
            raise DataError(f"is {pixels.dtype} TIFF in which white is zero; save it with black as zero")
        pixels = ~pixels
    alpha, premultiplied = None, extra == [1]
    if extra in ([1], [2]) and pixels.dtype in (np.uint8, np.uint16) and pixels.shape[2] > 1:
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
    if colormap is not None:
        if pixels.shape[2] != 1:
            raise DataError(f"is palette TIFF with {pixels.shape[2]} samples a pixel, which is not supported; convert it to RGB")
        pixels = (np.moveaxis(colormap, 0, -1)[pixels[..., 0].astype(np.intp)] >> 8).astype(np.uint8)
        if alpha is not None and alpha.dtype != np.uint8:
            alpha = (alpha >> 8).astype(np.uint8)
    return pixels, alpha, premultiplied


def _without(
    pixels: np.ndarray, metadata: Metadata, nodata: float | None, excluded: np.ndarray | None
) -> tuple[np.ndarray, Metadata]:
    """Mark pixels without data as NaN. Integers become float32 where a nodata value or a mask is declared at all.

    So all tiles of a data set are of one kind, whether or not each of them has such pixels.
    """
    if nodata is None and excluded is None:
        return pixels, metadata
    whole = pixels.dtype.kind in "iu"
    if whole and pixels.dtype.itemsize > 2 and np.abs(pixels.astype(np.int64)).max(initial=0) > 2**24:
        kept = np.abs(pixels[pixels != nodata].astype(np.int64)).max(initial=0)
        if kept > 2**24:
            raise DataError(f"has a nodata value and {pixels.dtype} values up to {kept:,}, more than float32 holds; divide them")
    stored = str(pixels.dtype) if str(pixels.dtype) in ("uint8", "uint16", "int16") else ""
    marked = pixels.astype(np.float32)  # a copy
    if nodata is not None and not np.isnan(nodata):
        with np.errstate(over="ignore"):  # a double beyond float32 marks nothing in it
            same = pixels == (pixels.dtype.type(nodata) if pixels.dtype.kind == "f" else nodata)
        marked[same] = np.nan
    if excluded is not None:
        marked[excluded.reshape(excluded.shape[:2])] = np.nan
    return marked, replace(metadata, nodata=nodata, stored=stored)

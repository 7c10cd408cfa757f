"""Native pixels -> bytes of an image file, with what is carried from the file that they were made of."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from diptych.data.dicom import encode_dicom
from diptych.data.metadata import NODATA_TAG, Metadata, nodata_text
from diptych.data.pillow_images import to_pillow
from diptych.extras import extra

# What a suffix can hold without loss of range or channels: channel counts by dtype, 0 for any.
_EIGHT_BIT: dict[str, tuple[int, ...]] = {"uint8": (1, 3)}
_ANYTHING: dict[str, tuple[int, ...]] = {"uint8": (0,), "uint16": (0,), "int16": (0,), "float32": (0,)}
_ONE_BAND: dict[str, tuple[int, ...]] = {"uint8": (1,), "uint16": (1,), "int16": (1,), "float32": (1,)}
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
    ".exr": {"float32": (1, 3)},
    ".dcm": _ONE_BAND,
    ".dicom": _ONE_BAND,
    ".tif": _ANYTHING,
    ".tiff": _ANYTHING,
    ".npy": _ANYTHING,
}
# The same where the last of two or four channels is transparency.
HOLDS_ALPHA: dict[str, dict[str, tuple[int, ...]]] = {
    ".png": {"uint8": (2, 4), "uint16": (2, 4)},
    ".webp": {"uint8": (4,)},
    ".tif": _ANYTHING,
    ".tiff": _ANYTHING,
    ".npy": _ANYTHING,
}
EXIF_TEXTS = (270, 271, 272, 306, 315, 33432)  # description, make, model, date, artist, copyright
METRE = 39.3701  # inches


@lru_cache(maxsize=1024)  # since it is asked for each file of a folder
def output_suffix(suffix: str, channels: int, dtype: str | np.dtype, *, alpha: bool = False) -> str:
    """Choose the suffix for pixels of a file with this suffix: the same where it can hold them, else .png, else .tiff."""
    return next(s for s in (suffix, ".png", ".tiff") if holds(s, channels, dtype, alpha=alpha))


def holds(suffix: str, channels: int, dtype: str | np.dtype, *, alpha: bool = False) -> bool:
    """Tell whether the format of a suffix holds such pixels, exactly but for JPEG's compression and float32 in DICOM."""
    table = HOLDS_ALPHA if alpha and channels in (2, 4) else HOLDS
    counts = table.get(suffix.lower(), {}).get(np.dtype(dtype).name, ())
    return channels in counts or 0 in counts


def encode(suffix: str, pixels: np.ndarray, metadata: Metadata, alpha: bool) -> bytes:
    """Encode (h, w, c) native pixels in the format of a suffix, which must hold them.

    JPEG, PNG and WebP carry EXIF, ICC profile and (but WebP) resolution; TIFF the profile, resolution, the texts of EXIF, the
    tags of GeoTIFF and nodata; BMP the resolution; DICOM the header, which it needs; the others nothing. Raises DataError.
    """
    file = io.BytesIO()
    if suffix == ".npy":
        np.save(file, pixels, allow_pickle=False)
    elif suffix in (".tif", ".tiff"):
        with tifffile.TiffWriter(file) as writer:
            write_page(writer, pixels, metadata, alpha)
    elif suffix == ".exr":
        return _encode_exr(pixels)
    elif suffix in (".dcm", ".dicom"):
        return encode_dicom([pixels], metadata)
    elif pixels.dtype == np.uint16:
        return _with_chunks(bytes(imagecodecs.png_encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels)), metadata)
    else:
        jpeg = suffix in (".jpg", ".jpeg", ".jpe", ".jfif")
        kind = "JPEG" if jpeg else {".png": "PNG", ".webp": "WEBP", ".bmp": "BMP"}.get(suffix, "PPM")
        lossy: dict[str, Any] = {"quality": 95, "subsampling": 0}
        options: dict[str, Any] = lossy if jpeg else {"lossless": True, "exact": alpha} if kind == "WEBP" else {}
        if kind in ("JPEG", "PNG", "WEBP"):
            options |= {"exif": metadata.exif} if metadata.exif and (kind != "JPEG" or len(metadata.exif) < 65_000) else {}
            options |= {"icc_profile": metadata.icc} if metadata.icc else {}
        if kind in ("JPEG", "PNG", "BMP") and metadata.dpi:
            options["dpi"] = metadata.dpi
        to_pillow(pixels, alpha=alpha).save(file, kind, **options)
    return file.getvalue()


def write_page(writer: tifffile.TiffWriter, pixels: np.ndarray, metadata: Metadata, alpha: bool) -> None:
    """Write native pixels (h, w, c) as a page of a TIFF file."""
    writer.write(pixels[..., 0] if pixels.shape[2] == 1 else pixels, **page_options(pixels.shape[2], metadata, alpha))


def page_options(channels: int, metadata: Metadata, alpha: bool) -> dict[str, Any]:
    """What tifffile is told of the pixels of a page, and the tags that carry metadata."""
    colors = channels - alpha
    how: dict[str, Any] = {"photometric": "rgb" if colors == 3 else "minisblack", "compression": "zlib", "metadata": None}
    how |= {"planarconfig": "contig"} if channels > 1 else {}
    how |= {"extrasamples": ["unassalpha"]} if alpha else {}
    how |= {"iccprofile": metadata.icc} if metadata.icc else {}
    how |= {"resolution": metadata.dpi, "resolutionunit": "inch"} if metadata.dpi else {}
    tags = list(metadata.geo)
    if metadata.nodata is not None:
        text = nodata_text(metadata.nodata)
        tags.append((NODATA_TAG, 2, len(text) + 1, text, True))
    if metadata.exif:
        found = Image.Exif()
        found.load(metadata.exif)
        texts = {tag: str(found[tag]).encode("ascii", "replace").decode() for tag in EXIF_TEXTS if tag in found}
        tags += [(tag, 2, len(text) + 1, text, True) for tag, text in texts.items()]
    return {"extratags": tags, **how}


def _encode_exr(pixels: np.ndarray) -> bytes:
    exr = extra("OpenEXR", "exr", "OpenEXR")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    channels = {"RGB": pixels} if pixels.shape[2] == 3 else {"Y": np.ascontiguousarray(pixels[..., 0])}
    with tempfile.TemporaryDirectory() as folder, exr.File(header, channels) as image:
        image.write(str(Path(folder) / "image.exr"))
        return (Path(folder) / "image.exr").read_bytes()


def _with_chunks(png: bytes, metadata: Metadata) -> bytes:
    """Put profile, resolution and EXIF into a PNG, behind its header (PNG specification, 5.6 and 11.3)."""
    chunks = b""
    if metadata.icc:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc))
    if metadata.dpi:
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *(round(value * METRE) for value in metadata.dpi), 1))
    if metadata.exif:
        chunks += _chunk(b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    header = 8 + 25
    return png[:header] + chunks + png[header:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

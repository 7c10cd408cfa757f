"""Bytes of an image file -> native pixels, by content alone, with the libraries that keep every bit of each format.

Only the formats of DECODERS ever reach a library. What cannot be decoded raises a DataError that says why and what to do; the
caller puts the path in front.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from diptych.data.dicom import decode_dicom
from diptych.data.foreign_kinds import COMMON, name_foreign
from diptych.data.metadata import Metadata, Picture, of_pillow
from diptych.data.pillow_images import (
    TOO_LARGE,
    UPRIGHT,
    TooLargeError,
    check_size,
    decode_pillow,
    from_pillow,
    opaque,
    orientation_of,
    profiled,
    with_alpha,
)
from diptych.data.tiffs import decode_tiff
from diptych.errors import DataError, MissingExtraError
from diptych.extras import extra
from diptych.messages import printable
from diptych.reading import Reading

Decoder = Callable[[bytes, Reading, int], Picture]
UNSUPPORTED = r"unsupported|not supported|not implemented|cannot decompress|requires the|unknown (compression|codec)|no decoder"
EXACT = 2**24  # beyond it float32 does not hold every integer


def refuse_foreign(head: bytes) -> None:
    """Raise DataError unless these first bytes begin an image; name what is commonly mistaken for one."""
    if not head:
        raise DataError("is empty (0 bytes); copy or download it again")
    if _decoder(head) is None:
        found = name_foreign(head)
        # The bytes stay unsaid: a link may lead to a file whose content is nobody else's to read.
        raise DataError(found or f"is no image of a known format; {COMMON}, or remove it")


def decode(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    """Decode a whole file to native pixels, (h, w, c), and its metadata; see read_picture for each kind of file.

    Raises DataError, which calls a file damaged only where its library can read such files.
    """
    decoder = _decoder(data)
    assert decoder is not None, "foreign files are refused before they are read"
    name, read = decoder
    try:
        picture = read(data, reading, frame)
        check_size(*picture.pixels.shape[:2])
        pixels = opaque(native(picture.pixels), reading)
        if picture.pixels.dtype.kind == "f" and picture.pixels.dtype.itemsize > 4:
            picture = _noted_rounding(picture, pixels)
    except DataError:
        raise
    except MissingExtraError as error:
        raise DataError(f"is {str(error).replace(': needs', ' reading it needs')}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(TOO_LARGE) from error
    except MemoryError as error:
        raise DataError(f"is {name} that does not fit into memory; cut it into tiles") from error
    except NotImplementedError as error:
        raise DataError(f"is {name} of a kind that is not supported ({first_line(error)}); {COMMON}") from error
    except Exception as error:  # a damaged file can make a decoder raise anything; every kind ends in one line
        if re.search(UNSUPPORTED, str(error), re.IGNORECASE):
            raise DataError(f"is {name} of a kind that is not supported ({first_line(error)}); {COMMON}") from error
        raise DataError(f"is damaged or incomplete {name} ({first_line(error)}); copy or download it again") from error
    return replace(picture, pixels=pixels)


def pixels_of(image: Image.Image, reading: Reading) -> np.ndarray:
    """Convert a Pillow image to pixels (h, w, c) as its file is read. Raises DataError for one that is closed or truncated."""
    try:
        image.load()
        picture = from_pillow(image, reading)
    except (OSError, ValueError, SyntaxError, AttributeError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"the PIL image cannot be read ({reason}), as if it were closed or truncated; open it again") from error
    return opaque(native(picture.pixels), reading)


def _noted_rounding(picture: Picture, pixels: np.ndarray) -> Picture:
    """Say of a picture whose values have more than 32 bits that pixels (h, w, c) of float32 are rounded, where they are."""
    if np.array_equal(picture.pixels.reshape(pixels.shape), pixels, equal_nan=True):
        return picture
    notes = (*picture.metadata.notes, f"{picture.pixels.dtype} values rounded to float32")
    return replace(picture, metadata=replace(picture.metadata, notes=notes))


def native(pixels: np.ndarray, *, part: bool = False) -> np.ndarray:
    """Convert an array (h, w) or (h, w, c) to a native dtype, (h, w, c), in the byte order of this machine.

    NaN marks values without data; only a ``part`` of an image may have no others. Raises DataError where values would be lost,
    or are infinite.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3:
        raise DataError(f"was decoded to the shape {pixels.shape}, which is a bug of diptych; please report it, with the file")
    dtype = pixels.dtype.newbyteorder("=")
    if pixels.shape[2] < 1:
        raise DataError("has no channels; make it again")
    if 0 in pixels.shape:
        check_size(*pixels.shape[:2])
    if dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is not finite
            pixels = pixels.astype(np.float32, copy=False)
        if bad := int(np.isinf(pixels).sum()):
            raise DataError(f"has {bad:,} values that are infinite or beyond float32; replace them, or mark them by a nodata tag")
        if not part and np.isnan(pixels).all():
            raise DataError("has no values, only pixels without data (NaN or nodata); remove it")
        return pixels
    if dtype in (np.uint8, np.uint16, np.int16):
        return pixels.astype(dtype, copy=False)
    if dtype.kind not in "iu":
        raise DataError(f"holds {dtype}, expected numbers; save uint8, uint16, int16 or float32")
    low, high = int(pixels.min()), int(pixels.max())
    for small in (np.uint16, np.int16):
        if np.iinfo(small).min <= low and high <= np.iinfo(small).max:
            return pixels.astype(small)
    if low >= -EXACT and high <= EXACT:
        return pixels.astype(np.float32)
    raise DataError(f"has {dtype} values {low}..{high}, which float32 cannot hold exactly; divide them, or save them as float32")


def _decode_jpeg(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    precision, height, width = _jpeg_frame(data)
    if precision in (0, 8):
        return decode_pillow(data, reading, frame)
    check_size(height, width)
    try:
        return Picture(np.asarray(imagecodecs.jpeg8_decode(data) if precision == 12 else imagecodecs.ljpeg_decode(data)))
    except Exception as error:
        raise NotImplementedError(f"{precision} bits: {first_line(error)}") from error


def _jpeg_frame(data: bytes) -> tuple[int, int, int]:
    """Read bits a sample, height and width from the frame header (SOF); zeros where there is none."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width = struct.unpack(">BHH", data[place + 4 : place + 9])
            return precision, height, width
        else:
            place += 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
    return 0, 0, 0


def _decode_png(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    depth, color = data[24:26].ljust(2, b"\0")
    if frame or depth < 16 or (color == 0 and b"tRNS" not in data):
        return decode_pillow(data, reading, frame)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:  # Pillow would reduce 16-bit colour to 8 bits
        check_size(image.height, image.width)
        profile, orientation = image.info.get("icc_profile") or b"", orientation_of(image)
        metadata = of_pillow(image, frames=int(getattr(image, "n_frames", 1)))
    pixels, alpha, notes = np.atleast_3d(imagecodecs.png_decode(data)), None, list[str]()
    if pixels.shape[2] % 2 == 0:
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
    pixels, kept = profiled(pixels, profile, reading, notes)
    pixels = with_alpha(pixels, alpha, reading, notes)
    return Picture(UPRIGHT.get(orientation, np.asarray)(pixels), replace(metadata, icc=kept, notes=tuple(notes)))


def _decode_ppm(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    header = re.match(rb"P6\s+\d+\s+\d+\s+(\d+)\s", re.sub(rb"#[^\n]*\n", b" ", data[:1000]))
    if header and int(header[1]) > 255:
        raise DataError("is PPM with 16-bit colour, which Pillow would reduce to 8 bits; convert it to PNG or TIFF")
    return decode_pillow(data, reading, frame)


def _decode_npy(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.kind not in "buif":
        raise DataError(f"holds {dtype}, expected numbers; Python objects are never loaded, save uint8, uint16 or float32")
    if len(shape) not in (2, 3):
        raise DataError(f"has the shape {shape}, expected (h, w) or (h, w, c); save one image per file")
    check_size(shape[0], shape[1])
    if len(shape) == 3 and shape[0] <= 4 < 16 < shape[2]:
        raise DataError(f"has the shape {shape}, channels come last; save array.transpose(1, 2, 0)")
    return Picture(np.frombuffer(data, dtype, int(np.prod(shape)), file.tell()).reshape(shape, order="F" if fortran else "C"))


def _decode_jpeg2000(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as image:
        check_size(image.height, image.width)
        if image.mode in ("L", "RGB", "RGBA", "LA"):
            return decode_pillow(data, reading, frame)  # with its profile
    return Picture(np.asarray(imagecodecs.jpeg2k_decode(data)))  # 16 bits, and any number of bands


def _decode_jxl(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    pixels = np.atleast_3d(imagecodecs.jpegxl_decode(data, index=frame))
    alpha, notes = None, list[str]()
    if pixels.shape[2] in (2, 4) and pixels.dtype in (np.uint8, np.uint16):
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
    return Picture(with_alpha(pixels, alpha, reading, notes), Metadata(notes=tuple(notes)))


def _decode_hdr(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    found = re.search(rb"\n\n-Y (\d+) \+X (\d+)\n", data[:65536])
    if not found:
        raise NotImplementedError("it is not stored row by row from the top left")
    check_size(int(found[1]), int(found[2]))
    return Picture(np.asarray(imagecodecs.rgbe_decode(data)))


def _decode_exr(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    exr = extra("OpenEXR", "exr", "OpenEXR, and")
    with exr.File(io.BytesIO(data)) as file:
        window = file.header()["dataWindow"]
        check_size(*(int(high) - int(low) + 1 for low, high in zip(window[0][::-1], window[1][::-1], strict=True)))
        channels = file.channels()
        for name in ("RGBA", "RGB", "Y"):
            if name in channels:
                pixels = np.atleast_3d(np.array(channels[name].pixels))[..., :3]
                return Picture(pixels, Metadata(notes=_left_out(channels, name)))
        bands = [np.array(channels[name].pixels) for name in sorted(channels)]
    return Picture(np.stack(bands, -1))


def _left_out(channels: Mapping[str, Any], taken: str) -> tuple[str, ...]:
    """Say which channels of an OpenEXR file are not taken beside its colours."""
    others = [*(["A"] if taken == "RGBA" else []), *(name for name in channels if name != taken)]
    return (f"channels {', '.join(sorted(others))} beside {taken[:3]} left out",) if others else ()


def _decode_heif(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    extra("pillow_heif", "heif", "HEIC, and").register_heif_opener()
    with Image.open(io.BytesIO(data), formats=("HEIF",)) as image:  # upright: pillow-heif applies the orientation itself
        check_size(image.height, image.width)
        image.load()
        return _noted_depth(from_pillow(image, reading), int(image.info.get("bit_depth") or 8))


def _decode_avif(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    place = data.find(b"av1C")  # the configuration of the codec: its third byte says whether there are 10 bits, or 12
    flags = data[place + 6] if 0 <= place < len(data) - 6 else 0
    return _noted_depth(decode_pillow(data, reading, frame), (12 if flags & 0x20 else 10) if flags & 0x40 else 8)


def _noted_depth(picture: Picture, bits: int) -> Picture:
    """Say of a picture that was decoded to 8 bits whether its file has more."""
    notes = (*picture.metadata.notes, *([f"{bits} bits reduced to 8"] if bits > 8 else []))
    return replace(picture, metadata=replace(picture.metadata, notes=notes))


def first_line(error: Exception) -> str:
    """Shorten what a library or the system said to part of a one-line message."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, Image.UnidentifiedImageError) or not reason:
        return "unreadable header" if reason else type(error).__name__
    return printable(re.sub(r" \(\d+ bytes not processed\)", "", reason.splitlines()[0]))[:120]  # a number of Pillow's own


DECODERS: tuple[tuple[bytes, str, Decoder], ...] = (
    (rb".{128}DICM", "DICOM", decode_dicom),  # first: its first 128 bytes may be those of a TIFF
    (rb"\xff\xd8\xff", "JPEG", _decode_jpeg),
    (rb"\x89PNG\r\n\x1a\n", "PNG", _decode_png),
    (rb"GIF8[79]a", "GIF", decode_pillow),
    (rb"RIFF.{4}WEBP", "WebP", decode_pillow),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP", decode_pillow),
    (rb"P[1-7][\s#]", "PPM", _decode_ppm),
    (rb"P[fF][\s#]", "PFM", decode_pillow),
    (rb"II[*+]\0|MM\0[*+]", "TIFF", decode_tiff),
    (rb"\x93NUMPY", "NumPy", _decode_npy),
    (rb".{4}ftyp(avif|avis)", "AVIF", _decode_avif),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "HEIC", _decode_heif),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", _decode_jxl),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", _decode_jpeg2000),
    (rb"#\?(RADIANCE|RGBE)", "Radiance HDR", _decode_hdr),
    (rb"v/1\x01", "OpenEXR", _decode_exr),
)


def _decoder(head: bytes) -> tuple[str, Decoder] | None:
    return next(((name, read) for pattern, name, read in DECODERS if re.match(pattern, head, re.DOTALL)), None)

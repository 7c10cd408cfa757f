"""Bytes of an image file -> native pixels, by content alone, with the libraries that keep every bit of each format.

Only the formats of DECODERS ever reach a library. What cannot be decoded raises a DataError that says why and what to do; the
caller puts the path in front.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from diptych.errors import DataError
from diptych.messages import printable

MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # above it Pillow suspects a decompression bomb
TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels; cut it into tiles"
COMMON = "convert it to PNG, TIFF or JPEG"

# Orientation of EXIF and TIFF (tag 274): what turns the stored pixels upright.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


def refuse_foreign(head: bytes) -> None:
    """Raise DataError unless these first bytes begin an image; name what is commonly mistaken for one."""
    if not head:
        raise DataError("is empty (0 bytes); copy or download it again")
    if _decoder(head) is None:
        text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        found = next((advice for pattern, advice in FOREIGN if re.match(pattern, text, re.DOTALL)), None)
        raise DataError(found or f"is no image of a known format (begins with {head[:8]!r}); {COMMON}, or remove it")


def decode(data: bytes) -> np.ndarray:
    """Decode a whole file to pixels, (h, w, c) of uint8, uint16 or float32; see read_pixels for each kind of file."""
    decoder = _decoder(data)
    assert decoder is not None, "foreign files are refused before they are read"
    name, read = decoder
    try:
        return _native(read(data))
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(TOO_LARGE) from error
    except Exception as error:  # a damaged file can make a decoder raise anything; every kind ends in one line
        raise DataError(f"is damaged or incomplete {name} ({first_line(error)}); copy or download it again") from error


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise DataError(f"has no pixels ({width} x {height}); make it again")
    if height * width > MAX_PIXELS:
        raise DataError(f"is {width} x {height}, {TOO_LARGE}")


def _decode_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")) as image:
        _check_size(image.height, image.width)
        image.load()
        orientation = _orientation(image)
        if image.has_transparency_data:
            gray = image.mode in ("1", "L", "LA", "La")
            pixels = _over_white(np.asarray(image.convert("LA" if gray else "RGBA")))
        elif image.mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            pixels = np.asarray(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
        elif image.mode in ("L", "F", "I") or image.mode.startswith("I;16"):
            pixels = np.asarray(image)
        else:
            pixels = np.asarray(image.convert("L" if image.mode == "1" else "RGB"))
    return UPRIGHT.get(orientation, np.asarray)(pixels)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(274, 1)
    except Exception:  # damaged EXIF says nothing about the orientation, and the pixels are whole
        return 1


def _decode_png(data: bytes) -> np.ndarray:
    depth, color = data[24:26].ljust(2, b"\0")
    if depth < 16 or (color == 0 and b"tRNS" not in data):
        return _decode_pillow(data)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:  # Pillow would reduce 16-bit colour to 8 bits
        _check_size(image.height, image.width)
        orientation = _orientation(image)
    pixels = imagecodecs.png_decode(data)
    pixels = pixels if pixels.ndim == 2 or pixels.shape[2] % 2 else _over_white(pixels)
    return UPRIGHT.get(orientation, np.asarray)(pixels)


def _decode_ppm(data: bytes) -> np.ndarray:
    header = re.match(rb"P6\s+\d+\s+\d+\s+(\d+)\s", re.sub(rb"#[^\n]*\n", b" ", data[:1000]))
    if header and int(header[1]) > 255:
        raise DataError("is PPM with 16-bit colour, which Pillow would reduce to 8 bits; convert it to PNG or TIFF")
    return _decode_pillow(data)


def _decode_tiff(data: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check_size(page.imagelength, page.imagewidth)
        kind, planes = page.photometric, len(file.pages)
        if kind in (5, 8) or (kind == 6 and page.compression != 7):  # CMYK, LAB, and YCbCr that is not inside JPEG
            if page.bitspersample != 8:
                name = tifffile.PHOTOMETRIC(kind).name
                raise DataError(f"is {name} TIFF of {page.bitspersample} bits, which is not supported; convert it to RGB")
            return _decode_pillow(data)
        if planes > 1 and file.series[0].axes == "CYX":
            return np.moveaxis(file.series[0].asarray(), 0, -1)
        pixels = page.asarray()
        if page.axes == "SYX":
            pixels = np.moveaxis(pixels, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise DataError(f"is TIFF with the axes {page.axes}, expected an image; save one plane of it")
        bits, alpha = page.bitspersample, [int(extra) for extra in page.extrasamples]
        colormap = page.colormap if kind == 3 else None
        orientation = page.tags.valueof(274, default=1)
    if pixels.dtype.kind == "u" and bits < 8:  # 2 and 4 bits fill the range of 8, palette indices do not
        pixels = pixels if colormap is not None else pixels * np.uint8(255 // (2**bits - 1))
    if kind == 0:
        pixels = _inverted(pixels)
    if colormap is not None:
        pixels = (np.moveaxis(colormap, 0, -1)[pixels] >> 8).astype(np.uint8)
    elif alpha in ([1], [2]) and pixels.dtype in (np.uint8, np.uint16):
        pixels = _over_white(pixels, premultiplied=alpha == [1])
    return UPRIGHT.get(orientation, np.asarray)(pixels)


def _inverted(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind not in "bu":
        raise DataError(f"is {pixels.dtype} TIFF in which white is zero; save it with black as zero")
    return ~pixels


def _decode_npy(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.kind not in "buif":
        raise DataError(f"holds {dtype}, expected numbers; Python objects are never loaded, save uint8, uint16 or float32")
    if len(shape) not in (2, 3):
        raise DataError(f"has the shape {shape}, expected (h, w) or (h, w, c); save one image per file")
    _check_size(shape[0], shape[1])
    if len(shape) == 3 and shape[0] <= 4 < 16 < shape[2]:
        raise DataError(f"has the shape {shape}, channels come last; save array.transpose(1, 2, 0)")
    return np.frombuffer(data, dtype, int(np.prod(shape)), file.tell()).reshape(shape, order="F" if fortran else "C")


def _over_white(pixels: np.ndarray, *, premultiplied: bool = False) -> np.ndarray:
    """Composite (h, w, c + alpha) integers over white, rounded to nearest."""
    full = np.iinfo(pixels.dtype).max
    color, alpha = pixels[..., :-1].astype(np.uint64), pixels[..., -1:].astype(np.uint64)
    over = color * full if premultiplied else color * alpha
    return np.minimum((over + full * (full - alpha) + full // 2) // full, full).astype(pixels.dtype)


def _native(pixels: np.ndarray) -> np.ndarray:
    """Convert to one of the three native dtypes, (h, w, c). Raises DataError where values would be lost, or are not finite."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    dtype = pixels.dtype.newbyteorder("=")
    if pixels.shape[2] < 1:
        raise DataError("has no channels; make it again")
    if dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is not finite
            pixels = pixels.astype(np.float32, copy=False)
        if bad := pixels.size - int(np.isfinite(pixels).sum()):
            raise DataError(f"has {bad:,} values that are NaN, infinite or beyond float32; replace them")
        return pixels
    if dtype in (np.uint8, np.uint16):
        return pixels.astype(dtype, copy=False)
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 65535:
        raise DataError(f"has {dtype} values {low}..{high}, outside 0..65535; save it as float32 TIFF or .npy")
    return pixels.astype(np.uint16)


def first_line(error: Exception) -> str:
    """Shorten what a library or the system said to part of a one-line message."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, Image.UnidentifiedImageError) or not reason:
        return "unreadable header" if reason else type(error).__name__
    return printable(reason.splitlines()[0])[:120]


DECODERS: tuple[tuple[bytes, str, Callable[[bytes], np.ndarray]], ...] = (
    (rb"\xff\xd8\xff", "JPEG", _decode_pillow),
    (rb"\x89PNG\r\n\x1a\n", "PNG", _decode_png),
    (rb"GIF8[79]a", "GIF", _decode_pillow),
    (rb"RIFF.{4}WEBP", "WebP", _decode_pillow),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP", _decode_pillow),
    (rb"P[1-6][\s#]", "PPM", _decode_ppm),
    (rb"II[*+]\0|MM\0[*+]", "TIFF", _decode_tiff),
    (rb"\x93NUMPY", "NumPy", _decode_npy),
)


FOREIGN: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs", "is a Git LFS pointer, not the image itself; run: git lfs pull"),
    (rb"<svg|<\?xml.*<svg", "is an SVG drawing, not pixels; render it to PNG"),
    (rb"<!doctype|<html|<\?xml|<", "is a web page or XML, not an image; download the image itself again"),
    (rb"%pdf", "is a PDF document; export its pages as PNG"),
    (rb"%!ps|\xc5\xd0\xd3\xc6", "is PostScript (EPS), not pixels; render it to PNG"),
    (rb".{4}ftyp(hei|hev|mif1|msf1)", "is HEIC, which needs another program; convert it to PNG or JPEG"),
    (rb".{4}ftypavi", f"is AVIF, which is not supported; {COMMON}"),
    (rb".{4}ftyp", "is a video or camera container; extract its frames as PNG"),
    (rb"\xff\x0a|\0\0\0\x0cjxl ", f"is JPEG XL, which is not supported; {COMMON}"),
    (rb"\0\0\0\x0cjp  |\xff\x4f\xff\x51", f"is JPEG 2000, which is not supported; {COMMON}"),
    (rb"8bps", "is a Photoshop document; export it as PNG or TIFF"),
    (rb"v/1\x01|#\?radiance|#\?rgbe", "is a high-dynamic-range image (EXR, HDR); convert it to float32 TIFF"),
    (rb"pk\x03\x04|\x1f\x8b|rar!|7z\xbc\xaf", "is an archive; unpack it"),
    (rb"\0+$", "holds nothing but zero bytes; copy or download it again"),
)


def _decoder(head: bytes) -> tuple[str, Callable[[bytes], np.ndarray]] | None:
    return next(((name, read) for pattern, name, read in DECODERS if re.match(pattern, head, re.DOTALL)), None)

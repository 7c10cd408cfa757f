"""Images that Pillow decodes -> native pixels, alike for a file's bytes and for an image that a Python user opened."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, final

import numpy as np
from PIL import Image, ImageCms

from diptych.data.colors import other_than_srgb, to_srgb, why_not
from diptych.data.metadata import ORIENTATION, Picture, of_pillow
from diptych.errors import DataError
from diptych.reading import Reading

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # above it Pillow suspects a decompression bomb
STRIP = 2**22  # pixels of a large image that are copied at a time
TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels; cut it into tiles"


@final
class TooLargeError(DataError):
    """An image has more pixels than are decoded at once; `windows.py` reads such images in parts."""


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


def check_size(height: int, width: int) -> None:
    """Raise DataError for an image without pixels, or with so many that its file may be a decompression bomb."""
    if height < 1 or width < 1:
        raise DataError(f"has no pixels ({width} x {height}); make it again")
    if height * width > MAX_PIXELS:
        raise TooLargeError(f"is {width} x {height}, {TOO_LARGE}")


def decode_pillow(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    """Decode the bytes of a file."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_size(image.height, image.width)
        if frame:
            image.seek(frame)
        image.load()
        return from_pillow(image, reading)


def from_pillow(image: Image.Image, reading: Reading) -> Picture:
    """Convert an opened image: EXIF orientation is applied, palettes, CMYK and LAB become RGB, and 1 bit becomes 0 and 255.

    Its ICC profile and its transparency are treated as ``reading`` says.
    """
    found, notes = image.info.get("icc_profile"), list[str]()
    profile = found if isinstance(found, bytes) else b""
    alpha: np.ndarray | None = None
    if image.has_transparency_data:
        gray = image.mode in ("1", "L", "LA", "La")
        pixels = array_of(image, "LA" if gray else "RGBA")
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
    elif image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        pixels, profile = np.asarray(ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")), b""
        notes.append("LAB converted to sRGB")
    elif (
        image.mode in ("L", "F", "I")
        or image.mode.startswith("I;16")
        or (image.mode == "CMYK" and profile and reading.icc == "srgb")
    ):
        pixels = array_of(image)
    else:
        pixels = array_of(image, "L" if image.mode == "1" else "RGB")
        profile = b"" if image.mode == "CMYK" else profile  # it says nothing of RGB
    pixels, kept = profiled(pixels, profile, reading, notes)
    if image.mode == "CMYK" and not any(note.startswith("colours converted") for note in notes):
        pixels, kept = np.asarray(image.convert("RGB")), b""  # a profile of CMYK says nothing of RGB
        notes.append("CMYK converted to RGB without a profile, so that colours are approximate")
    pixels = with_alpha(pixels, alpha, reading, notes)
    frames = int(getattr(image, "n_frames", 1) or 1)
    frames = 1 if image.format == "MPO" else frames  # the others are previews, or another eye's view
    metadata = of_pillow(image, icc=kept, notes=tuple(notes), frames=frames)
    return Picture(UPRIGHT.get(orientation_of(image), np.asarray)(pixels), metadata)


def array_of(image: Image.Image, mode: str = "") -> np.ndarray:
    """Copy an image, or its conversion to a mode, into an array: a large one by strips, as Pillow would hold it three times."""
    rows = max(1, STRIP // image.width)
    if image.height <= rows:
        return np.asarray(image.convert(mode) if mode else image)
    pixels: np.ndarray | None = None
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        part = np.asarray(strip.convert(mode) if mode else strip)
        if pixels is None:
            pixels = np.empty((image.height, *part.shape[1:]), part.dtype)
        pixels[top : top + len(part)] = part
    assert pixels is not None
    return pixels


def orientation_of(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 where there is none."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing about the orientation, and the pixels are whole
        return 1


def profiled(pixels: np.ndarray, profile: bytes, reading: Reading, notes: list[str]) -> tuple[np.ndarray, bytes]:
    """Treat an ICC profile as ``reading`` says: the pixels (h, w, c), and the profile where it is to be carried on."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if not profile:
        return pixels, b""
    if reading.icc == "ignore":
        name = other_than_srgb(pixels, profile)
        notes += [f"its ICC profile ({name}) was ignored, as data.icc ignore says"] if name else []
        return pixels, b""
    if reading.icc == "keep":
        reason = why_not(pixels, profile)
        notes += [reason] if reason else []
        return pixels, b"" if reason else profile
    pixels, note = to_srgb(pixels, profile)
    notes += [note] if note else []
    return pixels, b""


def with_alpha(
    pixels: np.ndarray, alpha: np.ndarray | None, reading: Reading, notes: list[str], *, premultiplied: bool = False
) -> np.ndarray:
    """Treat transparency (h, w, 1) as ``reading`` says: kept beside RGB, or composited over white and rounded to nearest."""
    if alpha is None:
        return pixels
    full = np.iinfo(pixels.dtype).max
    if reading.alpha == "keep":
        if premultiplied:
            color = np.round(pixels.astype(np.float64) * full / np.maximum(alpha, 1))
            pixels = np.minimum(color, full).astype(pixels.dtype)
        return np.concatenate([np.broadcast_to(pixels, (*alpha.shape[:2], 3)), alpha], 2)
    if (alpha == full).all():
        return pixels
    notes.append("transparency composited over white")
    wide: Any = np.uint32 if full == 255 else np.uint64
    over, opaque = pixels.astype(wide), alpha.astype(wide)
    over *= full if premultiplied else opaque
    over += wide(full) * (full - opaque) + full // 2
    over //= full
    return np.minimum(over, full).astype(pixels.dtype)


def opaque(pixels: np.ndarray, reading: Reading) -> np.ndarray:
    """Give gray or RGB integers (h, w, c) a fourth channel without transparency, where transparency is kept."""
    if reading.alpha != "keep" or pixels.shape[2] not in (1, 3) or pixels.dtype not in (np.uint8, np.uint16):
        return pixels
    return with_alpha(pixels, np.full_like(pixels[..., :1], np.iinfo(pixels.dtype).max), reading, [])


def to_pillow(pixels: np.ndarray, *, alpha: bool = False) -> Image.Image:
    """Make an image of native pixels (h, w, c), in the mode that holds them exactly. Raises DataError where none does.

    One channel of uint16 becomes I;16, of float32 F, of int16 I. ``alpha`` says that the last of two or four is transparency.
    """
    channels, dtype = pixels.shape[2], pixels.dtype
    if channels == 1 and dtype in (np.uint8, np.uint16, np.float32):
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    if channels == 1 and dtype == np.int16:
        return Image.fromarray(pixels[..., 0].astype(np.int32))
    if dtype == np.uint8 and (channels == 3 or (alpha and channels in (2, 4))):
        return Image.fromarray(np.ascontiguousarray(pixels))
    raise DataError(f"PIL cannot hold {channels} x {dtype} pixels; pass a NumPy array instead of a PIL image")

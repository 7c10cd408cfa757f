"""A corpus of image files as they occur in the wild, each with its verdict: exact pixels, or the reason why it is refused.

``CASES`` maps a file name to (maker of the bytes, verdict). A verdict is an array (the pixels; ``Near`` where the format loses
some), a string (part of the one-line reason), or EITHER (damage that the format cannot always notice: pixels or a reason, never
a crash). Expected pixels are computed from what was drawn, or by another library than the one under test.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms, ImageOps

EITHER = "either"
RGB = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
GRAY = RGB[..., :1]
ALPHA = RGB[..., 1:2]
RGB16 = RGB.astype(np.uint16) * 200 + 7  # no multiple of 257, so that a detour through 8 bits shows
SMOOTH = np.stack([*np.mgrid[40:200:48j, 30:220:64j], np.full((48, 64), 120.0)], axis=-1).round().astype(np.uint8)


class Near(NamedTuple):
    pixels: np.ndarray
    tolerance: int


def pil(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def npy(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels, **options)
    return file.getvalue()


def png(pixels: np.ndarray, color: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """A PNG byte by byte, for what no writer here makes; color: 0 gray, 2 RGB, 3 palette, 4 gray + alpha, 6 RGBA."""
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, right in starts if interlaced else [(0, 0, 1, 1)]:  # Adam7, or all at once
        for row in pixels[top::down, left::right]:
            rows += b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() if row.size else b""
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, color, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb_png(width: int, height: int) -> bytes:
    whole = png(GRAY, 0)
    return whole[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + whole[33:]


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[274] = orientation
    return found


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def flipped_bit(data: bytes, share: float) -> bytes:
    place = int(len(data) * share)
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


def over_white(color: np.ndarray, alpha: np.ndarray, full: int = 255) -> np.ndarray:
    unit = alpha / full
    return np.floor(color * unit + full * (1 - unit) + 0.5).astype(color.dtype)


def jpeg_pixels(data: bytes) -> np.ndarray:
    return np.atleast_3d(imagecodecs.jpeg8_decode(data))


def lab(pixels: np.ndarray) -> bytes:
    srgb, target = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return pil(ImageCms.profileToProfile(Image.fromarray(pixels), srgb, target, outputMode="LAB"), "TIFF")


JPEG = pil(SMOOTH, "JPEG", quality=95)
PROGRESSIVE = pil(SMOOTH, "JPEG", progressive=True)
PNG, PNG16, WEBP, GIF = pil(RGB, "PNG"), png(RGB16, 2), pil(RGB, "WEBP", lossless=True), pil(GRAY, "GIF")
BMP, TIFF, DEFLATE, NPY = pil(RGB, "BMP"), tiff(RGB), tiff(RGB, compression="zlib"), npy(RGB)
PALETTE = Image.fromarray(RGB).quantize(16)
CMYK = Image.fromarray(SMOOTH).convert("CMYK")
CMYK_SEEN = np.asarray(CMYK.convert("RGB"))
FRAMES = [Image.fromarray(RGB // 8 * 8), Image.fromarray(255 - RGB)]
SEPARATE = np.ascontiguousarray(RGB.transpose(2, 0, 1))
BANDS = np.random.default_rng(1).normal(size=(13, 17, 5)).astype(np.float32)
NAN = np.where(np.arange(221).reshape(13, 17) == 5, np.nan, np.float32(1)).astype(np.float32)
DAMAGED, BOMB = "is damaged or incomplete", "pixels; cut it into tiles"

Verdict = np.ndarray | Near | str
CASES: dict[str, tuple[Callable[[], bytes], Verdict]] = {
    # damaged
    "empty.jpg": (lambda: b"", "is empty (0 bytes)"),
    "zeros.jpg": (lambda: bytes(4096), "nothing but zero bytes"),
    "noise.jpg": (lambda: b"\x07" + bytes(RGB.ravel()), "no image of a known format"),
    **{
        f"cut-{share:.0%}.{name}": (lambda data=data, share=share: data[: int(len(data) * share)], "")
        for name, data in {
            "jpg": JPEG,
            "progressive.jpg": PROGRESSIVE,
            "png": PNG,
            "png16.png": PNG16,
            "webp": WEBP,
            "gif": GIF,
        }.items()
        for share in (0.03, 0.3, 0.6, 0.9)
    },
    **{
        f"cut-{name}": (lambda data=data: data[: len(data) // 2], "")
        for name, data in {"x.bmp": BMP, "x.tif": TIFF, "deflate.tif": DEFLATE, "x.npy": NPY, "x.ppm": pil(RGB, "PPM")}.items()
    },
    **{
        f"rot-{share:.0%}.{name}": (lambda data=data, share=share: flipped_bit(data, share), verdict)
        for name, data, verdict in [
            ("jpg", JPEG, EITHER),
            ("png", PNG, DAMAGED),
            ("png16.png", PNG16, DAMAGED),
            ("webp", WEBP, EITHER),
            ("gif", GIF, EITHER),
            ("deflate.tif", DEFLATE, EITHER),
        ]
        for share in (0.5, 0.7)
    },
    "head-rot.png": (lambda: flipped_bit(PNG, 20 / len(PNG)), DAMAGED),
    # something else under an image's name
    "png-inside.jpg": (lambda: PNG, RGB),
    "webp-inside.png": (lambda: WEBP, RGB),
    "page.jpg": (lambda: b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "lfs.png": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
    "drawing.png": (lambda: b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "bare-svg.png": (lambda: b"<svg></svg>", "is an SVG drawing"),
    "print.jpg": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "is PostScript"),
    "paper.jpg": (lambda: b"%PDF-1.7\n", "is a PDF"),
    "phone.jpg": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "new.jpg": (lambda: b"\0\0\0\x1cftypavif\0\0\0\0", "is damaged or incomplete AVIF"),
    "film.jpg": (lambda: b"\0\0\0\x18ftypmp42\0\0\0\0", "is a video"),
    "xl.jpg": (lambda: b"\xff\x0a" + bytes(20), "is damaged or incomplete JPEG XL"),
    "xl-box.jpg": (lambda: b"\0\0\0\x0cJXL \r\n\x87\n", "is damaged or incomplete JPEG XL"),
    "2000.jpg": (lambda: b"\0\0\0\x0cjP  \r\n\x87\n", "is damaged or incomplete JPEG 2000"),
    "layers.png": (lambda: b"8BPS\0\x01" + bytes(20), "is a Photoshop document"),
    "bright.tif": (lambda: b"v/1\x01" + bytes(20), "OpenEXR"),
    "many.png": (lambda: b"PK\x03\x04" + bytes(20), "is an archive"),
    # how colour is stored
    "rgb.png": (lambda: PNG, RGB),
    "gray.png": (lambda: pil(GRAY, "PNG"), GRAY),
    "gray-alpha.png": (lambda: pil(np.dstack([GRAY, ALPHA]), "PNG"), over_white(GRAY, ALPHA)),
    "rgba.png": (lambda: pil(np.dstack([RGB, ALPHA]), "PNG"), over_white(RGB, ALPHA)),
    "invisible.png": (lambda: pil(np.dstack([RGB, GRAY * 0]), "PNG"), np.full_like(RGB, 255)),
    "rgba.webp": (lambda: pil(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True), over_white(RGB, ALPHA)),
    "palette.png": (lambda: pil(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
    "palette-key.png": (
        lambda: pil(PALETTE, "PNG", transparency=3),
        np.where(np.asarray(PALETTE)[..., None] == 3, np.uint8(255), np.asarray(PALETTE.convert("RGB"))),
    ),
    "palette-bytes.png": (
        lambda: pil(PALETTE, "PNG", transparency=bytes(range(0, 256, 16))),
        over_white(np.asarray(PALETTE.convert("RGB")), np.asarray(PALETTE)[..., None] * 16),
    ),
    "rgb-key.png": (
        lambda: png(RGB, 2, chunk(b"tRNS", RGB[0, 0].astype(">u2").tobytes())),
        np.where((RGB[0, 0] == RGB).all(axis=2, keepdims=True), np.uint8(255), RGB),
    ),
    "gray-key.png": (
        lambda: png(GRAY, 0, chunk(b"tRNS", GRAY[0, 0].astype(">u2").tobytes())),
        np.where(GRAY[0, 0] == GRAY, np.uint8(255), GRAY),
    ),
    "1-bit.png": (lambda: pil(GRAY > 128, "PNG"), (GRAY > 128) * np.uint8(255)),
    "interlaced.png": (lambda: png(RGB, 2, interlaced=True), RGB),
    "gray16.png": (lambda: png(RGB16[..., :1], 0), RGB16[..., :1]),
    "rgb16.png": (lambda: PNG16, RGB16),
    "rgb16-interlaced.png": (lambda: png(RGB16, 2, interlaced=True), RGB16),
    "rgba16.png": (lambda: png(np.dstack([RGB16, RGB16[..., :1]]), 6), over_white(RGB16, RGB16[..., :1], 65535)),
    "gray-alpha16.png": (lambda: png(RGB16[..., :2], 4), over_white(RGB16[..., :1], RGB16[..., 1:2], 65535)),
    "rgb16-key.png": (
        lambda: png(RGB16, 2, chunk(b"tRNS", RGB16[0, 0].astype(">u2").tobytes())),
        np.where((RGB16[0, 0] == RGB16).all(axis=2, keepdims=True), np.uint16(65535), RGB16),
    ),
    "gray16-key.png": (
        lambda: png(RGB16[..., :1], 0, chunk(b"tRNS", RGB16[0, 0, :1].astype(">u2").tobytes())),
        np.where(RGB16[..., :1] == RGB16[0, 0, 0], np.uint16(65535), RGB16[..., :1]),
    ),
    "rgb.jpg": (lambda: JPEG, jpeg_pixels(JPEG)),
    "gray.jpg": (lambda: pil(SMOOTH[..., 0], "JPEG", quality=100), Near(SMOOTH[..., :1], 2)),
    "progressive.jpg": (lambda: PROGRESSIVE, jpeg_pixels(PROGRESSIVE)),
    "cmyk-adobe.jpg": (lambda: pil(CMYK, "JPEG", quality=100), Near(CMYK_SEEN, 4)),
    "ycck-adobe.jpg": (
        lambda: imagecodecs.jpeg8_encode(255 - np.asarray(CMYK), level=100, colorspace="CMYK", outcolorspace="YCCK"),
        Near(CMYK_SEEN, 4),
    ),
    "rgb.bmp": (lambda: BMP, RGB),
    "palette.gif": (lambda: pil(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
    "gray.gif": (lambda: GIF, GRAY.repeat(3, axis=2)),
    "rgb.ppm": (lambda: pil(RGB, "PPM"), RGB),
    "gray.pgm": (lambda: pil(GRAY, "PPM"), GRAY),
    "gray16.pgm": (lambda: pil(RGB16[..., 0], "PPM"), RGB16[..., :1]),
    "rgb16.ppm": (lambda: b"P6 # deep\n17 13\n65535\n" + RGB16.astype(">u2").tobytes(), "16-bit colour"),
    # TIFF
    "rgb.tif": (lambda: TIFF, RGB),
    "rgb16.tif": (lambda: tiff(RGB16, compression="lzw", predictor=True), RGB16),
    "big-endian.tif": (lambda: tiff(RGB16[..., 0], byteorder=">"), RGB16[..., :1]),
    "little-endian.tif": (lambda: tiff(RGB16[..., 0], byteorder="<"), RGB16[..., :1]),
    "big.tif": (lambda: tiff(RGB, bigtiff=True, tile=(16, 16)), RGB),
    "planar.tif": (lambda: tiff(SEPARATE, photometric="rgb", planarconfig="separate"), RGB),
    "jpeg.tif": (lambda: tiff(SMOOTH, compression="jpeg", photometric="rgb", compressionargs={"level": 98}), Near(SMOOTH, 4)),
    "white-is-zero.tif": (lambda: tiff(GRAY[..., 0], photometric="miniswhite"), 255 - GRAY),
    "fax.tif": (lambda: pil(GRAY > 128, "TIFF", compression="group4"), (GRAY > 128) * np.uint8(255)),
    "palette.tif": (lambda: pil(PALETTE, "TIFF"), np.asarray(PALETTE.convert("RGB"))),
    "rgba.tif": (lambda: tiff(np.dstack([RGB, ALPHA]), photometric="rgb", extrasamples=["unassalpha"]), over_white(RGB, ALPHA)),
    "premultiplied.tif": (
        lambda: tiff(np.dstack([np.minimum(RGB, ALPHA), ALPHA]), photometric="rgb", extrasamples=["assocalpha"]),
        np.minimum(RGB, ALPHA) + (255 - ALPHA),
    ),
    "infrared.tif": (
        lambda: tiff(np.dstack([RGB16, RGB16[..., :1]]), photometric="rgb", extrasamples=["unspecified"]),
        np.dstack([RGB16, RGB16[..., :1]]),
    ),
    "cmyk.tif": (lambda: pil(CMYK, "TIFF"), CMYK_SEEN),
    "lab.tif": (lambda: lab(SMOOTH // 2 + 64), Near(SMOOTH // 2 + 64, 4)),
    "bands.tif": (lambda: tiff(BANDS, photometric="minisblack", planarconfig="contig"), BANDS),
    "float.tif": (lambda: tiff(BANDS[..., 0]), BANDS[..., :1]),
    "half.tif": (lambda: tiff(BANDS[..., 0].astype(np.float16)), BANDS[..., :1].astype(np.float16).astype(np.float32)),
    "double.tif": (lambda: tiff(BANDS[..., 0].astype(np.float64)), BANDS[..., :1]),
    "int32-small.tif": (lambda: pil(Image.fromarray(RGB16[..., 0].astype(np.int32)), "TIFF"), RGB16[..., :1]),
    "int32-large.tif": (lambda: tiff(RGB16[..., 0].astype(np.int32) * 9), RGB16[..., :1].astype(np.float32) * 9),
    "int32-huge.tif": (lambda: tiff(RGB16[..., 0].astype(np.int32) * 999), "which float32 cannot hold exactly"),
    "below-sea.tif": (lambda: tiff(RGB16[..., 0].astype(np.int16) - 9999), RGB16[..., :1].astype(np.int16) - 9999),
    "complex.tif": (lambda: tiff(BANDS[..., 0].astype(np.complex64)), "complex64"),
    "uneven.tif": (
        lambda: TIFF.replace(struct.pack("<3H", 8, 8, 8), struct.pack("<3H", 5, 6, 5)),
        "channels have (5, 6, 5) bits, which is not supported",
    ),
    "nan.tif": (lambda: tiff(NAN), NAN[..., None]),
    "all-nan.tif": (lambda: tiff(np.full_like(NAN, np.nan)), "has no values, only pixels without data"),
    "huge.tif": (lambda: tiff(np.full((4, 4), 1e300)), "16 values that are infinite or beyond float32"),
    "pages.tif": (lambda: tiff(np.stack([RGB, 255 - RGB]), photometric="rgb"), RGB),
    "channels.tif": (lambda: tiff(RGB16.transpose(2, 0, 1), imagej=True, metadata={"axes": "CYX"}), RGB16),
    # NumPy
    "gray.npy": (lambda: npy(BANDS[..., 0]), BANDS[..., :1]),
    "bands.npy": (lambda: npy(BANDS), BANDS),
    "fortran.npy": (lambda: npy(np.asfortranarray(RGB16)), RGB16),
    "big-endian.npy": (lambda: npy(RGB16.astype(">u2")), RGB16),
    "mask.npy": (lambda: npy(GRAY > 128), (GRAY > 128) * np.uint8(255)),
    "labels.npy": (lambda: npy(GRAY.astype(np.int64)), GRAY.astype(np.uint16)),
    "pickle.npy": (lambda: npy(np.array([{}], dtype=object), allow_pickle=True), "Python objects are never loaded"),
    "vector.npy": (lambda: npy(np.zeros(9)), "expected (h, w) or (h, w, c)"),
    "channels-first.npy": (lambda: npy(SEPARATE), "channels come last"),
    "infinite.npy": (lambda: npy(np.full((2, 2), np.inf)), "4 values"),
    "no-pixels.npy": (lambda: npy(np.zeros((0, 4), np.uint8)), "has no pixels"),
    "no-channels.npy": (lambda: npy(np.zeros((4, 4, 0), np.uint8)), "has no channels"),
    "boast.npy": (lambda: NPY.replace(b"(13, 17, 3)", b"(9000,9000, 9)")[:200], DAMAGED),
    # orientation, profiles, several frames
    **{f"exif-{o}.png": (lambda o=o: pil(RGB, "PNG", exif=exif(o)), upright(RGB, o)) for o in range(1, 9)},
    **{
        f"exif-{o}.jpg": (lambda o=o: pil(SMOOTH, "JPEG", exif=exif(o), quality=100), Near(upright(SMOOTH, o), 9))
        for o in (3, 6, 8)
    },
    **{f"exif-{o}.tif": (lambda o=o: tiff(RGB, extratags=[(274, "H", 1, o, True)]), upright(RGB, o)) for o in (5, 6, 7)},
    "exif-16-bit.png": (lambda: png(RGB16, 2, chunk(b"eXIf", exif(6).tobytes()[6:])), np.rot90(RGB16, -1)),
    "exif-99.png": (lambda: pil(RGB, "PNG", exif=exif(99)), RGB),
    "exif-junk.jpg": (lambda: pil(SMOOTH, "JPEG", exif=b"Exif\0\0junk", quality=95), jpeg_pixels(JPEG)),
    "exif-cut.jpg": (lambda: pil(SMOOTH, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", quality=95), jpeg_pixels(JPEG)),
    "icc-junk.jpg": (lambda: pil(SMOOTH, "JPEG", icc_profile=b"junk" * 99, quality=95), jpeg_pixels(JPEG)),
    "icc-srgb.png": (
        lambda: pil(RGB, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        RGB,
    ),
    "animated.png": (lambda: pil(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), np.asarray(FRAMES[0])),
    "animated.webp": (
        lambda: pil(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:], lossless=True),
        np.asarray(FRAMES[0]),
    ),
    "animated.gif": (lambda: pil(PALETTE, "GIF", save_all=True, append_images=FRAMES[1:]), np.asarray(PALETTE.convert("RGB"))),
    "stereo.mpo": (
        lambda: pil(SMOOTH, "MPO", save_all=True, append_images=[Image.fromarray(255 - SMOOTH)], quality=100, subsampling=0),
        Near(SMOOTH, 4),
    ),
    # sizes
    "1x1.png": (lambda: pil(Image.fromarray(RGB[:1, :1]), "PNG"), RGB[:1, :1]),
    "1x10000.png": (lambda: pil(Image.new("L", (1, 10_000), 9), "PNG"), np.full((10_000, 1, 1), 9, np.uint8)),
    "65500.jpg": (lambda: pil(Image.new("L", (65_500, 1), 128), "JPEG"), np.full((1, 65_500, 1), 128, np.uint8)),
    "flat.png": (lambda: pil(RGB * 0 + 7, "PNG"), RGB * 0 + 7),
    "no-width.png": (lambda: bomb_png(0, 10), DAMAGED),
    "bomb.png": (lambda: bomb_png(30_000, 30_000), BOMB),
    "small-bomb.png": (lambda: bomb_png(10_000, 10_000), BOMB),
    "bomb16.png": (
        lambda: PNG16[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 16, 2, 0, 0, 0)) + PNG16[33:],
        BOMB,
    ),
    "bomb.gif": (lambda: GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], BOMB),
    "bomb.npy": (lambda: NPY.replace(b"(13, 17, 3)", b"(90000,90000)"), BOMB),
    "bomb.tif": (lambda: TIFF.replace(struct.pack("<HHII", 257, 4, 1, 13), struct.pack("<HHII", 257, 4, 1, 90_000_000)), BOMB),
    "text-bomb.png": (lambda: png(RGB, 2, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**8)))), DAMAGED),
}

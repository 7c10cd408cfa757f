"""What is commonly mistaken for an image, by its first bytes and by its suffix, with what to do about it."""

from __future__ import annotations

import re

COMMON = "convert it to PNG, TIFF or JPEG"
RAW = f"is a camera's raw file, which is not developed here; {COMMON}"

FOREIGN: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs", "is a Git LFS pointer, not the image itself; run: git lfs pull"),
    (rb"<svg|<\?xml.*<svg", "is an SVG drawing, not pixels; render it to PNG"),
    (rb"<vrtdataset", "is a VRT, which only points to other rasters; run: gdal_translate IN.vrt OUT.tif"),
    (rb"<!doctype|<html|<\?xml|<", "is a web page or XML, not an image; download the image itself again"),
    (rb"%pdf", "is a PDF document; export its pages as PNG"),
    (rb"%!ps|\xc5\xd0\xd3\xc6", "is PostScript (EPS), not pixels; render it to PNG"),
    (rb".{4}ftypcrx", RAW),
    (rb".{4}ftyp", "is a video or camera container; extract its frames as PNG"),
    (rb"8bps", "is a Photoshop document; export it as PNG or TIFF"),
    (rb"pk\x03\x04|\x1f\x8b|rar!|7z\xbc\xaf", "is an archive; unpack it"),
    (rb"matlab 5.0 mat-file", "is a MATLAB file, which may hold many variables; save the one as .npy with scipy.io.loadmat"),
    (
        rb"\x89hdf\r\n\x1a\n",
        "is an HDF5 file (.h5, NetCDF or MATLAB 7.3), which may hold many arrays; save one as .npy with h5py",
    ),
    (rb"cdf[\x01\x02\x05]", "is a NetCDF file, which may hold many arrays; save one as .npy with xarray"),
    (rb"fujifilmccd|ii\x1a\0\0\0heap|iirs\x08|iiu\0|mmor|iiro", RAW),
    (rb"simple  =", f"is a FITS file, which is not supported; {COMMON}"),
    (rb"\0+$", "holds nothing but zero bytes; copy or download it again"),
)

SUFFIXES: dict[str, str] = {
    ".vrt": "a VRT, which only points to other rasters; run: gdal_translate IN.vrt OUT.tif",
    **dict.fromkeys(
        (".nef", ".dng", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
        RAW.removeprefix("is ").partition(",")[0],
    ),
    ".mat": "a MATLAB file; save the variable as .npy with scipy.io.loadmat",
    **dict.fromkeys((".h5", ".hdf5", ".nc"), "an HDF5 or NetCDF file; save the array as .npy"),
    ".svg": "a drawing, not pixels; render it to PNG",
    ".psd": "a Photoshop document; export it as PNG or TIFF",
    ".pdf": "a document; export its pages as PNG",
    **dict.fromkeys(
        (".jxr", ".wdp", ".sgi", ".tga", ".dds", ".pcx", ".ico", ".xcf", ".fits", ".qoi", ".mha", ".nrrd"),
        "a format that is not read",
    ),
}


def name_foreign(head: bytes) -> str:
    """Say what a file is that begins with these bytes, and what to do; empty where that is not known."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return next((advice for pattern, advice in FOREIGN if re.match(pattern, text, re.DOTALL)), "")

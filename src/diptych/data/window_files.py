"""Large images are written tile by tile, each with smaller copies of itself: TIFF, OME-TIFF, OME-Zarr, Deep Zoom, and .npy.

A file or folder appears whole or not at all.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from diptych.data.encoders import page_options
from diptych.data.metadata import Metadata
from diptych.data.pillow_images import to_pillow
from diptych.data.windows import Windows, rows_of
from diptych.errors import DataError, StorageError
from diptych.extras import extra
from diptych.messages import show

TILE = 512
SMALLEST = 512  # no smaller copy is made of an image that fits into a square of so many pixels
STRIP = 512  # rows that are read at a time
BUFFER = 2**23  # bytes of tiles that are encoded at a time, since tifffile collects 512 MB of them if not told
QUALITY = 90  # of the JPEGs of Deep Zoom
WRITTEN = (".tif", ".tiff", ".zarr", ".dzi", ".npy")


def written_in_windows(path: Path) -> bool:
    """Whether a result of this name is written tile by tile."""
    return path.suffix.lower() in WRITTEN


def written_only_in_windows(path: Path) -> bool:
    """Whether a result of this name is a folder of tiles or chunks, or describes one."""
    return path.suffix.lower() in (".zarr", ".dzi")


def write_windows(path: Path, image: Windows, metadata: Metadata, scratch: Path, *, alpha: bool, averaged: bool) -> None:
    """Write an image in the format of the suffix; it is made in the folder ``scratch``, which lies on the same disk.

    Pixels of smaller copies are means of four, or one of four where they are not ``averaged``, as labels. Raises DataError when
    the format cannot hold the pixels, MissingExtraError without its package, StorageError when the disk refuses.
    """
    temporary = scratch / "result"
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # of a write that was interrupted
        scratch.mkdir(parents=True)
        match path.suffix.lower():
            case ".npy":
                _write_npy(temporary, image)
            case ".zarr":
                _write_zarr(temporary, smaller(image, scratch, averaged, SMALLEST))
            case ".dzi":
                _write_deep_zoom(path, temporary, smaller(image, scratch, averaged, 1))
            case _:
                ome = path.name.lower().endswith((".ome.tif", ".ome.tiff"))
                _write_tiff(temporary, smaller(image, scratch, averaged, SMALLEST), metadata, alpha=alpha, ome=ome)
        if temporary.is_file():
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{show(path)}: cannot be written ({error.strerror}); check space and permissions") from error


def smaller(image: Windows, scratch: Path, averaged: bool, smallest: int) -> list[Windows]:
    """An image and copies of half, a quarter ... of its sides, rounded up, until one has at most ``smallest`` pixels a side."""
    levels = [image]
    while max(levels[-1].shape[:2]) > smallest:
        path = scratch / f"level-{len(levels)}.bin"
        with open(path, "wb") as file:
            for half in _halved(levels[-1], averaged):
                file.write(half.data)
        (height, width, channels), dtype = levels[-1].shape, levels[-1].read(0, 1, 0, 1).dtype
        levels.append(rows_of(path, 0, (-(-height // 2), -(-width // 2), channels), dtype))
    return levels


def _halved(image: Windows, averaged: bool) -> Iterator[np.ndarray]:
    height, width, channels = image.shape
    for top in range(0, height, STRIP):
        strip = image.read(top, min(height, top + STRIP), 0, width)
        strip = np.pad(strip, ((0, len(strip) % 2), (0, width % 2), (0, 0)), mode="edge")
        if not averaged:
            yield np.ascontiguousarray(strip[::2, ::2])
            continue
        squares = strip.reshape(len(strip) // 2, 2, -1, 2, channels)
        mean = squares.mean((1, 3), dtype=np.float64)
        yield np.ascontiguousarray(mean if strip.dtype.kind == "f" else np.floor(mean + 0.5)).astype(strip.dtype)


def _tiles(image: Windows, side: int) -> Iterator[np.ndarray]:
    """All tiles, row by row, those at the ends filled up with their last pixels."""
    height, width, channels = image.shape
    for top in range(0, height, side):
        strip = image.read(top, min(height, top + side), 0, width)
        strip = np.pad(strip, ((0, side - len(strip)), (0, -width % side), (0, 0)), mode="edge")
        for left in range(0, width, side):
            tile = np.ascontiguousarray(strip[:, left : left + side])
            yield tile[..., 0] if channels == 1 else tile


def _write_tiff(path: Path, levels: list[Windows], metadata: Metadata, *, alpha: bool, ome: bool) -> None:
    """Write a tiled TIFF, BigTIFF where it may need more than 2 GB. Copies follow as GDAL's overviews, or in OME's places."""
    dtype, total = levels[0].read(0, 1, 0, 1).dtype, 0
    for level in levels:
        total += int(np.prod(level.shape)) * dtype.itemsize
    with tifffile.TiffWriter(path, bigtiff=total > 2**31, ome=ome) as writer:
        for place, level in enumerate(levels):
            height, width, channels = level.shape
            how = page_options(channels, metadata if place == 0 else Metadata(icc=metadata.icc, nodata=metadata.nodata), alpha)
            how |= {"shape": (height, width) if channels == 1 else level.shape, "dtype": dtype, "tile": (TILE, TILE)}
            how |= {"predictor": dtype.kind != "f", "maxworkers": 2, "buffersize": BUFFER}
            if ome:
                how |= {"subifds": len(levels) - 1} if place == 0 else {}
                how["metadata"] = {"axes": "YX" if channels == 1 else "YXS"} if place == 0 else None
                how.pop("extratags")  # OME's description stands in their place
            writer.write(_tiles(level, TILE), subfiletype=int(place > 0), **how)


def _write_npy(path: Path, image: Windows) -> None:
    height, width, channels = image.shape
    with open(path, "wb") as file:
        dtype = image.read(0, 1, 0, 1).dtype
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (height, width, channels)}
        np.lib.format.write_array_header_1_0(file, header)
        for top in range(0, height, STRIP):
            file.write(np.ascontiguousarray(image.read(top, min(height, top + STRIP), 0, width)).data)


def _write_zarr(path: Path, levels: list[Windows]) -> None:
    """Write an OME-Zarr group (version 0.4) with the axes c, y, x."""
    zarr = extra("zarr", "zarr", f"{show(path)}: Zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    channels = levels[0].shape[2]
    for place, level in enumerate(levels):
        height, width, _ = level.shape
        dtype, chunks = level.read(0, 1, 0, 1).dtype, (channels, TILE, TILE)
        array = group.create_array(str(place), shape=(channels, height, width), chunks=chunks, dtype=dtype)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                bottom, right = min(height, top + TILE), min(width, left + TILE)
                array[:, top:bottom, left:right] = level.read(top, bottom, left, right).transpose(2, 0, 1)
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
    full = levels[0].shape
    scales = [[1.0, full[0] / level.shape[0], full[1] / level.shape[1]] for level in levels]
    datasets = [
        {"path": str(place), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for place, scale in enumerate(scales)
    ]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets, "name": path.stem}]


def _write_deep_zoom(path: Path, temporary: Path, levels: list[Windows]) -> None:
    """Write the tiles of all levels into ``NAME_files``, and the description of the image to a temporary file."""
    height, width, channels = levels[0].shape
    if channels not in (1, 3) or levels[0].read(0, 1, 0, 1).dtype != np.uint8:
        raise DataError(f"{show(path)}: Deep Zoom holds 8-bit gray and RGB; name it .tif or .zarr")
    folder, made = path.with_name(f"{path.stem}_files"), temporary.with_name("result_files")
    for number, level in enumerate(reversed(levels)):
        (made / str(number)).mkdir(parents=True)
        high, wide, _ = level.shape
        for row, column in itertools.product(range(-(-high // TILE)), range(-(-wide // TILE))):
            top, left = row * TILE, column * TILE
            tile = level.read(top, min(high, top + TILE), left, min(wide, left + TILE))
            to_pillow(np.ascontiguousarray(tile)).save(made / str(number) / f"{column}_{row}.jpg", quality=QUALITY, subsampling=0)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(made, folder)
    temporary.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg" Overlap="0" TileSize="{TILE}">\n'
        f'  <Size Height="{height}" Width="{width}"/>\n</Image>\n'
    )

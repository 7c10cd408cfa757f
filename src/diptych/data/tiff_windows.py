"""Large image files that are opened for reading in windows: tiled and striped TIFF, BigTIFF, and OME-TIFF.

The values are those of `formats.read_picture`, and so are the rules for colours, transparency and pixels without data.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import tifffile

from diptych.data.metadata import Picture, of_tiff
from diptych.data.tiffs import MASK, REDUCED, of_samples
from diptych.data.windows import ADVICE, Windows
from diptych.errors import DataError
from diptych.memory import in_words
from diptych.reading import Reading

CACHED = 2**27  # bytes of decoded tiles that are kept, as neighbouring windows share them


@final
class TiffWindows(Windows):
    """A page of a TIFF file, or pages that are its channels, decoded tile by tile or strip by strip."""

    def __init__(self, path: Path, reading: Reading, memory: int) -> None:
        self.file, self.reading = tifffile.TiffFile(path), reading
        try:
            self._open(memory)
        except BaseException:
            self.file.close()
            raise

    def _open(self, memory: int) -> None:
        found: list[Any] = list(self.file.pages)
        pages = [page.aspage() for page in found]
        whole = [page for page in pages if not int(page.subfiletype) & (REDUCED | MASK)] or pages[:1]
        series = self.file.series[0]
        self.stacked = len(whole) > 1 and series.axes in ("CYX", "SYX")
        planes: list[Any] = list(series.pages)
        self.pages = [page.aspage() for page in planes] if self.stacked else whole[:1]
        self.page = page = self.pages[0]
        masks = [other for other in pages if int(other.subfiletype) & MASK and other.shape[:2] == page.shape[:2]]
        self.masks = [] if self.stacked else masks[:1]
        self._check(page, memory)
        self.cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self.cached, self.one_at_a_time = 0, threading.Lock()
        corner = self._picture(0, 1, 0, 1)
        self.shape = (page.imagelength, page.imagewidth, corner.pixels.shape[2])
        self.metadata = replace(corner.metadata, frames=1 if self.stacked else len(whole), **of_tiff(page, b""))

    def _check(self, page: Any, memory: int) -> None:
        if isinstance(page.bitspersample, tuple) or page.bitspersample not in (8, 16, 32, 64) or page.dtype.kind == "c":
            raise DataError(f"is TIFF of {page.bitspersample} bits, which is not read in windows; {ADVICE}")
        if page.dtype.kind in "iu" and page.dtype.itemsize > 2:
            raise DataError(f"is TIFF of {page.dtype}, whose range is known only when all is read; {ADVICE}")
        if page.photometric in (5, 8) or (page.photometric == 6 and page.compression != 7):
            raise DataError(f"is {tifffile.PHOTOMETRIC(page.photometric).name} TIFF, which is not read in windows; {ADVICE}")
        if page.compression not in tifffile.TIFF.DECOMPRESSORS:
            raise DataError(f"is TIFF of a kind that is not supported (compression {page.compression}); {ADVICE}")
        if page.tags.valueof(274, default=1) != 1:
            raise DataError("is a TIFF that its orientation tag turns, which is not done in windows; turn its pixels")
        if page.imagedepth != 1 or page.axes not in ("YX", "YXS", "SYX"):
            raise DataError(f"is TIFF with the axes {page.axes}, expected an image; save one plane of it")
        high, wide = self._grid(page)
        if (needed := 2 * high * wide * page.samplesperpixel * page.dtype.itemsize) > memory:
            raise DataError(f"is TIFF in pieces of {wide} x {high}, which take {in_words(needed)} each; {ADVICE}")

    def _grid(self, page: Any) -> tuple[int, int]:
        """The height and width of tiles or strips."""
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        rows = min(page.rowsperstrip or page.imagelength, page.imagelength)
        return rows, page.imagewidth

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Decode the tiles that the window touches."""
        return self._picture(top, bottom, left, right).pixels

    def _picture(self, top: int, bottom: int, left: int, right: int) -> Picture:
        samples = np.concatenate([self._samples(page, top, bottom, left, right) for page in self.pages], 2)
        excluded = [self._samples(page, top, bottom, left, right)[..., 0] == 0 for page in self.masks]
        return of_samples(samples, self.page, self.reading, excluded[0] if excluded else None, stacked=self.stacked)

    def _samples(self, page: Any, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        (high, wide), apart = self._grid(page), page.planarconfig == 2 and page.samplesperpixel > 1
        across, down = -(-page.imagewidth // wide), -(-page.imagelength // high)
        planes, samples = (page.samplesperpixel, 1) if apart else (1, page.samplesperpixel)
        out = np.empty((bottom - top, right - left, page.samplesperpixel), page.dtype.newbyteorder("="))
        for plane in range(planes):
            for row in range(top // high, -(-bottom // high)):
                for column in range(left // wide, -(-right // wide)):
                    tile = self._tile(page, (plane * down + row) * across + column)
                    a, b = max(top, row * high), min(bottom, (row + 1) * high)
                    c, d = max(left, column * wide), min(right, (column + 1) * wide)
                    inside = (slice(a - row * high, b - row * high), slice(c - column * wide, d - column * wide))
                    part = out[a - top : b - top, c - left : d - left, plane : plane + samples]
                    part[...] = page.nodata if tile is None else tile[inside]
        return out

    def _tile(self, page: Any, index: int) -> np.ndarray | None:
        """A decoded tile (h, w, samples); None for one that the file leaves out."""
        key = (page.index, index)
        with self.one_at_a_time:
            if key in self.cache:
                self.cache.move_to_end(key)
                return self.cache[key]
            handle = page.parent.filehandle
            handle.seek(page.dataoffsets[index])
            count = page.databytecounts[index]
            data = handle.read(count) if count else None
            decoded = page.decode(data, index, jpegtables=page.jpegtables)[0] if data else None
            tile = None if decoded is None else decoded[0]
            self.cache[key] = tile
            self.cached += 0 if tile is None else tile.nbytes
            while self.cached > CACHED and len(self.cache) > 1:
                _, old = self.cache.popitem(last=False)
                self.cached -= 0 if old is None else old.nbytes
            return tile

    def close(self) -> None:
        """Close the file."""
        self.file.close()

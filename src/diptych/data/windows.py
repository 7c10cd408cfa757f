"""Images that are read window by window, as arrays that need not fit into the memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, final

import numpy as np

from diptych.data.decoders import native
from diptych.data.kinds import fit
from diptych.data.metadata import Metadata
from diptych.data.pillow_images import opaque
from diptych.errors import DataError
from diptych.messages import show
from diptych.pixels import Domain

ADVICE = "convert it to a tiled TIFF of 8 or 16 bits, or float32"


class Windows(ABC):
    """An image (h, w, c) of native pixels; ``image[top:bottom, left:right]`` reads a window of it as an array.

    Several threads may read.
    """

    shape: tuple[int, int, int]
    metadata: Metadata

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        return self.read(top, max(top, bottom), left, max(left, right))

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read a window (bottom - top, right - left, c)."""

    def close(self) -> None:  # noqa: B027 most readers hold nothing
        """Close the file."""


@final
class Fitted(Windows):
    """An image brought to the channels and the pixel type of a domain, window by window; see `kinds.fit`.

    ``identity`` is a hash of the file, by which an interrupted translation knows it again.
    """

    def __init__(self, image: Windows, domain: Domain, path: Path, identity: str) -> None:
        self.image, self.domain, self.path, self.identity = image, domain, path, identity
        self.shape, self.metadata = (*image.shape[:2], domain.bands), image.metadata
        self.may_lack = image.read(0, 1, 0, 1).dtype.kind == "f"  # only floats hold NaN

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read and fit. Raises DataError where the image is of another kind."""
        try:
            pixels = opaque(native(self.image.read(top, bottom, left, right), part=True), self.domain.reading)
            return fit(pixels, self.domain, self.metadata.stored)
        except DataError as error:
            raise DataError(f"{show(self.path)}: {error}") from error

    def without(self, top: int, bottom: int, left: int, right: int) -> np.ndarray | None:
        """Which pixels (h, w) of a window have no data; None where the file marks none."""
        return np.isnan(self.image.read(top, bottom, left, right)).any(2) if self.may_lack else None

    def close(self) -> None:
        """Close the file."""
        self.image.close()


def rows_of(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> Windows:
    """Pixels (h, w) or (h, w, c) that lie in a file from an offset on, row by row."""
    return _Rows(path, offset, shape, dtype)


@final
class _Rows(Windows):
    """Pixels that lie in a file as they are, row by row."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.metadata = (shape[0], shape[1], shape[2] if len(shape) == 3 else 1), Metadata()
        self.path, self.offset, self.dtype = path, offset, dtype

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read the part of each row, or whole rows at once."""
        _, width, channels = self.shape
        out, pixel = np.empty((bottom - top, right - left, channels), self.dtype), channels * self.dtype.itemsize
        with open(self.path, "rb", buffering=0) as file:
            for row, part in enumerate([out] if right - left == width else out):
                file.seek(self.offset + ((top + row) * width + left) * pixel)
                if file.readinto(part.data.cast("B")) != part.nbytes:
                    raise DataError("ends before its last pixel; copy or download it again")
        return out.astype(self.dtype.newbyteorder("="), copy=False)

"""Feature maps that are written and read window by window: in memory, or in a file where only the windows take memory.

Files are read and written explicitly, since mapped pages would count as memory of the process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from diptych.data.metadata import Metadata
from diptych.data.windows import Fitted, Windows
from diptych.errors import StorageError
from diptych.inference.windows import Window
from diptych.messages import show
from diptych.pixels import TORCH_DTYPES, PixelType


@final
class FeatureMap:
    """A map (1, c, h, w) that is written and read by windows; channels lie innermost, so that a row of a window is in one piece.

    With a path it lies in that file, which is made where it is missing; else in memory. Raises StorageError when the disk
    refuses.
    """

    def __init__(self, shape: torch.Size, dtype: torch.dtype, path: Path | None = None) -> None:
        _, self.channels, self.height, self.width = shape
        self.dtype, self.path = dtype, path
        self.file: BinaryIO | None = None
        self.synced = True
        self.values: Tensor | None = None
        if path is None:
            self.values = torch.empty((self.height, self.width, self.channels), dtype=dtype)
            return
        try:
            self.file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 it stays open
            self.file.truncate(shape.numel() * dtype.itemsize)
        except OSError as error:
            raise self._refused(error) from error

    def read(self, window: Window) -> Tensor:
        """Copy a window, as (1, c, h, w) with channels innermost in memory."""
        (top, bottom), (left, right) = window
        if self.values is not None:
            part = self.values[top:bottom, left:right].clone()
        else:
            part = torch.empty((bottom - top, right - left, self.channels), dtype=self.dtype)
            self._transfer(part, window, write=False)
        return part.permute(2, 0, 1)[None]

    def write(self, window: Window, x: Tensor) -> None:
        """Copy a window (1, c, h, w) to its place."""
        (top, bottom), (left, right) = window
        part = x[0].permute(1, 2, 0)
        if self.values is not None:
            self.values[top:bottom, left:right] = part
        else:
            self.synced = False
            self._transfer(part.cpu().contiguous(), window, write=True)

    def _transfer(self, part: Tensor, window: Window, write: bool) -> None:
        assert self.file is not None
        (top, bottom), (left, right) = window
        pixel = self.channels * self.dtype.itemsize
        rows = part.reshape(-1).view(torch.uint8).view(bottom - top, -1).numpy()
        full = right - left == self.width
        pieces: list[Any] = [rows.reshape(-1)] if full else list(rows)
        try:
            for row, piece in enumerate(pieces, top):
                self.file.seek((row * self.width + left) * pixel)
                left_over = memoryview(piece)
                while len(left_over):
                    count = self.file.write(left_over) if write else self.file.readinto(left_over)  # type: ignore[attr-defined]
                    if not count:
                        raise OSError(0, "the file ends too early")
                    left_over = left_over[count:]
        except OSError as error:
            raise self._refused(error) from error

    def sync(self) -> None:
        """Wait until what was written has reached the disk."""
        if self.file is not None and not self.synced:
            try:
                os.fsync(self.file.fileno())
                self.synced = True
            except OSError as error:
                raise self._refused(error) from error

    def drop(self) -> None:
        """Free the memory or remove the file."""
        self.close()
        self.values = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and keep it."""
        if self.file is not None:
            self.file.close()

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"{show(self.path or '')}: cannot be read or written ({error.strerror}); free some space and run the same command"
        )


@final
class PixelFile(Windows):
    """Native pixels (h, w, c) in a file that is written by windows, ``image[top:bottom, left:right] = pixels``, and read so.

    ``fresh`` tells that the file was not there. Raises StorageError when the disk refuses.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: PixelType) -> None:
        height, width, channels = self.shape = shape
        self.fresh, self.metadata = not path.exists(), Metadata()
        self.map = FeatureMap(torch.Size((1, channels, height, width)), TORCH_DTYPES[dtype], path)
        self.nbytes = height * width * channels * TORCH_DTYPES[dtype].itemsize

    def read(self, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """Read a window."""
        return self.map.read(((top, bottom), (left, right)))[0].permute(1, 2, 0).numpy()

    def __setitem__(self, key: tuple[slice, slice], pixels: np.ndarray) -> None:
        (top, bottom, _), (left, right, _) = (part.indices(size) for part, size in zip(key, self.shape, strict=False))
        self.map.write(((top, bottom), (left, right)), torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])

    def sync(self) -> None:
        """Wait until what was written has reached the disk."""
        self.map.sync()

    def close(self) -> None:
        """Close the file and keep it."""
        self.map.close()


Source = Shaped[np.ndarray, "h w c"] | Fitted
"""Native pixels of an image to translate, in memory, mapped from a file, or read in windows."""

Target = Shaped[np.ndarray, "h w d"] | PixelFile
"""The place for the native pixels of a translation."""


@final
class Moments:
    """Mean and variance of every channel of a map, merged in float64 from its windows (Chan, Golub and LeVeque 1983)."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.squares = torch.zeros(channels, dtype=torch.float64)  # sums of squared differences to the mean

    def add(self, x: Tensor) -> None:
        """Take in a window (1, c, h, w)."""
        pixels = x[0].permute(1, 2, 0).flatten(0, 1)
        for block in pixels.split(max(1, 2**16 // pixels.shape[1])):  # float64 copies that stay in the cache
            exact = block.to(torch.float64, copy=True)
            mean = exact.mean(0)
            squares = exact.sub_(mean).square_().sum(0)
            self._merge(len(block), mean.cpu(), squares.cpu())

    def _merge(self, count: int, mean: Tensor, squares: Tensor) -> None:
        total, difference = self.count + count, mean - self.mean
        self.squares += squares + difference.square() * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """The biased variance, by which norms divide."""
        return self.squares / self.count

    def state(self) -> dict[str, int | Tensor]:
        """What `restored` makes moments of."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    @classmethod
    def restored(cls, state: dict[str, int | Tensor]) -> Moments:
        """Moments from their state."""
        moments = cls(len(state["mean"]))  # type: ignore[arg-type]
        moments.count, moments.mean, moments.squares = state["count"], state["mean"].clone(), state["squares"].clone()  # type: ignore[assignment, union-attr]
        return moments

"""Keep decoded images in one block of bytes, each at a place that is known before any is read.

The block is a file that several processes map, or memory of the device that trains. Asking for an image gives a view of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import accumulate
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from diptych.data.augment import resized
from diptych.data.census import Census
from diptych.data.datasets import DataConfig, Opened, Source
from diptych.errors import DataError, StorageError
from diptych.pixels import TORCH_DTYPES
from diptych.settings import sides

ALIGNMENT = 64  # bytes: any pixel type may begin there
PRESENT = 1 << 32  # set beside every checksum, so that the zeros of a new file are not taken for one


class Slots:
    """The shape and place of each image at the size in which it is kept: those of a first, then those of b."""

    def __init__(self, census: Census, config: DataConfig, sizes: list[tuple[int, int]]) -> None:
        counts = len(census.split.a), len(census.split.b)
        channels = [census.a.bands] * counts[0] + [census.b.bands] * counts[1]
        types = [TORCH_DTYPES[census.a.dtype]] * counts[0] + [TORCH_DTYPES[census.b.dtype]] * counts[1]
        self.counts, self.types = counts, types
        resizing = config.resize, config.load_size, config.crop_size
        self.shapes = [(c, *resized(height, width, *resizing)) for c, (height, width) in zip(channels, sizes, strict=True)]
        lengths = [c * h * w * kind.itemsize for (c, h, w), kind in zip(self.shapes, types, strict=True)]
        self.starts = list(accumulate((-(-length // ALIGNMENT) * ALIGNMENT for length in lengths), initial=0))
        self.stops = [start + length for start, length in zip(self.starts, lengths, strict=False)]

    @classmethod
    def of(cls, census: Census, config: DataConfig) -> Slots | None:
        """Lay out the slots of a census; None where they depend on sizes that it does not hold."""
        square = sides(config.load_size) if config.resize == "square" else None
        sizes = [square or census.sizes.get(ref) for ref in (*census.split.a, *census.split.b)]
        known = [size for size in sizes if size]
        return cls(census, config, known) if len(known) == len(sizes) else None

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def nbytes(self) -> int:
        """Bytes of all slots together."""
        return self.starts[-1]

    def number(self, side: int, index: int) -> int:
        """Return the slot of an image."""
        return side * self.counts[0] + index

    def bytes_of(self, slot: int, data: UInt8[Tensor, " n"]) -> UInt8[Tensor, " m"]:
        """Return the bytes of a slot."""
        return data[self.starts[slot] : self.stops[slot]]

    def view(self, slot: int, data: UInt8[Tensor, " n"]) -> Shaped[Tensor, "c h w"]:
        """Return the bytes of a slot as the image that lies there."""
        return self.bytes_of(slot, data).view(self.types[slot]).view(self.shapes[slot])


class Mapped:
    """Keeps images in a file that every process maps; the first process that needs one reads it from ``source``.

    Nothing is locked, as every process would write the same bytes. A slot counts only after its checksum was seen to match:
    one that a crash left half-written, or that another process writes at this moment, is read from the source again. The file is
    ``size_for`` bytes long and begins as zeros. Raises StorageError when it cannot be mapped.
    """

    resident = False

    def __init__(self, source: Source, slots: Slots, path: str | Path) -> None:
        self.source, self.slots, self.path = source, slots, path
        try:
            whole = np.memmap(path, np.uint8, "r+", shape=(self.size_for(slots),))
        except (OSError, ValueError) as error:
            raise StorageError(f"{path}: cannot be mapped ({error}); choose --cache ram or off") from error
        self._sums = whole[: 8 * len(slots)].view(np.uint64)
        self._data = torch.from_numpy(whole[-slots.nbytes :])
        self._seen = np.zeros(len(slots), bool)  # by this process, to match its checksum

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a new process map the file itself."""
        return Mapped, (self.source, self.slots, self.path)

    @staticmethod
    def size_for(slots: Slots) -> int:
        """Count the bytes of the file: a checksum for each slot, then the slots."""
        return -(-8 * len(slots) // ALIGNMENT) * ALIGNMENT + slots.nbytes

    def image(self, side: int, index: int, opened: Opened) -> Shaped[Tensor, "c h w"]:
        """See Source."""
        slot = self.slots.number(side, index)
        kept = self.slots.view(slot, self._data)
        if self._seen[slot] or (self._sums[slot] and self._sums[slot] == self._sum(slot)):
            self._seen[slot] = True
            return kept
        pixels = self.source.image(side, index, opened)
        if pixels.shape == kept.shape:  # unless the image file has changed its size since the census
            kept.numpy()[:] = pixels.numpy()
            self._sums[slot] = self._sum(slot)
            self._seen[slot] = True
        return pixels

    def _sum(self, slot: int) -> int:
        return PRESENT | zlib.crc32(self.slots.bytes_of(slot, self._data).numpy().data)


class Resident:
    """Keeps all images in the memory of a device, read beforehand; one that could not be read is tried again when needed."""

    resident = True

    def __init__(
        self, source: Source, slots: Slots, device: torch.device, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self.source, self.slots, self.device = source, slots, device
        self._data = torch.empty(slots.nbytes, dtype=torch.uint8, device=device)
        self._there = np.zeros(len(slots), bool)
        total = max(slots.counts)
        with ThreadPool(torch.get_num_threads()) as pool:  # decoders release the GIL
            for done, found in enumerate(pool.imap(self._read, range(total), chunksize=4), start=1):
                for slot, pixels in found:
                    self._keep(slot, pixels)
                if on_progress:
                    on_progress(done, total)

    def image(self, side: int, index: int, opened: Opened) -> Shaped[Tensor, "c h w"]:
        """See Source."""
        slot = self.slots.number(side, index)
        if self._there[slot]:
            return self.slots.view(slot, self._data)
        return self.source.image(side, index, opened).to(self.device)

    def _read(self, index: int) -> list[tuple[int, Tensor]]:
        """Read those of the two images of one index that can be read."""
        opened: Opened = {}
        found = []
        for side, count in enumerate(self.slots.counts):
            try:
                if index < count:
                    found.append((self.slots.number(side, index), self.source.image(side, index, opened)))
            except DataError:  # the error is raised when a sample needs the image
                continue
        return found

    def _keep(self, slot: int, pixels: Tensor) -> None:
        kept = self.slots.view(slot, self._data)
        if pixels.shape == kept.shape:
            kept.copy_(pixels)
            self._there[slot] = True

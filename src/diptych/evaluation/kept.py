"""What meters keep of every image, in a few large arrays."""

from __future__ import annotations

import numpy as np

ROWS = 1024  # of an array


class KeptRows:
    """Rows of numbers of one shape and type, one for each image, that come batch by batch.

    They are copied into large arrays. A small array for each image would lie between the pixels of two images and keep the memory
    of these from being used again, so that an evaluation would grow with the size of its images.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: np.ndarray) -> None:
        """Keep a copy of the rows of a batch, an array (n, ...)."""
        for row in rows:
            if self._count % ROWS == 0:
                self._blocks.append(np.empty((ROWS, *row.shape), row.dtype))
            self._blocks[-1][self._count % ROWS] = row
            self._count += 1

    def joined(self) -> np.ndarray:
        """All rows in one array (n, ...). Raises ValueError where there are none."""
        if not self._blocks:
            raise ValueError("no rows were kept")
        *full, last = self._blocks
        return np.concatenate([*full, last[: (self._count - 1) % ROWS + 1]])  # what was never written takes no memory

    def take(self) -> np.ndarray:
        """All rows in one array (n, ...), which are then no longer kept here. Raises ValueError where there are none."""
        joined = self.joined()
        self._blocks, self._count = [], 0
        return joined

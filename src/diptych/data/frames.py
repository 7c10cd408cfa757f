"""Bring the two images of a pair to one size, before anything else is done with them: by resizing, cutting or padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diptych.data.augment import resize

Fitting = Literal["none", "resize", "crop", "pad"]
FITTINGS: tuple[Fitting, ...] = ("none", "resize", "crop", "pad")


@dataclass(frozen=True)
class Frame:
    """What is taken of an image: it becomes ``height`` x ``width``.

    ``how`` is ``resize``; ``window``, which begins at (top, left) of the image and repeats the image's edges where it reaches
    beyond them; or ``nearest``, which resizes without mixing classes.
    """

    how: Literal["resize", "nearest", "window"]
    height: int
    width: int
    top: int = 0
    left: int = 0

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Take the frame of an image (h, w, c)."""
        if self.how != "window":
            return resize(pixels, self.height, self.width, nearest=self.how == "nearest")
        rows, columns = (
            (start + np.arange(length)).clip(0, extent - 1)
            for start, length, extent in zip((self.top, self.left), (self.height, self.width), pixels.shape, strict=False)
        )
        return np.ascontiguousarray(pixels[rows[:, None], columns])


def common_frames(
    a: tuple[int, int], b: tuple[int, int], how: Fitting, nearest: tuple[bool, bool] = (False, False)
) -> tuple[Frame | None, Frame | None]:
    """The frames that bring images of two sizes (h, w) to one; None where an image has that size already.

    ``resize`` brings b to the size of a; ``crop`` cuts both to the middle that they have in common; ``pad`` repeats the edges of
    both up to the larger height and width, with the images in the middle. ``nearest`` says which sides hold labels.
    """
    if how == "none" or a == b:
        return None, None
    if how == "resize":
        return None, Frame("nearest" if nearest[1] else "resize", *a)
    choose = min if how == "crop" else max
    height, width = choose(a[0], b[0]), choose(a[1], b[1])

    def middle(size: tuple[int, int]) -> Frame | None:
        if size == (height, width):
            return None
        return Frame("window", height, width, (size[0] - height) // 2, (size[1] - width) // 2)

    return middle(a), middle(b)

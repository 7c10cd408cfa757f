"""Contact sheets: one picture that shows images side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from diptych.files import write_atomic
from diptych.pixels import to_rgb8

GAP, BAR = 4, 18
SURROUND, TITLE = (104, 104, 104), "white"  # legible on light and dark pages; a neutral grey does not tint what one sees
Column = tuple[str, list[Tensor]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sheet:
    """A contact sheet as the bytes of a PNG; notebooks show it."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: str | Path) -> None:
        """Write the PNG file. Raises StorageError when the disk refuses."""
        write_atomic(Path(path), self.png)


def contact_sheet(columns: list[Column]) -> bytes:
    """A PNG with one column for each list of images, under its title. Images are (1, c, h, w) in [-1, 1]."""
    cells = [(title, [to_rgb8(x.float())[0].permute(1, 2, 0).numpy() for x in images]) for title, images in columns]
    width = max(pixels.shape[1] for _, column in cells for pixels in column) + GAP
    height = max(pixels.shape[0] for _, column in cells for pixels in column) + GAP
    canvas = Image.new("RGB", (width * len(cells) + GAP, BAR + height * max(len(column) for _, column in cells)), SURROUND)
    pen = ImageDraw.Draw(canvas)
    for x, (title, column) in enumerate(cells):
        pen.text((x * width + GAP, 2), title, fill=TITLE)
        for y, pixels in enumerate(column):
            canvas.paste(Image.fromarray(pixels), (x * width + GAP, BAR + y * height))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def spread(items: Sequence[Item], wanted: int) -> list[Item]:
    """Up to ``wanted`` of the items, evenly spaced, with the first and the last among them."""
    places = torch.linspace(0, len(items) - 1, min(len(items), wanted))
    return [items[i] for i in places.round().int().tolist()]

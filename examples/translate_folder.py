"""Translate a folder of images with a trained snapshot, and put each result beside its input on one contact sheet.

    python examples/translate_folder.py runs/horses/snapshot.safetensors photos/ sheet.png
For the translated files alone, `diptych translate` is enough.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from diptych import DataError, Translator
from diptych.data.listing import find_images

CELL = 256


def cell(pixels: np.ndarray) -> Image.Image:
    """An image on a white square, its shape kept."""
    return ImageOps.pad(Image.fromarray(pixels), (CELL, CELL), color="white")


def main(snapshot: str, folder: str, sheet: str) -> None:
    """One row for each image: input, output."""
    translate = Translator.load(snapshot, "a2b", device="auto")
    rows = []
    for path in find_images(folder):
        try:
            given = np.asarray(Image.open(path).convert("RGB"))
            rows.append((cell(given), cell(translate(given))))
        except (OSError, DataError) as error:
            print(f"{path}: left out, {error}", file=sys.stderr)
    canvas = Image.new("RGB", (2 * CELL, CELL * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            canvas.paste(image, (x * CELL, y * CELL))
    canvas.save(sheet)
    print(f"{len(rows)} images on {Path(sheet).resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""Show what methods make of the same held-out images. Usage: sheets.py OUT NAME=RUN [NAME=RUN ...]

RUN is a run folder, such as those of `diptych bench`; the test images are those of the first. OUT gets NAME.jpg for each method,
six images above their translations, and all.jpg, a row for each method below the inputs. Networks see images of the size that they
were trained at; they are shown at 256 px, enlarged by Lanczos' filter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from diptych import Recipe, Translator
from diptych.data.datasets import view
from diptych.data.folders import find_data
from diptych.sheets import spread

SHOWN, SIDE, GAP = 6, 256, 4


def held_out(run: Path, translate: Translator) -> list[np.ndarray]:
    """Native pixels (h, w, c) of six test images of the source, evenly chosen, at the size of the training."""
    recipe = Recipe.load(run / "recipe.json")
    test = find_data(recipe.data.source, paired=recipe.method.paired, layout=recipe.data.layout).test
    assert test is not None, f"{run}: its data has no test images"
    refs = spread(recipe.data.oriented(test).a, SHOWN)
    return [view(ref, translate.source, recipe.data).permute(1, 2, 0).numpy() for ref in refs]


def row(images: list[np.ndarray]) -> Image.Image:
    """Images beside each other, each 256 px wide and high."""
    whole = Image.new("RGB", (len(images) * (SIDE + GAP) - GAP, SIDE), "white")
    for column, image in enumerate(images):
        shown = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        whole.paste(shown, (column * (SIDE + GAP), 0))
    return whole


def below(rows: list[Image.Image]) -> Image.Image:
    """Rows below each other."""
    whole = Image.new("RGB", (rows[0].width, len(rows) * (SIDE + GAP) - GAP), "white")
    for place, line in enumerate(rows):
        whole.paste(line, (0, place * (SIDE + GAP)))
    return whole


def main() -> None:
    out, runs = Path(sys.argv[1]), dict(word.split("=", 1) for word in sys.argv[2:])
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Image.Image] = []
    inputs: list[np.ndarray] = []
    for name, folder in runs.items():
        translate = Translator.load(Path(folder) / "snapshot.safetensors", device="cpu")
        inputs = inputs or held_out(Path(folder), translate)
        rows = rows or [row(inputs)]
        rows.append(row([translate(image) for image in inputs]))
        below([rows[0], rows[-1]]).save(out / f"{name}.jpg", quality=85)
    below(rows).save(out / "all.jpg", quality=85)


if __name__ == "__main__":
    main()

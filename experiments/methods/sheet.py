"""Show what methods make of the same held-out images. Usage: sheet.py OUT.jpg RUN [RUN ...]

RUN is a run folder, such as those of `diptych bench`; the test images are those of the first. The first row has five of them,
evenly chosen, and each row below is what one run makes of them. Networks see images of the size that they were trained at; all
are shown at 256 px, enlarged by Lanczos' filter.
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

SHOWN, SIDE, GAP = 5, 256, 4


def held_out(run: Path, translate: Translator) -> list[np.ndarray]:
    """Native pixels (h, w, c) of test images of the source, at the size of the training."""
    recipe = Recipe.load(run / "recipe.json")
    test = find_data(recipe.data.source, paired=recipe.method.paired, layout=recipe.data.layout).test
    assert test is not None, f"{run}: its data has no test images"
    refs = spread(recipe.data.oriented(test).a, SHOWN)
    return [view(ref, translate.source, recipe.data).permute(1, 2, 0).numpy() for ref in refs]


def main() -> None:
    out, runs = Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]]
    rows: list[list[np.ndarray]] = []
    for run in runs:
        translate = Translator.load(run / "snapshot.safetensors", device="cpu")
        rows = rows or [held_out(run, translate)]
        rows.append([translate(image) for image in rows[0]])
    step = SIDE + GAP
    whole = Image.new("RGB", (SHOWN * step - GAP, len(rows) * step - GAP), "white")
    for y, images in enumerate(rows):
        for x, image in enumerate(images):
            whole.paste(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS), (x * step, y * step))
    whole.save(out, quality=85)


if __name__ == "__main__":
    main()

"""Put the last previews of several trainings under one another: inputs, what each made of them, and the truth of pairs.

    python experiments/methods/previews.py OUT.jpg runs/dclgan runs/santa ...

All trainings must have held out the same images, and each is shown by its newest preview-*.png, whose tiles are enlarged to
256 pixels by Lanczos' filter.
"""

import sys
from pathlib import Path

from PIL import Image

TILE, GAP, TITLES, SIDE = 128, 4, 18, 256


def columns(run: Path) -> list[list[Image.Image]]:
    """The columns of the newest preview of a run: inputs, outputs, and what else it shows."""
    sheet = Image.open(max(run.glob("preview-*.png"))).convert("RGB")
    places = range(GAP, sheet.width - TILE + 1, TILE + GAP), range(TITLES, sheet.height - TILE + 1, TILE + GAP)
    return [[sheet.crop((x, y, x + TILE, y + TILE)) for y in places[1]] for x in places[0]]


out, *runs = (Path(name) for name in sys.argv[1:])
found = [columns(run) for run in runs]
rows = [found[0][0], *(columns[1] for columns in found)]
if len(found[0]) == 3:  # pairs
    rows.append(found[0][2])
picture = Image.new("RGB", (len(rows[0]) * (SIDE + GAP) - GAP, len(rows) * (SIDE + GAP) - GAP), "white")
for row, images in enumerate(rows):
    for column, image in enumerate(images):
        picture.paste(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (column * (SIDE + GAP), row * (SIDE + GAP)))
picture.save(out, quality=82)

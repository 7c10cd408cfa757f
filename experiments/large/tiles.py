"""What ways to translate an image in pieces do to a real generator: their difference to the whole image, and their seams.

    python experiments/large/tiles.py SNAPSHOT IMAGE [--direction a2b] [--crop TOP LEFT HEIGHT WIDTH] [--pictures DIR]

Height and width of the crop are multiples of 256, the side of the tiles. The ways are

tiles           each tile alone
overlap 96      each tile with 96 pixels around it, cut off afterwards
KIN             statistics of each tile, smoothed over 3 x 3 tiles (Ho et al. 2022, arXiv 2208.08739; here with a constant kernel)
interpolated    statistics of each tile, interpolated for each pixel between the centres of tiles (Ho et al. 2024, as in their
                Dense Normalization, arXiv 2407.04245)
sampled         the statistics of some windows together, then windows with margins (`--sample-norms`)
stages          the statistics of the whole image (`diptych translate`)

Errors are absolute differences to the whole image in one call, in levels of 255. The seam error is how much the step from the
last pixel of a tile to the first of the next one differs from the same step in the whole image.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from diptych.data.formats import read_pixels
from diptych.inference.translator import Translator
from diptych.nets.fixed_norm import measuring_norms, with_norms
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

TILE, OVERLAP = 256, 96


class GridNorm(nn.Module):
    """A norm of a batch that holds all tiles of an image, row by row, which joins the statistics of neighbouring tiles."""

    def __init__(self, norm: nn.Module, rows: int, columns: int, interpolate: bool) -> None:
        super().__init__()
        self.norm, self.grid, self.interpolate = norm, (rows, columns), interpolate

    @property
    def bias(self) -> Tensor | None:
        return self.norm.bias

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.grid
        variance, mean = torch.var_mean(x, (2, 3), correction=0)
        found = torch.stack([mean, variance.add(self.norm.eps).sqrt()])  # (2, tiles, c)
        grid = found.view(2, rows, columns, -1).permute(0, 3, 1, 2)  # (2, c, rows, columns)
        joined = torch.empty_like(x)
        border = F.pad(grid, (1, 1, 1, 1), mode="replicate")
        for tile in range(len(x)):
            row, column = divmod(tile, columns)
            around = border[..., row : row + 3, column : column + 3]
            if self.interpolate:  # from centre to centre, so the middle third of the enlarged neighbourhood
                high, wide = x.shape[2:]
                dense = F.interpolate(around, (3 * high, 3 * wide), mode="bilinear", align_corners=False)
                numbers = dense[..., high : 2 * high, wide : 2 * wide]
            else:
                numbers = around.mean((2, 3), keepdim=True)
            joined[tile] = (x[tile] - numbers[0]) / numbers[1]
        if self.norm.weight is not None:
            joined = joined * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]
        return joined


def tiles_of(image: np.ndarray) -> Tensor:
    """Cut an image (h, w, c) into tiles (n, c, TILE, TILE), row by row."""
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    parts = image.reshape(rows, TILE, columns, TILE, -1).transpose(0, 2, 4, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(parts.reshape(rows * columns, -1, TILE, TILE)))


def joined(tiles: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Put tiles (n, c, TILE, TILE) together to an image."""
    parts = tiles.reshape(rows, columns, -1, TILE, TILE).transpose(0, 3, 1, 4, 2)
    return parts.reshape(rows * TILE, columns * TILE, -1)


def alone(translate: Translator, image: np.ndarray, overlap: int) -> np.ndarray:
    """Translate each tile by itself, with pixels around it."""
    out = np.empty((*image.shape[:2], translate.target.channels), np.float32)
    for top in range(0, image.shape[0], TILE):
        for left in range(0, image.shape[1], TILE):
            above, before = min(top, overlap), min(left, overlap)
            part = image[top - above : top + TILE + overlap, left - before : left + TILE + overlap]
            out[top : top + TILE, left : left + TILE] = translate(np.ascontiguousarray(part))[
                above : above + TILE, before : before + TILE
            ]
    return out


def with_grid(translate: Translator, image: np.ndarray, interpolate: bool) -> np.ndarray:
    """Translate all tiles with statistics that neighbours share."""
    backend, grid = translate._torch(), (image.shape[0] // TILE, image.shape[1] // TILE)
    norms = measuring_norms(backend.net)
    net = with_norms(backend.net, lambda name, norm: GridNorm(norm, *grid, interpolate), norms)
    with torch.inference_mode():
        return joined(net(backend.source.encode(tiles_of(image))).numpy(), *grid)


def seams(out: np.ndarray, whole: np.ndarray) -> float:
    """The mean difference of steps over the borders of tiles, in levels of 255."""
    difference = (out - whole) * 127.5
    down = difference[TILE::TILE] - difference[TILE - 1 : -1 : TILE]
    across = difference[:, TILE::TILE] - difference[:, TILE - 1 : -1 : TILE]
    return float(np.abs(np.concatenate([down.ravel(), across.ravel()])).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--direction", default="a2b")
    parser.add_argument("--crop", type=int, nargs=4, metavar=("TOP", "LEFT", "HEIGHT", "WIDTH"))
    parser.add_argument("--pictures", type=Path, help="write what each way gives into this folder, as JPEG")
    parser.add_argument("--ways", nargs="+", help="only these ways")
    args = parser.parse_args()
    trained = Snapshot.load(args.snapshot)
    source, _ = trained.domains(args.direction)
    floats = Domain(trained.domains(args.direction)[1].channels, "float32", -1, 1)
    snapshot = Snapshot({"a2b": trained.generators[args.direction]}, source, floats, mode=trained.mode)
    translate = Translator(snapshot, device="cpu", dropout="position")
    image = read_pixels(args.image)
    if args.crop:
        top, left, height, width = args.crop
        image = np.ascontiguousarray(image[top : top + height, left : left + width])
    whole = translate(image)
    ways = {
        "whole": lambda: whole,
        "tiles": lambda: alone(translate, image, 0),
        "overlap 96": lambda: alone(translate, image, OVERLAP),
        "KIN": lambda: with_grid(translate, image, interpolate=False),
        "interpolated": lambda: with_grid(translate, image, interpolate=True),
        "stages": lambda: translate.by_stages(image),
    }
    if translate.mode == "eval" or not translate.depends_on_batch:
        ways["sampled"] = lambda: translate.by_windows(image)[0]
    print(f"{args.snapshot.name} {args.direction}, {image.shape[0]} x {image.shape[1]}, mode {translate.mode}")
    print(f"{'way':14} {'mean':>8} {'99 %':>8} {'greatest':>9} {'seams':>8} {'seconds':>8}   in levels of 255")
    for name, way in ((name, way) for name, way in ways.items() if not args.ways or name in args.ways):
        began = time.perf_counter()
        out = way()
        seconds = time.perf_counter() - began
        error = np.abs(out - whole) * 127.5
        numbers = f"{error.mean():8.4f} {np.quantile(error, 0.99):8.4f} {error.max():9.4f} {seams(out, whole):8.4f}"
        print(f"{name:14} {numbers} {seconds:8.1f}", flush=True)
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            pixels = Domain().decode(torch.from_numpy(out).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(args.pictures / f"{name.replace(' ', '-')}.jpg", quality=90)


if __name__ == "__main__":
    main()

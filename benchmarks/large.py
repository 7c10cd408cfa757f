"""Measure the translation of a large image by stages: peak memory, time, and the difference to the whole image and to tiles.

    python -m benchmarks.large [--net resnet_9] [--width 64] [--size 4096 3072] [--memory 1500] [--compare] [--tiles]
        [--snapshot FILE] [--image FILE]

The image is translated by stages first, so that the peak of the process's resident memory, the interpreter and libraries
included, is that of the stages. With ``--tiles`` follow tiles of 512 pixels, without overlap and with 96 pixels of it on every
side, with ``--compare`` the whole image in one call. Differences are of floats in [-1, 1]; those of tiles are in levels of 255.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from diptych.data.formats import read_pixels
from diptych.inference.large import IN_MEMORY
from diptych.inference.staged import staging_of
from diptych.inference.translator import Translator
from diptych.memory import in_words, peak_memory
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

FLOATS = Domain(3, "float32", -1, 1)  # as target, so that differences are not rounded away
TILE = 512


def untrained(name: str, width: int) -> Snapshot:
    """A generator with the papers' initial weights."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"norm": "instance"} if name.startswith("resnet") else {}
    net = initialise(generator(name, 3, 3, width=width, **options), "normal", 0.02).eval().requires_grad_(False)
    return Snapshot({"a2b": net}, Domain(), FLOATS)


def picture(height: int, width: int) -> np.ndarray:
    """Smooth random colours with some grain, (h, w, 3) of uint8."""
    torch.manual_seed(1)
    coarse = torch.rand(1, 3, max(2, height // 64), max(2, width // 64))
    out = np.empty((height, width, 3), np.uint8)
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear")[0].permute(1, 2, 0)
    for top in range(0, height, 256):
        rows = smooth[top : top + 256]
        out[top : top + 256] = ((rows + 0.05 * torch.randn(rows.shape)).clamp(0, 1) * 255).byte().numpy()
    return out


def by_tiles(translate: Translator, image: np.ndarray, overlap: int) -> np.ndarray:
    """What tiles give that are translated alone and cut back by their overlap."""
    height, width = image.shape[:2]
    out = np.empty((height, width, translate.target.channels), translate.target.dtype)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            above, before = min(top, overlap), min(left, overlap)
            tile = image[top - above : top + TILE + overlap, left - before : left + TILE + overlap]
            done = translate(np.ascontiguousarray(tile))[above : above + TILE, before : before + TILE]
            out[top : top + TILE, left : left + TILE] = done[: height - top, : width - left]
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="resnet_9", help="resnet_9, or unet_8 for the U-Net of 256 pixels")
    parser.add_argument("--width", type=int, default=64, help="channels of the first layer")
    parser.add_argument("--size", type=int, nargs=2, default=[4096, 3072], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--memory", type=int, default=1500, metavar="MB", help="what the process may hold (default: 1500)")
    parser.add_argument("--mode", choices=("eval", "paper"))
    parser.add_argument("--snapshot", type=Path, help="trained weights instead of random ones")
    parser.add_argument("--image", type=Path, help="an image instead of random colours")
    parser.add_argument("--compare", action="store_true", help="also translate the whole image in one call")
    parser.add_argument("--tiles", action="store_true", help="also translate tiles, and compare them with the stages")
    args = parser.parse_args()
    snapshot = untrained(args.net, args.width)
    if args.snapshot:
        trained = Snapshot.load(args.snapshot)
        snapshot = Snapshot(trained.generators, trained.a, FLOATS, mode=trained.mode)
    image = read_pixels(args.image) if args.image else picture(*args.size)
    how: dict[str, Any] = {"device": "cpu", "mode": args.mode, "dropout": "position"}
    translate = Translator(snapshot, **how, memory=args.memory * 10**6)
    height, width = image.shape[:2]
    print(f"{args.snapshot or args.net}, {height} x {width}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    scratch = staging_of(translate._torch(), height, width).scratch
    with tempfile.TemporaryDirectory() as folder:
        began, busy = time.perf_counter(), time.process_time()
        staged = translate.by_stages(image, scratch=Path(folder, "scratch") if scratch > IN_MEMORY else None)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    peak, allowed = in_words(peak_memory(translate.device)), in_words(args.memory * 10**6)
    print(f"by stages    {seconds:8.1f} s  peak {peak} of {allowed}  feature maps {in_words(scratch)}", flush=True)
    translate = Translator(snapshot, **how)
    if args.tiles:
        for overlap in (0, 96):
            difference = np.abs(by_tiles(translate, image, overlap) - staged)
            found = f"mean {difference.mean() * 127.5:.2f}/255  greatest {difference.max() * 127.5:.1f}/255"
            print(f"tiles, overlap {overlap:2}  difference to the stages {found}", flush=True)
    if args.compare:
        began, busy_again = time.perf_counter(), time.process_time()
        whole = translate(image)
        again, busy_again = time.perf_counter() - began, time.process_time() - busy_again
        print(
            f"whole        {again:8.1f} s  peak {in_words(peak_memory(translate.device))}  stages take {seconds / again:.2f} x, "
            f"of the processor {busy / busy_again:.2f} x  "
            f"greatest difference {np.abs(whole - staged).max():.1e} of [-1, 1]"
        )


if __name__ == "__main__":
    main()

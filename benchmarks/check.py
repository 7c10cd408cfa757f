"""Images a second of `diptych check`, beside only decoding the same files with the same threads in the same run.

    python -m benchmarks.check [FOLDER] [--images 400] [--copies 20000] [--files 10000]

Without a folder, side-by-side JPEGs of 512 x 256 pixels are made. The search for near copies is timed too, among many images that
are as different as chance makes them, and so is the quick check of many files of one size, which is its worst case.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.checkup import check, quick_check
from diptych.data.folders import Ref, Split
from diptych.data.formats import read_pixels
from diptych.data.inspection import inspect, list_data
from diptych.data.likeness import likeness, near_copies, shrunk

THREADS = os.cpu_count() or 1


def made(folder: Path, count: int) -> Path:
    """Write side-by-side pairs of smooth noise and its thresholds."""
    random = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray((random.random((24, 24, 3)) * 255).astype(np.uint8))
        photo = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC)).astype(float) + random.normal(0, 6, (256, 256, 3))
        photo = photo.clip(0, 255).astype(np.uint8)
        Image.fromarray(np.hstack([photo, (photo > 127) * np.uint8(255)])).save(folder / f"{i}.jpg", quality=90)
    return folder


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", metavar="FOLDER", type=Path, help="pairs to check instead of images that are made")
    parser.add_argument("--images", type=int, default=400, help="pairs that are made (default: 400)")
    parser.add_argument("--copies", type=int, default=20_000, help="images among which copies are searched (default: 20000)")
    parser.add_argument("--files", type=int, default=10_000, help="files of one size (default: 10000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data = args.data or made(Path(name), args.images)
        listing = list_data([data])
        paths = list(dict.fromkeys(ref.path for split in listing.splits.values() for ref in (*split.a, *split.b)))
        with ThreadPool(THREADS) as pool:
            decoding = min(seconds(lambda: pool.map(read_pixels, paths, chunksize=4)) for _ in range(3))
        looking = min(seconds(lambda: inspect(listing, threads=THREADS)) for _ in range(3))
        whole = seconds(lambda: check([data], threads=THREADS))
        print(f"{len(paths)} files, {THREADS} threads")
        print(f"decode alone {len(paths) / decoding:7.0f} files/s")
        print(f"look at all  {len(paths) / looking:7.0f} files/s, {looking / decoding:.1f} times the decoding")
        print(f"whole check  {len(paths) / whole:7.0f} files/s, {whole / decoding:.1f} times the decoding")

        random = np.random.default_rng(1)
        smalls = [Image.fromarray((random.random((6, 6, 3)) * 255).astype(np.uint8)) for _ in range(args.copies // 10)]
        found = [likeness(x, x) for x in (shrunk(np.asarray(small), 64, 64) for small in smalls)] * 10
        mixed = [type(x)(x.digest, int(random.integers(2**63)), x.colour, x.gray) for x in found]
        print(f"near copies among {len(mixed):,} images: {seconds(lambda: near_copies(mixed)):.1f} s")

        files = Path(name) / "files"
        files.mkdir()
        for i in range(args.files):
            (files / f"{i}.bmp").write_bytes(i.to_bytes(4, "little") * 10_000)
        refs = tuple(Ref(files / f"{i}.bmp") for i in range(args.files))
        a, b, c = (args.files * share // 20 for share in (9, 18, 19))
        splits = {"train": Split(refs[:a], refs[a:b], False), "test": Split(refs[b:c], refs[c:], False)}
        print(f"quick check of {args.files:,} files of one size: {seconds(lambda: quick_check(splits)):.1f} s")


if __name__ == "__main__":
    main()

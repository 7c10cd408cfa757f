"""Images a second of `diptych check`, beside only decoding the same files with the same threads in the same run.

    python benchmarks/check.py [FOLDER]       side-by-side 512 x 256 JPEG are made where no folder is given

Also the time of the search for near copies among 20,000 images that are as different as chance makes them, and of the quick
check of 10,000 files that all have one size, its worst case.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
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


def made(folder: Path, count: int = 400) -> Path:
    """Side-by-side pairs of smooth noise and its thresholds."""
    random = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray((random.random((24, 24, 3)) * 255).astype(np.uint8))
        photo = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC)).astype(float) + random.normal(0, 6, (256, 256, 3))
        photo = photo.clip(0, 255).astype(np.uint8)
        Image.fromarray(np.hstack([photo, (photo > 127) * np.uint8(255)])).save(folder / f"{i}.jpg", quality=90)
    return folder


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else made(Path(name))
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
        smalls = [Image.fromarray((random.random((6, 6, 3)) * 255).astype(np.uint8)) for _ in range(2000)]
        found = [likeness(x, x) for x in (shrunk(np.asarray(small), 64, 64) for small in smalls)] * 10
        mixed = [type(x)(x.digest, int(random.integers(2**63)), x.colour, x.gray) for x in found]
        print(f"near copies among {len(mixed):,} images: {seconds(lambda: near_copies(mixed)):.1f} s")

        files = Path(name) / "files"
        files.mkdir()
        for i in range(10_000):
            (files / f"{i}.bmp").write_bytes(i.to_bytes(4, "little") * 10_000)
        refs = tuple(Ref(files / f"{i}.bmp") for i in range(10_000))
        splits = {"train": Split(refs[:4500], refs[4500:9000], False), "test": Split(refs[9000:9500], refs[9500:], False)}
        print(f"quick check of 10,000 files of one size: {seconds(lambda: quick_check(splits)):.1f} s")


if __name__ == "__main__":
    main()

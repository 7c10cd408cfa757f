"""Translate a very large map by stages with `diptych translate`, and measure what it takes.

    python experiments/large/gigapixel.py SNAPSHOT MAP WORK [--size 8192 8192] [--memory 1500MB]

MAP is enlarged until it covers so many rows and columns, and its top left part is written into the folder WORK as a tiled TIFF,
by another process, so that its memory does not count. Then the command translates that file. Printed are its greatest resident
memory (``ru_maxrss``, which counts the pages of mapped files too), the most bytes that its scratch folder held, and its time by
the clock and of the processor in seconds. The same words again go on with a command that was interrupted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path


def make(source: Path, target: Path, height: int, width: int) -> None:
    """Write the enlarged map."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(source) as image:
        factor = max(height / image.height, width / image.width, 1)
        part = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, (0, 0, width / factor, height / factor))
    part.save(target.with_suffix(".part.tif"), tile=(256, 256), compression="tiff_lzw")
    target.with_suffix(".part.tif").replace(target)


def held(folder: Path) -> int:
    """The bytes on the disk of all hidden folders of translations in a folder."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob(".*.stages/**/*") if path.exists())


def main() -> None:
    """Run the command and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("map", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=[8192, 8192], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--memory", default="1500MB")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    source, target = args.work / "map.tif", args.work / "out" / "map.tif"
    if not source.exists():
        making = multiprocessing.get_context("spawn").Process(target=make, args=(args.map, source, *args.size))
        making.start()
        making.join()
    words = ["translate", args.snapshot, source, "--out", target.parent, "--memory", args.memory]
    words += ["--backend", "torch", "--precision", "fp32"]
    began, scratch, ended = time.monotonic(), 0, 0
    process = subprocess.Popen([sys.executable, "-m", "diptych", *map(str, words)])
    while not ended:
        time.sleep(2)
        scratch = max(scratch, held(target.parent))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    seconds, busy = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    print(f"exit code {os.waitstatus_to_exitcode(status)}; {args.size[0]} x {args.size[1]} pixels, --memory {args.memory}")
    print(f"greatest resident memory {usage.ru_maxrss * 1024 / 1e9:.2f} GB, scratch {scratch / 1e9:.1f} GB")
    print(f"{seconds:,.0f} s by the clock, {busy:,.0f} s of the processor")


if __name__ == "__main__":
    main()

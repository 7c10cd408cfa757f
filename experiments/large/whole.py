"""Translate one large picture whole and by stages with `diptych translate`, and print how far apart the two results are.

    python experiments/large/whole.py SNAPSHOT PICTURE WORK [--whole 20GB] [--stages 1500MB]

Both results are lossless TIFF files in the folder WORK. For each of the two ways the greatest resident memory (``ru_maxrss``) and
the time by the clock and of the processor are printed, then the differences of all values of the two results in levels of 255. A
result that is there already is taken as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile


def translate(snapshot: str, picture: Path, target: Path, memory: str) -> None:
    """Run the command, and print what it took."""
    words = ["translate", snapshot, picture, "--out", target, "--memory", memory, "--backend", "torch", "--precision", "fp32"]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "diptych", *map(str, words)])
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{target.stem}: exit code {os.waitstatus_to_exitcode(status)}")
    seconds, busy = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    print(
        f"{target.stem}: --memory {memory}, greatest resident memory {usage.ru_maxrss * 1024 / 1e9:.2f} GB, "
        f"{seconds:,.0f} s by the clock, {busy:,.0f} s of the processor",
        flush=True,
    )


def main() -> None:
    """Translate in both ways, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot")
    parser.add_argument("picture", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--whole", default="20GB", metavar="SIZE", help="the memory in which the picture fits whole")
    parser.add_argument("--stages", default="1500MB", metavar="SIZE", help="the memory in which it does not")
    args = parser.parse_args()
    for way, memory in (("stages", args.stages), ("whole", args.whole)):
        if not (args.work / f"{way}.tif").exists():
            translate(args.snapshot, args.picture, args.work / f"{way}.tif", memory)
    one, other = (tifffile.imread(args.work / f"{way}.tif") for way in ("stages", "whole"))
    apart = np.abs(one.astype(np.int16) - other)
    height, width = apart.shape[:2]
    print(f"{width:,} x {height:,} pixels: greatest difference {apart.max()} of 255, mean {apart.mean():.7f}, ", end="")
    print(f"{np.count_nonzero(apart):,} of {apart.size:,} values differ")


if __name__ == "__main__":
    main()

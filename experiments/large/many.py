"""Translate a folder of very many small files, kill the command again and again, and count what is there at the end.

    python experiments/large/many.py WORK [--files 200000] [--done 198000] [--kills 3] [--every 120 | --within 60]

WORK is an empty folder. Inputs are links to 100 small pictures and the network is tiny, so that what is measured is everything
around it. The command is ended by SIGKILL every so many seconds after its first result, or at a random instant within so many
seconds of its start, as often as asked for, and given again. With ``--done``, so many of the results are links to translations of
the 100 pictures from the beginning, with their lines in the record. Printed are the resident memory along the way, the seconds
from each start to its first new result, and at the end the results that are missing, and those that were finished twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot


def prepare(work: Path, files: int) -> None:
    """Make the pictures, the links to them in folders of 1,000, and a snapshot."""
    noise = np.random.default_rng(0)
    (work / "pictures").mkdir(parents=True)
    for number in range(100):
        Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(work / "pictures" / f"{number}.png")
    for number in range(files):
        folder = work / "in" / f"{number // 1000:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(work / "pictures" / f"{number % 100}.png", folder / f"{number % 1000:03d}.png")
    torch.manual_seed(0)
    net = initialise(generator("resnet_0", 3, 3, width=2, norm="instance"), "normal", 0.02).eval()
    Snapshot({"a2b": net}, Domain(), Domain()).save(work / "tiny.safetensors")


def fill(work: Path, done: int) -> None:
    """Translate the pictures, and link the results and write their lines as if so many files had been translated."""
    subprocess.run(command(work, work / "pictures", work / "made"), check=True)
    record = work / "made" / ".diptych-translations.jsonl"
    made = [json.loads(line) for line in record.read_text().splitlines()]
    lines = {Path(line["output"]).stem: line for line in made if "output_sha256" in line}
    (work / "out").mkdir()
    with open(work / "out" / record.name, "w") as file:
        for number in range(done):
            name, line = f"{number // 1000:04d}/{number % 1000:03d}.png", lines[str(number % 100)]
            (work / "out" / name).parent.mkdir(exist_ok=True)
            os.link(work / "made" / line["output"], work / "out" / name)
            file.write(json.dumps({**line, "output": name, "input": str(work / "in" / name)}) + "\n")


def command(work: Path, given: Path, out: Path) -> list[str]:
    """The words of the command."""
    words = ["translate", work / "tiny.safetensors", given, "--out", out, "--backend", "torch", "--precision", "fp32"]
    return [sys.executable, "-m", "diptych", *map(str, words)]


def finished(work: Path) -> Counter[str]:
    """How often each result was finished, by the record of the folder."""
    counts: Counter[str] = Counter()
    for path in (work / "out").glob(".diptych-translations*.jsonl"):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            counts[entry["output"]] += "output_sha256" in entry
    return counts


def resident(process: subprocess.Popen[bytes]) -> int:
    """Megabytes that a process holds now."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1000 for line in lines if line.startswith("VmRSS:")), 0)


def lines_of(work: Path) -> int:
    """The lines of the record so far: two for each result that the command made."""
    path, count = work / "out" / ".diptych-translations.jsonl", 0
    if path.exists():
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                count += chunk.count(b"\n")
    return count


def run(work: Path, seconds: float | None, *, from_start: bool = False) -> bool:
    """Run the command, until it ends or is killed after so many seconds from its first result, or from its start.

    Returns whether it ended.
    """
    began, before = time.monotonic(), lines_of(work)
    process = subprocess.Popen(command(work, work / "in", work / "out"), stderr=subprocess.DEVNULL)
    first, told = 0.0, 0.0
    while process.poll() is None:
        time.sleep(0.5)
        now = time.monotonic()
        if not first and lines_of(work) > before + 2:
            first = now
            print(f"first new result after {first - began:.1f} s, {resident(process)} MB", flush=True)
        if first and now - told > 30:
            told = now
            print(f"  {lines_of(work):,} lines of the record, {resident(process)} MB", flush=True)
        since = began if from_start else first
        if since and seconds is not None and now - since > seconds:
            process.kill()
            process.wait()
            print(f"killed after {now - began:.1f} s at {lines_of(work):,} lines of the record", flush=True)
            return False
    return process.returncode == 0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--every", type=float, default=120.0, help="seconds from the first result to a kill")
    parser.add_argument("--within", type=float, help="seconds from the start; a kill comes at a random instant of them")
    parser.add_argument("--done", type=int, default=0)
    args = parser.parse_args()
    if not (args.work / "tiny.safetensors").exists():
        prepare(args.work, args.files)
        if args.done:
            fill(args.work, args.done)
    began, chance = time.monotonic(), random.Random(0)
    for _ in range(args.kills):
        if run(args.work, chance.uniform(0, args.within) if args.within else args.every, from_start=bool(args.within)):
            break
    ended = run(args.work, None)
    there = sum(1 for _ in (args.work / "out").rglob("*.png"))
    counts = finished(args.work)
    twice, missing = sum(count > 1 for count in counts.values()), args.files - sum(count > 0 for count in counts.values())
    remains = sum(1 for _ in (args.work / "out").rglob(".*.tmp"))
    print(
        f"ended well: {ended}; {there:,} results, {missing} missing, {twice} finished twice, {remains} temporary files are left"
    )
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

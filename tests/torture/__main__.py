"""`make torture`: every promise of docs/reliability.md put to its test, for hours, by a seed, and resumable.

Each part is a function that tries once and returns what went wrong, or nothing. Results are lines of runs/torture/SEED.jsonl; the
same command goes on after the last one. At the end comes a table. `make torture ONLY=R7 TRIALS=20` tries less.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.torture.parts import PARTS, Part


def main() -> int:
    p = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__.splitlines()[0])
    p.add_argument("--only", default="", help="parts, such as R2,R7 (default: all)")
    p.add_argument("--trials", type=int, help="trials of each part (default: those of the plan)")
    p.add_argument("--seed", type=int, default=20261126)
    p.add_argument("--out", type=Path, default=Path("runs/torture"))
    args = p.parse_args()
    names = [name for name in args.only.split(",") if name] or list(PARTS)
    names = [each for name in names for each in (PARTS if name == "L6" else [name]) if name != "L6" or each.startswith("L6-")]
    if unknown := [name for name in names if name not in PARTS]:
        p.error(f"there is no part {unknown[0]}; parts are {', '.join(PARTS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    notes = args.out / f"{args.seed}.jsonl"
    for name in names:
        run(name, PARTS[name], args.trials or PARTS[name].trials, args.seed, notes)
    return table(names, notes)


def run(name: str, part: Part, trials: int, seed: int, notes: Path) -> None:
    """Try what was not tried yet; each trial has a random generator and a folder of its own."""
    done = {line["trial"] for line in lines(notes) if line["part"] == name}
    for trial in range(trials):
        if trial in done:
            continue
        folder, began = Path(tempfile.mkdtemp(prefix=f"torture-{name}-")), time.monotonic()
        try:
            wrong = part.attempt(random.Random(f"{seed} {name} {trial}"), folder)
        except Exception:
            wrong = traceback.format_exc()
        shutil.rmtree(folder, ignore_errors=True)
        line = {"part": name, "trial": trial, "wrong": wrong or "", "seconds": round(time.monotonic() - began, 2)}
        with notes.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{name} {trial + 1}/{trials} {'held' if not wrong else 'BROKEN: ' + wrong}", file=sys.stderr, flush=True)


def lines(notes: Path) -> list[dict]:
    """What was tried so far; a line that a kill tore is tried again."""
    found = []
    for text in notes.read_text().splitlines() if notes.exists() else ():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def table(names: list[str], notes: Path) -> int:
    """Print a row for each part; return 1 when anything was broken."""
    print("| part | promise | held | minutes |\n| --- | --- | --- | --- |")
    broken = 0
    for name in names:
        tried = [line for line in lines(notes) if line["part"] == name]
        held = sum(not line["wrong"] for line in tried)
        broken += len(tried) - held
        minutes = sum(line["seconds"] for line in tried) / 60
        print(f"| {name} | {PARTS[name].promise} | {held} of {len(tried)} | {minutes:.1f} |")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())

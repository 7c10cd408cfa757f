"""How fast a training step is beside the published order of operations: `python -m benchmarks.step`, from the repository.

A plain implementation (benchmarks/plain.py: fp32, eager, separate calls) and diptych's own step take turns in one process, from
equal weights on equal images; each counts with its fastest round, as other work on a machine only ever adds time. Beside the
images a second stand peak memory, each in a fresh process, and the share of what a large matrix product reaches in the same
precision and run. Before that, both must compute the same: in float64 every loss of the third step within 1e-5. (In fp32, where
Adam's first steps turn the rounding of gradients near zero into whole steps, the difference is printed for the first step.)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain import PLAIN, plain_layers
from diptych.device import peak_memory, pick_device, pick_precision, resident_memory
from diptych.methods import Batch, Method
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.recorded import RecordedStep
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

CASES = {  # method, pixels, images: what a CPU does in minutes, and everything
    "cpu": [("cyclegan", 128, 1), ("cyclegan", 128, 4), ("cyclegan", 256, 1), *(("pix2pix", 256, n) for n in (1, 4, 16))],
    "cuda": [(method, size, n) for method in PLAIN for size in (128, 256) for n in (1, 4, 16)],
}
AGREE = 1e-5


@dataclass(frozen=True)
class Case:
    """One row: both published methods at their published widths, but for dropout, whose chances two programs do not share."""

    method: str
    size: int
    batch: int
    precision: str
    device: torch.device
    compiled: bool = False
    checkpoint: bool = False
    dtype: torch.dtype = torch.float32

    def recipe(self) -> Recipe:
        settings = {"dropout": False} if self.method == "pix2pix" else {}
        train = {"precision": self.precision, "batch_size": self.batch, "checkpoint": self.checkpoint}
        return Recipe.create(self.method, {"method": settings, "train": train})

    def build(self) -> Method:
        torch.manual_seed(0)
        return self.recipe().method.build(Domain(), Domain(), self.size).to(self.device, self.dtype)

    def images(self, seed: int = 0) -> Batch:
        random = torch.Generator().manual_seed(seed)
        shape = self.batch, 3, self.size, self.size
        return Batch(*(torch.rand(shape, generator=random).to(self.device, self.dtype) * 2 - 1 for _ in "ab"))

    def plain(self) -> Callable[[Batch], dict[str, torch.Tensor]]:
        step = PLAIN[self.method](plain_layers(self.build()))
        return lambda batch: step.step(*batch)

    def ours(self) -> tuple[Trainee, Callable[[Batch], None]]:
        trainee = Trainee(self.build(), self.recipe(), self.device, World(), compiled=self.compiled)
        recorded = RecordedStep(trainee) if self.device.type == "cuda" else None

        def step(batch: Batch) -> None:
            (recorded or (lambda b: train_step(trainee, b)))(batch)
            trainee.guard.read(1, [])

        return trainee, step

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def disagreement(case: Case, steps: int) -> float:
    """The greatest relative difference of a loss in the last of some steps."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    plain, (trainee, ours) = case.plain(), case.ours()
    for seed in range(steps):
        expected = {name: float(value.detach()) for name, value in plain(case.images(seed)).items()}
        trainee.stats.clear()
        ours(case.images(seed))
    found = trainee.stats.read(World())
    assert found.keys() == expected.keys()
    return max(abs(found[name] - value) / abs(value) for name, value in expected.items())


def fastest(case: Case, seconds: float) -> tuple[float, float]:
    """Seconds of a plain and of diptych's step, in turns until the time is over, three rounds at least after two to warm up."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # plain is what users run
    plain, (_, ours) = case.plain(), case.ours()
    best, batch = [float("inf"), float("inf")], case.images()
    few = 1 if case.device.type == "cpu" else 10  # steps a round
    rounds, began = 0, time.perf_counter()
    while rounds < 5 or time.perf_counter() - began < seconds:
        for who, step in enumerate((plain, ours)):
            case.wait()
            start = time.perf_counter()
            for _ in range(few):
                step(batch)
            case.wait()
            if rounds > 1:
                best[who] = min(best[who], (time.perf_counter() - start) / few)
        rounds += 1
    return best[0], best[1]


def operations(case: Case) -> int:
    """Floating-point operations of diptych's step: two for each multiplication and addition of its convolutions and products."""
    trainee, _ = case.ours()
    with FlopCounterMode(display=False) as counter:
        train_step(trainee, case.images())
    return counter.get_total_flops()


def matmul_peak(device: torch.device, precision: str) -> float:
    """Operations a second of a large matrix product, at best."""
    side = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x, y = (torch.randn(side, side, device=device).to(dtype) for _ in "xy")
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        x @ y
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def peak(case: Case, who: str) -> int:
    """Bytes that two steps take at most in this process, which should be fresh, beyond what it held before."""
    before = resident_memory() if case.device.type == "cpu" else 0
    step = case.plain() if who == "plain" else case.ours()[1]
    for _ in range(2):
        step(case.images())
    case.wait()
    return (peak_memory(case.device) if case.device.type == "cpu" else torch.cuda.max_memory_allocated()) - before


def peaks(case: Case, words: list[str]) -> tuple[int, int]:
    """Peak memory of plain and diptych, each in a process of its own."""
    row = f"{case.method},{case.size},{case.batch}"
    command = [sys.executable, "-m", "benchmarks.step", *words, "--peak-of", row, "--peak"]
    found = [subprocess.run([*command, who], stdout=subprocess.PIPE, text=True, check=True).stdout for who in ("plain", "ours")]
    return int(found[0]), int(found[1])


def main() -> None:
    """Print one table, and write it as JSON where asked."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    p.add_argument("--case", action="append", metavar="METHOD,SIZE,BATCH", help="only these, such as cyclegan,128,1")
    p.add_argument("--seconds", type=float, default=30.0, help="for the rounds of each row (default: 30)")
    p.add_argument("--compile", action="store_true", help="diptych's networks compiled")
    p.add_argument("--checkpoint", action="store_true", help="diptych's activations recomputed")
    p.add_argument("--json", type=Path)
    p.add_argument("--peak", choices=("plain", "ours"), help=argparse.SUPPRESS)
    p.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = p.parse_args()
    device = pick_device(args.device)
    precision = pick_precision(args.precision, device)

    def case_of(method: str, size: str | int, batch: str | int) -> Case:
        return Case(method, int(size), int(batch), precision, device, args.compile, args.checkpoint)

    if args.peak:
        print(peak(case_of(*args.peak_of.split(",")), args.peak))
        return
    words = ["--device", args.device, "--precision", precision]
    words += ["--compile"] * args.compile + ["--checkpoint"] * args.checkpoint
    cases = [case_of(*row.split(",")) for row in args.case or []] or [case_of(*row) for row in CASES[device.type]]
    for method in dict.fromkeys(case.method for case in cases):
        small = Case(method, 64 if method == "cyclegan" else 256, 1, "fp32", device)
        first, third = disagreement(small, 1), disagreement(replace(small, dtype=torch.float64), 3)
        print(f"{method}: losses differ by {first:.1e} in the first step (fp32), by {third:.1e} in the third (float64)")
        if third > AGREE:
            sys.exit(f"more than {AGREE:g}: not the same computation")
    ceiling = matmul_peak(device, precision)
    threads = f"{torch.get_num_threads()} threads"
    print(f"{device}, {threads}; a large {precision} product reaches {ceiling / 1e9:,.0f} GFLOP/s\n")
    print("| method | px | batch | plain images/s | diptych | ratio | peak memory, plain | diptych | ratio | share of peak |")
    print("| --- " * 10 + "|")
    rows = []
    for case in cases:
        plain_bytes, our_bytes = peaks(case, words)
        plain, ours = fastest(case, args.seconds)
        share = operations(case) / ours / max(ceiling, matmul_peak(device, precision))
        row = {"method": case.method, "device": str(device), "size": case.size, "batch": case.batch, "precision": precision}
        row |= {"plain_images_s": case.batch / plain, "diptych_images_s": case.batch / ours, "ratio": plain / ours}
        row |= {"plain_peak": plain_bytes, "diptych_peak": our_bytes, "peak_ratio": our_bytes / plain_bytes, "peak_share": share}
        rows.append(row)
        print(
            f"| {case.method} | {case.size} | {case.batch} | {case.batch / plain:.3g} | {case.batch / ours:.3g} "
            f"| {plain / ours:.2f} | {plain_bytes / 1e9:.2f} GB | {our_bytes / 1e9:.2f} GB | {our_bytes / plain_bytes:.2f} "
            f"| {share:.0%} |",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

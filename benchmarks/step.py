"""How fast a training step is beside the published order of operations: `python -m benchmarks.step`, from the repository.

A plain implementation (benchmarks/plain.py: fp32, eager, separate calls) and diptych's own step take turns in one process, from
equal weights on equal images; each counts with its fastest round, as other work on a machine only ever adds time. Beside the
images a second stand peak memory, each in a fresh process, and the share of what a large matrix product reaches in the same
precision and run. Before that, both must compute the same: in float64 every loss of the third step within 1e-5. (In fp32, where
Adam's first steps turn the rounding of gradients near zero into whole steps, the difference is printed for the first step.)

A step can be no faster than its floating-point operations at the speed of a large matrix product, nor than the fewest bytes that
it must move at the speed of a large copy. Both are printed for each row (``--floor``), with the two speeds measured here.

The ratio stands there by two clocks, that on the wall and that of the process: the time that it computed, user and system, which
other programs on the machine change less. ``--clock processor`` takes speeds and shares from the second: give it one thread
(OMP_NUM_THREADS=1), since the times of threads add up.

Switches choose how diptych's step runs, so that a default can follow a measurement: ``--layout``, ``--compile``, ``--no-graph``,
``--cudnn-benchmark``, ``--no-tf32``, ``--checkpoint``. Several batches per step are several ``--case``s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain import PLAIN, plain_layers
from diptych.device import pick_device, pick_precision
from diptych.memory import peak_memory, resident_memory
from diptych.methods import Batch, Method, method_config
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.execution.cuda_graph import GraphedStep
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

LATER = ("cut", "dclgan", "santa", "unsb", "stegogan", "uvcgan2", "pix2pixhd", "bridge")
CASES = {  # method, pixels, images: what a CPU does in minutes, and everything
    "cpu": [
        *(("cyclegan", 128, 1), ("cyclegan", 128, 4), ("cyclegan", 256, 1)),
        *(("pix2pix", 256, n) for n in (1, 4, 16)),
        *((method, 128, 1) for method in LATER),
    ],
    "cuda": [(method, size, n) for method in PLAIN for size in (128, 256) for n in (1, 4, 16)],
}
TIMES = {"unsb": 5}
"""Methods of which a step, as published, costs by a time that it draws first, and how many there are: a round has each once."""
LARGE_PRODUCT = {"cuda": 8192, "cpu": 2048}  # rows and columns of a matrix product that is fast as can be
LARGE_COPY = {"cuda": 2**28, "cpu": 2**25}  # numbers of such a copy
AGREE = 1e-5
ROUNDS = 5  # at least; the first two warm up
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
PASSED_ON = ("compile", "checkpoint", "no_graph", "no_tf32", "cudnn_benchmark")  # switches for the processes that measure memory
LAYOUTS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """One row: a published method at its published width, without dropout, whose random numbers two programs do not share.

    ``width`` is the number of channels of the outermost layers, for quick trials of the benchmark itself.
    """

    method: str
    size: int
    batch: int
    precision: str
    device: torch.device
    compiled: bool = False
    checkpoint: bool = False
    layout: str | None = None
    graph: bool = True
    width: int = 64
    dtype: torch.dtype = torch.float32

    def recipe(self) -> Recipe:
        widths = ("ngf", "ndf") if hasattr(method_config(self.method), "ndf") else ("ngf",)
        settings: dict[str, int | bool] = dict.fromkeys(widths, self.width)
        settings |= {"dropout": False} if self.method in ("pix2pix", "colorization") else {}
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
        return lambda batch: step.step(batch.a, batch.b)

    def ours(self) -> tuple[Trainee, Callable[[Batch], None]]:
        layout = LAYOUTS[self.layout] if self.layout else None
        trainee = Trainee(self.build(), self.recipe(), self.device, World(), compiled=self.compiled, layout=layout)
        recorded = GraphedStep(trainee) if self.device.type == "cuda" and self.graph else None

        def step(batch: Batch) -> None:
            (recorded or (lambda b: train_step(trainee, b)))(batch)
            trainee.guard.read(1, [])

        return trainee, step

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def disagreement(case: Case, steps: int) -> float:
    """The greatest relative difference of a loss in the last of some steps, TF32 switched off."""
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    plain, (trainee, ours) = case.plain(), case.ours()
    for seed in range(steps):
        torch.manual_seed(seed)
        expected = {name: float(value.detach()) for name, value in plain(case.images(seed)).items()}
        trainee.stats.clear()
        torch.manual_seed(seed)
        ours(case.images(seed))
    found = trainee.stats.read(World())
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed
    assert found.keys() == expected.keys()
    return max(abs(found[name] - value) / abs(value) for name, value in expected.items())


def fastest(case: Case, seconds: float) -> dict[str, tuple[float, float]]:
    """Seconds of a plain and of diptych's step by each clock, in turns until the time on the wall is over.

    Three rounds at least count, after two to warm up.
    """
    plain, (_, ours) = case.plain(), case.ours()
    times: dict[str, list[list[float]]] = {name: [[], []] for name in CLOCKS}
    batch = case.images()
    seeds = seeds_of_each(TIMES[case.method], case.device) if case.method in TIMES else []
    few = len(seeds) or (1 if case.device.type == "cpu" else max(2, 10 // case.batch))  # steps a round
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < ROUNDS or time.perf_counter() < end:
        for who, step in enumerate((plain, ours)):
            case.wait()
            starts = {name: clock() for name, clock in CLOCKS.items()}
            for k in range(few):
                if seeds:
                    torch.manual_seed(seeds[k])
                step(batch)
            case.wait()
            for name, clock in CLOCKS.items():
                times[name][who].append((clock() - starts[name]) / few)
        rounds += 1
    return {name: (min(of_plain[2:]), min(of_ours[2:])) for name, (of_plain, of_ours) in times.items()}


def seeds_of_each(count: int, device: torch.device) -> list[int]:
    """For each number below ``count`` a seed after which it is the first that is drawn."""

    def drawn(seed: int) -> int:
        torch.manual_seed(seed)
        return int(torch.randint(count, (), device=device))

    return [next(seed for seed in itertools.count() if drawn(seed) == number) for number in range(count)]


def operations(case: Case) -> int:
    """Floating-point operations of diptych's step: two for each multiplication and addition of its convolutions and products."""
    trainee, _ = case.ours()
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _OneModule()  # type: ignore[assignment]
    with counter:
        train_step(trainee, case.images())
    return counter.get_total_flops()


class _OneModule(nullcontext[None]):
    """Stands for torch's record of which module computes, whose hooks do not bear the gradients of a gradient penalty."""

    parents = ("Global",)


class LeastTraffic(TorchDispatchMode):
    """Counts the bytes that convolutions must move: each input read once and each output written once."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("convolution", "convolution_backward", "mm", "addmm", "bmm"):
            tensors = [x for x in (*args, *(out if isinstance(out, tuple) else (out,))) if isinstance(x, torch.Tensor)]
            self.nbytes += sum(x.nbytes for x in tensors)
        return out


def least_bytes(case: Case) -> int:
    """The fewest bytes of diptych's step: its convolutions, and Adam, which reads four and writes three float32 a weight."""
    trainee, _ = case.ours()
    with LeastTraffic() as counter:
        train_step(trainee, case.images())
    weights = sum(p.numel() for p in trainee.method.parameters())
    return counter.nbytes + 7 * 4 * weights


def copy_speed(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy on the device, at best."""
    x = torch.ones(LARGE_COPY["cuda" if device.type == "cuda" else "cpu"], device=device)
    y = torch.empty_like(x)
    return 2 * x.nbytes / quickest(lambda: y.copy_(x), device)


def matmul_peak(device: torch.device, precision: str, clock: Clock = time.perf_counter) -> float:
    """Operations a second of a large matrix product, at best."""
    side = LARGE_PRODUCT["cuda" if device.type == "cuda" else "cpu"]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x, y = (torch.randn(side, side, device=device).to(dtype) for _ in "xy")
    return 2 * side**3 / quickest(lambda: x @ y, device, clock)


def quickest(work: Callable[[], object], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """The least seconds of 20 runs."""
    best = float("inf")
    for _ in range(20):
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return best


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
    p.add_argument("--compile", action="store_true", help="compile diptych's networks")
    p.add_argument("--checkpoint", action="store_true", help="recompute diptych's activations")
    p.add_argument("--layout", choices=LAYOUTS, help="memory layout of images (default: the training's)")
    p.add_argument("--no-graph", action="store_true", help="launch each step instead of replaying a recorded CUDA graph")
    p.add_argument("--no-tf32", action="store_true", help="compute fp32 products exactly on CUDA; with TF32 otherwise")
    p.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN time its convolutions and take the fastest")
    p.add_argument("--width", type=int, default=64, help="channels of the outermost layers (default: 64, as published)")
    p.add_argument(
        "--floor", action="store_true", help="also print each row's operations, bytes, and the time they need at least"
    )
    p.add_argument("--no-peak", action="store_true", help="do not measure memory, which takes two processes a row")
    p.add_argument("--no-check", action="store_true", help="do not compare losses with the plain step's first")
    p.add_argument("--clock", choices=CLOCKS, default="wall", help="what a step's time is read from (default: wall)")
    p.add_argument("--json", type=Path)
    p.add_argument("--peak", choices=("plain", "ours"), help=argparse.SUPPRESS)
    p.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = p.parse_args()
    device = pick_device(args.device)
    precision = pick_precision(args.precision, device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not args.no_tf32  # plain is what users run
    torch.backends.cudnn.benchmark = args.cudnn_benchmark
    how = {"compiled": args.compile, "checkpoint": args.checkpoint, "layout": args.layout, "graph": not args.no_graph}

    def case_of(method: str, size: str | int, batch: str | int) -> Case:
        return Case(method, int(size), int(batch), precision, device, width=args.width, **how)

    if args.peak:
        print(peak(case_of(*args.peak_of.split(",")), args.peak))
        return
    words = ["--device", args.device, "--precision", precision, "--width", str(args.width)]
    words += ["--layout", args.layout] if args.layout else []
    words += [f"--{name.replace('_', '-')}" for name in PASSED_ON if getattr(args, name)]
    cases = [case_of(*row.split(",")) for row in args.case or []] or [case_of(*row) for row in CASES[device.type]]
    for method in dict.fromkeys(case.method for case in cases if not args.no_check):
        small = Case(method, 256 if method == "pix2pix" else 64, 1, "fp32", device, width=args.width)
        first, third = disagreement(small, 1), disagreement(replace(small, dtype=torch.float64), 3)
        print(f"{method}: losses differ by {first:.1e} in the first step (fp32), by {third:.1e} in the third (float64)")
        if third > AGREE:
            sys.exit(f"more than {AGREE:g}: not the same computation")
    clock = CLOCKS[args.clock]
    ceiling = matmul_peak(device, precision, clock)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    switches = " ".join(sys.argv[1:])
    print(f"{device}, {name}, torch {torch.__version__}; a large {precision} product reaches {ceiling / 1e9:,.0f} GFLOP/s")
    print(f"switches: {switches}\n")
    titles = ["method", "px", "batch", "plain images/s", "diptych", "ratio, wall", "ratio, processor"]
    titles += ["peak memory, plain", "diptych", "ratio", "share of peak"]
    print("| " + " | ".join(titles) + " |\n" + "| --- " * len(titles) + "|")
    rows = []
    for case in cases:
        plain_bytes, our_bytes = (0, 0) if args.no_peak else peaks(case, words)
        times = fastest(case, args.seconds)
        ratios = {name: before / after for name, (before, after) in times.items()}
        plain, ours = times[args.clock]
        flops = operations(case)
        share = flops / ours / max(ceiling, matmul_peak(device, precision, clock))
        row = {"method": case.method, "device": name, "size": case.size, "batch": case.batch, "precision": precision}
        row |= {
            "plain_images_s": case.batch / plain,
            "diptych_images_s": case.batch / ours,
            "ratio": plain / ours,
            "ratios": ratios,
        }
        row |= {"plain_peak": plain_bytes, "diptych_peak": our_bytes, "peak_share": share, "flops": flops, "switches": switches}
        memory = f"{plain_bytes / 1e9:.2f} GB | {our_bytes / 1e9:.2f} GB | {our_bytes / plain_bytes:.2f}" if our_bytes else "| |"
        print(
            f"| {case.method} | {case.size} | {case.batch} | {case.batch / plain:.3g} | {case.batch / ours:.3g} "
            f"| {ratios['wall']:.2f} | {ratios['processor']:.2f} | {memory} | {share:.0%} |",
            flush=True,
        )
        if args.floor:
            row["least_bytes"] = least_bytes(case)
            row["copy_bytes_s"] = copy_speed(device)
            least = flops / ceiling, row["least_bytes"] / row["copy_bytes_s"]
            arithmetic = f"{flops / 1e12:.2f} TFLOP take {least[0] * 1e3:.2f} ms at least"
            traffic = f"{row['least_bytes'] / 1e9:.2f} GB take {least[1] * 1e3:.2f} ms"
            print(f"  {arithmetic}, {traffic}; the step took {ours * 1e3:.2f} ms, plain {plain * 1e3:.2f} ms", flush=True)
        rows.append(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Whether every part of a training step runs on a device, and how fast.

    python -m benchmarks.smoke [cuda:0 | cpu] [--only TEXT]

Each part runs on its own, so that one failure does not hide the next: both methods, two batch sizes, fp32 and bf16, both memory
layouts, cudnn.benchmark, the recorded step, compiled networks. A line each, the failed ones again at the end; exits with 1 then.
On a GPU the whole takes about two minutes at 256 pixels; on a CPU the sizes are tiny, and only show that the parts run.
"""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchmarks.step import LAYOUTS, Case, disagreement, matmul_peak
from diptych.training.distributed import World
from diptych.training.execution.cuda_graph import GraphedStep
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

OURS = ("diptych", "benchmarks")  # folders whose last line in a traceback says where a part failed


@dataclass
class Smoke:
    """The parts that ran on a device, and the lines of those that failed; only parts with ``only`` in their names run."""

    device: torch.device
    only: str = ""
    failed: list[str] = field(default_factory=list)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def part(self, name: str, run: Callable[[], object]) -> None:
        """Run a part and print its line: what it returns, or the error with its place."""
        if self.only not in name:
            return
        began = time.perf_counter()
        try:
            said, verdict = str(run()), "ok  "
            self.wait()
        except Exception as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if any(f"/{folder}/" in f.filename for folder in OURS)]
            place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
            first = (str(error).splitlines() or [""])[0]
            said, verdict = f"{place}: {type(error).__name__}: {first[:200]}", "FAIL"
        line = f"{verdict}  {name:45s} {time.perf_counter() - began:6.1f} s  {said}"
        print(line, flush=True)
        if verdict == "FAIL":
            self.failed.append(line)

    def wait(self) -> None:
        """Wait for the device, whose errors arrive late."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def speed(self, case: Case, *, benchmark: bool = False) -> str:
        """Milliseconds of a step; on a CPU after one step to warm up, and never recorded."""
        torch.backends.cudnn.benchmark = benchmark
        layout = LAYOUTS[case.layout] if case.layout else None
        trainee = Trainee(case.build(), case.recipe(), self.device, World(), compiled=case.compiled, layout=layout)
        recorded = GraphedStep(trainee) if case.graph and self.cuda else None
        images = case.images()

        def step() -> None:
            (recorded or (lambda batch: train_step(trainee, batch)))(images)
            trainee.guard.read(1, [])

        warm, count = (6, 20) if self.cuda else (1, 1)
        for _ in range(warm):
            step()
        self.wait()
        began = time.perf_counter()
        for _ in range(count):
            step()
        self.wait()
        seconds = (time.perf_counter() - began) / count
        said = f"{seconds * 1e3:.1f} ms a step, {case.batch / seconds:.1f} images/s"
        return said + (", replayed" if recorded.replay else ", NOT replayed") if recorded else said


def main() -> int:
    """Run all parts; returns 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", nargs="?", default="cuda:0", help="where to run (default: cuda:0)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the parts with this in their names")
    args = parser.parse_args()
    smoke = Smoke(torch.device(args.device), args.only)
    cuda = smoke.cuda
    smoke.part("versions", lambda: (torch.__version__, torch.cuda.get_device_name(smoke.device) if cuda else "cpu"))
    for precision in ("fp32", "bf16"):
        smoke.part(f"{precision} matrix product", lambda p=precision: f"{matmul_peak(smoke.device, p) / 1e12:.3g} TFLOP/s")

    def case(method: str, batch: int, **how: Any) -> Case:
        """The published networks at 256 pixels; on a CPU narrow ones at 64."""
        return Case(method, 256 if cuda else 64, batch, device=smoke.device, width=64 if cuda else 8, **how)

    eager = {"precision": "bf16", "graph": False}
    variants: dict[str, tuple[dict[str, Any], bool]] = {  # how the step runs, and whether cuDNN times its algorithms
        "fp32": ({"precision": "fp32", "graph": False}, False),
        "bf16": (eager, False),
        "bf16 channels first": (eager | {"layout": "channels_first"}, False),
        "bf16 cudnn.benchmark": (eager, True),
        "bf16 recorded": (eager | {"graph": True}, False),
        "bf16 recorded, cudnn.benchmark": (eager | {"graph": True}, True),
        "bf16 recorded, channels first": (eager | {"graph": True, "layout": "channels_first"}, True),
    }
    for method in ("cyclegan", "pix2pix"):
        same = replace(case(method, 1, precision="fp32"), size=256 if method == "pix2pix" else 64, dtype=torch.float64)
        smoke.part(f"{method} as the plain step", lambda same=same: f"differs by {disagreement(same, 2):.1e}")
        for batch in (1, 16) if cuda else (1,):
            for name, (how, timed) in variants.items():
                chosen = case(method, batch, **how)
                smoke.part(f"{method} b{batch} {name}", lambda chosen=chosen, timed=timed: smoke.speed(chosen, benchmark=timed))
    if cuda:
        for layout in LAYOUTS:
            chosen = case("cyclegan", 1, precision="bf16", compiled=True, layout=layout)
            smoke.part(f"cyclegan b1 compiled, {layout}", lambda chosen=chosen: smoke.speed(chosen, benchmark=True))
    print("\n".join(["", f"{len(smoke.failed)} parts failed:", *smoke.failed] if smoke.failed else ["", "all parts ran"]))
    return int(bool(smoke.failed))


if __name__ == "__main__":
    raise SystemExit(main())

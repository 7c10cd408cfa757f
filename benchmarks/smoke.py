"""Whether every part of a training step runs on a device, and how fast: `python -m benchmarks.smoke [cuda:0 | cpu]`.

Each part runs on its own, so that one failure does not hide the next: both methods, two batch sizes, fp32 and bf16, both memory
layouts, cudnn.benchmark, the recorded step, compiled networks. A line each, the failed ones again at the end; exits with 1 then.
On a GPU the whole takes about two minutes at 256 pixels; on a CPU the sizes are tiny, and only show that the parts run.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchmarks.step import Case, disagreement, matmul_peak
from diptych.methods import Batch
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.recorded import RecordedStep
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

OURS = ("diptych", "benchmarks")  # folders whose last line in a traceback says where a part failed
DOMAINS = Domain(), Domain()
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass
class Smoke:
    """The parts that ran on a device, and the lines of those that failed."""

    device: torch.device
    failed: list[str] = field(default_factory=list)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def part(self, name: str, run: Callable[[], object]) -> None:
        """Run a part and print its line: what it returns, or the error with its place."""
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

    def speed(
        self,
        method: str,
        batch: int,
        precision: str,
        *,
        layout: str | None = None,
        recorded: bool = False,
        compiled: bool = False,
        benchmark: bool = False,
    ) -> str:
        """Milliseconds of a step; on a CPU one step of small networks, never recorded or compiled."""
        torch.backends.cudnn.benchmark = benchmark
        trainee, images = self.trainee(method, batch, precision, compiled and self.cuda)
        if layout:
            trainee.layout = LAYOUTS[layout]
            trainee.method.to(memory_format=LAYOUTS[layout])
        replayed = RecordedStep(trainee) if recorded and self.cuda else None

        def step() -> None:
            (replayed or (lambda b: train_step(trainee, b)))(images)
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
        said = f"{seconds * 1e3:.1f} ms a step, {batch / seconds:.1f} images/s"
        if replayed:
            said += ", replayed" if replayed.replay else ", NOT replayed"
        return said

    def trainee(self, method: str, batch: int, precision: str, compiled: bool) -> tuple[Trainee, Batch]:
        """The published networks at 256 pixels; on a CPU small ones at 64."""
        if self.cuda:
            case = Case(method, 256, batch, precision, self.device, compiled)
            return Trainee(case.build(), case.recipe(), self.device, World(), compiled=compiled), case.images()
        case = Case(method, 64, batch, precision, self.device)
        small = {"ngf": 8, "ndf": 8, "generator": "resnet_2" if method == "cyclegan" else "unet_6"}
        recipe = Recipe.create(method, {"method": small, "train": {"precision": precision, "batch_size": batch}})
        torch.manual_seed(0)
        return Trainee(recipe.method.build(*DOMAINS, 64), recipe, self.device, World()), case.images()


def main(argv: list[str]) -> int:
    """Run all parts; returns 1 where one failed."""
    smoke = Smoke(torch.device(argv[0] if argv else "cuda:0"))
    cuda = smoke.cuda
    smoke.part("versions", lambda: (torch.__version__, torch.cuda.get_device_name(smoke.device) if cuda else "cpu"))
    for precision in ("fp32", "bf16"):
        smoke.part(f"{precision} matrix product", lambda p=precision: f"{matmul_peak(smoke.device, p) / 1e12:.3g} TFLOP/s")
    variants: dict[str, dict[str, object]] = {
        "fp32": {"precision": "fp32"},
        "bf16": {"precision": "bf16"},
        "bf16 benchmark": {"precision": "bf16", "benchmark": True},
        "bf16 benchmark channels last": {"precision": "bf16", "benchmark": True, "layout": "channels last"},
        "bf16 benchmark recorded": {"precision": "bf16", "benchmark": True, "recorded": True},
        "bf16 benchmark recorded channels last": {
            "precision": "bf16",
            "benchmark": True,
            "recorded": True,
            "layout": "channels last",
        },
    }
    for method in ("cyclegan", "pix2pix"):
        if cuda:
            agreeing = Case(method, 256, 1, "fp32", smoke.device, dtype=torch.float64)
            smoke.part(f"{method} as the plain step", lambda case=agreeing: f"differs by {disagreement(case, 2):.1e}")
        for batch in (1, 16) if cuda else (1,):
            for name, how in variants.items():
                smoke.part(f"{method} b{batch} {name}", lambda m=method, b=batch, how=how: smoke.speed(m, b, **how))
    if cuda:
        for layout in LAYOUTS:
            how = {"precision": "bf16", "compiled": True, "recorded": True, "benchmark": True, "layout": layout}
            smoke.part(f"cyclegan b1 compiled {layout}", lambda how=how: smoke.speed("cyclegan", 1, **how))
    print("\n".join(["", f"{len(smoke.failed)} parts failed:", *smoke.failed] if smoke.failed else ["", "all parts ran"]))
    return int(bool(smoke.failed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

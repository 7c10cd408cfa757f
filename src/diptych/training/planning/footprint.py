"""What training steps of one size take in memory and time, measured: real steps in a process of their own.

A process of its own starts from nothing, so that its peak is that of a training, and running out of memory ends it alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from diptych.data.census import Census
from diptych.data.folders import Split
from diptych.data.stream import NativeBatch
from diptych.device import pick_device
from diptych.errors import ConfigError, DiptychError, out_of_memory
from diptych.memory import peak_memory, resident_memory
from diptych.pixels import TORCH_DTYPES, Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.execution.cuda_graph import NUM_WARM_UP_STEPS, GraphedStep
from diptych.training.loop import build_method, to_device
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from diptych.trees import write_tree

BENCH_COMMAND = "from diptych.training.planning.footprint import serve; serve()"
MAX_TIMED_STEPS = 10


@dataclass(frozen=True)
class Footprint:
    """Bytes and seconds of training steps of one size.

    ``batch``: images at once, in one of the parts of train.accumulate. ``peak``: what the process holds at most while it trains
    (see diptych.memory.peak_memory), ``saving`` until the training state is written as well. ``fixed``: about what it would hold
    without activations. ``pools``: bytes of buffers, nearly all of them image pools, which grow with the crop but not with the
    batch. ``multiple``: networks pad crops of other sizes to a multiple of it. ``seconds``: of one step.
    """

    crop: int
    batch: int
    peak: int
    saving: int
    fixed: int
    pools: int
    seconds: float
    multiple: int
    parameters: dict[str, int]


class Bench:
    """Measures sizes of one recipe, each in a process of its own; use it in a ``with`` block.

    ``recipe.train.precision`` must be resolved.
    """

    def __init__(self, recipe: Recipe, domains: tuple[Domain, Domain], device: torch.device) -> None:
        self.recipe = recipe
        self.task: dict[str, Any] = {"domains": [asdict(domain) for domain in domains], "device": str(device)}
        self.task |= {"path": sys.path, "threads": torch.get_num_threads()}

    def __enter__(self) -> Bench:
        words = [sys.executable, "-c", BENCH_COMMAND]
        alone = os.environ | {"OMP_NUM_THREADS": "1"}  # threads do not survive a fork, so none may start before it
        self.notes = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.notes, text=True, bufsize=1, env=alone
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.notes.close()

    def measure(self, seconds: float, **changes: Any) -> Footprint | None:
        """Steps of the recipe with some settings changed; None when they ran out of memory.

        One step warms up; then steps are timed for about ``seconds``, one at least. Raises ConfigError when the method cannot be
        built.
        """
        assert self.process.stdin and self.process.stdout
        recipe = self.recipe.replace(**changes)
        self.process.stdin.write(json.dumps(self.task | {"recipe": recipe.to_dict(), "seconds": seconds}) + "\n")
        answer = self.process.stdout.readline()
        if not answer.startswith("{"):
            self.notes.seek(0)
            raise RuntimeError(f"measuring training steps failed:\n{self.notes.read()}")
        found = json.loads(answer)
        if "error" in found:
            raise ConfigError(found["error"])
        return Footprint(**found) if found else None


def serve() -> None:
    """The bench's own process: a task a line comes in, and its answer goes out: a footprint, nothing, or an error.

    It imports once, and each task has a copy of it, which may be ended by the system for want of memory.
    """
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports what every optimizer does
    for line in sys.stdin:
        read_end, write_end = os.pipe()
        held = resident_memory()
        child = os.fork()
        if not child:
            # Pages of the libraries are in nobody's count after a fork until they are touched again.
            answer = answer_task(json.loads(line), held - resident_memory())
            os.write(write_end, answer.encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        sys.stdout.write((answer or ("{}" if killed else "failed")) + "\n")
        sys.stdout.flush()


def answer_task(task: dict[str, Any], uncounted: int) -> str:
    """One task's answer, as JSON in one line; nothing in it when memory ran out. ``uncounted``: bytes of the process besides."""
    sys.path[:] = task["path"]
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")  # if the system must end a process, then this one
    torch.set_num_threads(task["threads"])
    a, b = (Domain(**values) for values in task["domains"])
    try:
        device = pick_device(task["device"])
        found = measure_steps(Recipe.from_dict(task["recipe"]), (a, b), device, task["seconds"])
    except DiptychError as error:
        return json.dumps({"error": str(error)})
    except Exception as error:
        if not out_of_memory(error):
            traceback.print_exc()
            return ""
        return "{}"
    if device.type == "cpu":
        sums = {name: getattr(found, name) + uncounted for name in ("peak", "saving", "fixed")}
        found = replace(found, **sums)
    return json.dumps(asdict(found))


def measure_steps(recipe: Recipe, domains: tuple[Domain, Domain], device: torch.device, seconds: float) -> Footprint:
    """Train on random images and look at the memory of this process, which should have done nothing else before."""
    census = Census(Split((), (), recipe.method.paired), *domains)
    method = build_method(recipe, census, World())
    trainee = Trainee(method, recipe, device, World())
    for buffer in method.buffers():
        buffer.mul_(1)  # pages of zeros are not there until they are written to, as when pools fill
    weights = sum(p.nbytes for p in method.parameters())
    fixed = peak_memory(device) + 3 * weights  # gradients and two moments are yet to come
    batch_size, crop = recipe.train.batch_size, recipe.data.crop_size
    a, b = (_random_images(domain, batch_size, crop) for domain in domains)
    native = NativeBatch(a, b, (("", ""),) * batch_size, ())
    on_gpu = device.type == "cuda"  # where the loop replays a recording
    step = GraphedStep(trainee) if on_gpu else partial(train_step, trainee)
    for _ in range(NUM_WARM_UP_STEPS + 1 if on_gpu else 1):
        step(to_device(native, census, device))
    trainee.stats.read(World())
    marks = [time.perf_counter()]
    while len(marks) < 2 or (marks[-1] - marks[0] < seconds and len(marks) <= MAX_TIMED_STEPS):
        step(to_device(native, census, device))
        trainee.stats.read(World())  # waits for the device
        marks.append(time.perf_counter())
    peak = peak_memory(device)
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder) / "state", trainee.state())
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in method.named_children()}
    return Footprint(
        crop,
        batch_size,
        peak,
        peak_memory(device),
        fixed,
        sum(buffer.nbytes for buffer in method.buffers()),
        statistics.median(after - before for before, after in pairwise(marks)),
        max(int(getattr(net, "multiple", 1)) for net in method.generators().values()),  # one of a user's own may not pad
        {name: count for name, count in counts.items() if count},
    )


def _random_images(domain: Domain, count: int, crop: int) -> torch.Tensor:
    """Native pixels of a domain, evenly random."""
    images = torch.rand(count, domain.channels, crop, crop) * (domain.high - domain.low) + domain.low
    return images.to(TORCH_DTYPES[domain.dtype])

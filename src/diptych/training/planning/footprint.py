"""The memory and time of training steps of one size, measured on real steps in a separate process.

A separate process starts with nothing allocated, so that its peak is that of a training, and running out of memory ends only it.
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
from diptych.training.loop import to_device
from diptych.training.preparation import build_method
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from diptych.trees import write_tree

BENCH_COMMAND = "from diptych.training.planning.footprint import serve; serve()"
MAX_TIMED_STEPS = 10


@dataclass(frozen=True)
class Footprint:
    """Bytes and seconds of training steps of one size.

    crop: the side of the images in pixels.
    batch: the number of images of a step.
    peak: the most bytes that the process holds while it trains (see diptych.memory.peak_memory).
    saving: the same, once the training state has been written too.
    fixed: roughly what the process would hold without activations.
    pools: bytes of buffers, nearly all of them image pools, which grow with the crop but not with the batch.
    seconds: the duration of one step.
    multiple: networks pad crops to a multiple of this.
    parameters: the number of weights of each network.
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
    """Measures steps of one recipe at various sizes, each in a separate process; use it in a ``with`` block.

    The recipe's precision must be resolved, not ``auto``.
    """

    def __init__(self, recipe: Recipe, domains: tuple[Domain, Domain], device: torch.device) -> None:
        self.recipe = recipe
        self.task: dict[str, Any] = {"domains": [asdict(domain) for domain in domains], "device": str(device)}
        self.task |= {"path": sys.path, "threads": torch.get_num_threads()}

    def __enter__(self) -> Bench:
        words = [sys.executable, "-c", BENCH_COMMAND]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}  # threads do not survive a fork, so none may start before it
        self.notes = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.notes, text=True, bufsize=1, env=environment
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()
        self.notes.close()

    def measure(self, seconds: float, **changes: Any) -> Footprint | None:
        """Measure steps of the recipe with some settings changed; None when they ran out of memory.

        After one step that warms up, at least one step is timed, and more until ``seconds`` have passed. Raises ConfigError when
        the method cannot be built.
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
    """Serve a bench: read one task per line, and answer each with a footprint, nothing when memory ran out, or an error.

    This process has the libraries imported, and forks a child for each task, which the system may kill when memory runs out.
    """
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # this imports what every optimizer needs
    for line in sys.stdin:
        read_end, write_end = os.pipe()
        held = resident_memory()
        child = os.fork()
        if not child:
            # After a fork, pages of the libraries do not count as the child's until it touches them.
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
    """Answer one task with one line of JSON, which is empty when memory ran out.

    ``uncounted`` is the number of bytes that this process holds but that the system does not count as its own.
    """
    sys.path[:] = task["path"]
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")  # the system should kill this process first
    torch.set_num_threads(task["threads"])
    a, b = (Domain(**values) for values in task["domains"])
    try:
        device = pick_device(task["device"])
        recipe = Recipe.from_dict(task["recipe"], code=task["recipe"]["method"]["name"])  # which the command line named
        found = measure_steps(recipe, (a, b), device, task["seconds"])
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
    """Train on random images and measure the memory of this process, which must not have done anything else before."""
    census = Census(Split((), (), recipe.method.paired), *domains)
    method = build_method(recipe, census, World())
    trainee = Trainee(method, recipe, device, World())
    # Measured is the step in which generators learn too; where they learn rarely, the others need less.
    trainee.images = (recipe.train.discriminator.updates - 1) * recipe.train.batch_size
    for buffer in method.buffers():
        buffer.mul_(True)  # pages of zeros take no memory until they are written to, as when pools fill
    weights = sum(p.nbytes for p in method.parameters())
    fixed = peak_memory(device) + 3 * weights  # gradients and Adam's two moments are still to be allocated
    batch_size, crop = recipe.train.batch_size, recipe.data.crop_side
    a, b = (_random_images(domain, batch_size, crop) for domain in domains)
    native = NativeBatch(a, b, (("", ""),) * batch_size, ())
    on_gpu = device.type == "cuda"  # the loop replays a CUDA graph there
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
        max(int(getattr(net, "multiple", 1)) for net in method.generators().values()),  # a user's own network may not pad
        {name: count for name, count in counts.items() if count},
    )


def _random_images(domain: Domain, count: int, crop: int) -> torch.Tensor:
    """Uniformly random native pixels of a domain."""
    images = torch.rand(count, domain.bands, crop, crop) * (domain.high - domain.low) + domain.low
    return images.to(TORCH_DTYPES[domain.dtype])

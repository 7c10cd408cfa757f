"""One training in several processes, which torchrun starts and one all-reduce per phase keeps equal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diptych.errors import DiptychError, TrainingError
from diptych.training.heartbeat import Heartbeat
from diptych.training.waiting import leaving_in_time, waiting

LOST = re.compile(r"gloo.*(closed|reset|refused|timed out|broken)|NCCL.*(remote|aborted|closed)", re.IGNORECASE | re.DOTALL)
T = TypeVar("T")
TIMEOUT = timedelta(hours=12)
"""How long processes wait for one that reads the data, validates or saves. When one dies, torchrun ends the others at once;
one that hangs is noticed by the others (see diptych.training.heartbeat)."""


@dataclass(frozen=True)
class World:
    """This process's rank, and the number of all processes."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0


@contextmanager
def join_processes(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, this process is the only one.

    The rendezvous store outlives restarts by torchrun. Each restart therefore uses a key prefix of its own, or the new processes
    would read the addresses of dead ones.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with leaving_in_time():
        yield from _joined(device, rank, size)


def _joined(device: torch.device, rank: int, size: int) -> Iterator[World]:
    agent_serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    with waiting():
        store = dist.TCPStore(address, port, size, is_master=rank == 0 and not agent_serves, timeout=timedelta(minutes=2))
    prefix = f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    heartbeat = Heartbeat(lambda: dist.PrefixStore(prefix, dist.TCPStore(address, port, wait_for_workers=False)), rank, size)
    backend = "nccl" if device.type == "cuda" else "gloo"
    with waiting():
        dist.init_process_group(
            backend,
            store=dist.PrefixStore(prefix, store),
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
            device_id=device if device.type == "cuda" else None,
        )
    try:
        with heartbeat:
            yield World(rank, size)
            with waiting():
                dist.barrier()  # a process that ends while others still talk to it would make them fail
    except RuntimeError as error:
        if not LOST.search(str(error)):
            raise
        raise TrainingError(
            f"process {rank} of {size} lost the connection to another one, whose own message says why it ended; "
            "run the same command to go on from the last save, or let torchrun do so with --max-restarts"
        ) from error
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace each gradient by its mean over all processes, in one flattened all-reduce."""
    if world.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with waiting():
        dist.all_reduce(flat)
    flat /= world.size
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def mean_over(values: Tensor, world: World) -> Tensor:
    """The element-wise mean of a tensor over all processes; the tensor is overwritten."""
    if world.size > 1:
        with waiting():
            dist.all_reduce(values)
        values /= world.size
    return values


def maximum_over(values: Tensor, world: World) -> Tensor:
    """The element-wise maximum of a tensor over all processes; the tensor is overwritten."""
    if world.size > 1:
        with waiting():
            dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def highest_flag(flag: int, world: World, device: torch.device) -> int:
    """The highest flag of all processes, so that all of them decide alike."""
    if world.size == 1:
        return flag
    shared = torch.tensor(flag, device=device)
    with waiting():
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return int(shared)


def gather(value: Any, world: World) -> list[Any]:
    """The values of all processes, by rank."""
    values: list[Any] = [value]
    if world.size > 1:
        values = [None] * world.size
        with waiting():
            dist.all_gather_object(values, value)
    return values


def broadcast(value: Any, world: World) -> Any:
    """The value of rank 0, in every process."""
    values = [value]
    if world.size > 1:
        with waiting():
            dist.broadcast_object_list(values)
    return values[0]


def on_first(make: Callable[[], T], world: World) -> T | None:
    """Let the first process make a value, which it alone gets, and raise its error in all processes.

    Without this, the others would wait for a first process that has failed.
    """
    made: T | None = None
    error: DiptychError | None = None
    if world.first:
        try:
            made = make()
        except DiptychError as caught:
            error = caught
    error = broadcast(error, world)
    if error is not None:
        raise error
    return made


def once_per_machine(make: Callable[[], T], world: World) -> T:
    """Let the first process of each machine make a value, and return it, or raise its error, in all processes of that machine."""
    if world.size == 1:
        return make()
    leader = world.rank - int(os.environ.get("LOCAL_RANK", "0"))
    made: T | DiptychError | None = None
    if leader == world.rank:
        try:
            made = make()
        except DiptychError as error:  # raised below in all processes, which would wait forever otherwise
            made = error
    made = gather(made, world)[leader]
    if isinstance(made, DiptychError):
        raise made
    return made

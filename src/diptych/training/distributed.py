"""Several processes, one training: started by torchrun, synchronised by one all-reduce a phase."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diptych.errors import DiptychError

T = TypeVar("T")
TIMEOUT = timedelta(hours=12)
"""How long processes wait for one that works alone (reads the data set, scores, saves); torchrun ends all when one dies."""


@dataclass(frozen=True)
class World:
    """This process's place among all: rank of size."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0


@contextmanager
def join_processes(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started; alone without it.

    Each restart of a torchrun gets a store prefix of its own: the rendezvous store outlives restarts, and new workers would
    read dead ones' addresses.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    agent_serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, size, is_master=rank == 0 and not agent_serves, timeout=timedelta(minutes=2))
    prefix = f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(prefix, store),
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield World(rank, size)
        dist.barrier()  # a process that ended before the others still talk to it would take them down
    finally:
        dist.destroy_process_group()


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Replace gradients by their mean over all processes, in one flattened all-reduce."""
    if world.size == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world.size
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def mean_over(values: Tensor, world: World) -> Tensor:
    """Element-wise mean of a tensor over all processes."""
    if world.size > 1:
        dist.all_reduce(values)
        values /= world.size
    return values


def maximum_over(values: Tensor, world: World) -> Tensor:
    """Element-wise maximum of a tensor over all processes."""
    if world.size > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def highest_flag(flag: int, world: World, device: torch.device) -> int:
    """The greatest of all processes' flags, so that all leave at the same step."""
    if world.size == 1:
        return flag
    shared = torch.tensor(flag, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def gather(value: Any, world: World) -> list[Any]:
    """Everybody's value, by rank."""
    values: list[Any] = [value]
    if world.size > 1:
        values = [None] * world.size
        dist.all_gather_object(values, value)
    return values


def broadcast(value: Any, world: World) -> Any:
    """Rank 0's value."""
    values = [value]
    if world.size > 1:
        dist.broadcast_object_list(values)
    return values[0]


def once_per_machine(make: Callable[[], T], world: World) -> T:
    """What the first process of this machine makes, or the error that it raises, in all of its processes."""
    if world.size == 1:
        return make()
    leader = world.rank - int(os.environ.get("LOCAL_RANK", "0"))
    made: T | DiptychError | None = None
    if leader == world.rank:
        try:
            made = make()
        except DiptychError as error:  # the others would wait for it
            made = error
    made = gather(made, world)[leader]
    if isinstance(made, DiptychError):
        raise made
    return made

"""The training samples as batches, from any position on, for any rank, with any number of worker processes."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from diptych.data.datasets import Crops, Sample

X = TypeVar("X")
Y = TypeVar("Y")
AHEAD = 2  # batches that wait while one trains


class NativeBatch(NamedTuple):
    """Native pixels of both sides, (n, c, h, w), with the files they came from and what could not be read on the way."""

    a: Tensor
    b: Tensor
    files: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def collate(samples: list[Sample]) -> NativeBatch:
    """Stack samples into one batch."""
    problems = tuple(problem for sample in samples for problem in sample.problems)
    files = tuple(sample.files for sample in samples)
    return NativeBatch(torch.stack([s.a for s in samples]), torch.stack([s.b for s in samples]), files, problems)


def batches(
    crops: Crops, start: int, stop: int, batch_size: int, *, rank: int = 0, world: int = 1, workers: int = 0, pin: bool = False
) -> Iterator[NativeBatch]:
    """Samples start, start + 1, ... below stop, batch_size at a time over all ranks together; this rank gets its share of each.

    Epochs follow one another without a seam, so no sample is dropped; a last incomplete batch is. Without worker processes a
    thread loads ahead; images that lie on the device are cropped there, when their batch is due.
    """
    share = batch_size // world
    keys = [range(first + rank * share, first + (rank + 1) * share) for first in range(start, stop - batch_size + 1, batch_size)]
    if crops.source.resident:
        return map(partial(_load, crops, False), keys)
    if not workers:
        return ahead(partial(_load, crops, pin), keys)
    loader: DataLoader[Sample] = DataLoader(
        crops,
        batch_sampler=keys,  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # its own: the global generator's state belongs to the training
        timeout=120,
        prefetch_factor=4,
        worker_init_fn=_leave_signals_to_parent,
    )
    return iter(loader)


def _load(crops: Crops, pin: bool, keys: range) -> NativeBatch:
    batch = collate([crops[k] for k in keys])
    return batch._replace(a=batch.a.pin_memory(), b=batch.b.pin_memory()) if pin else batch


def ahead(function: Callable[[X], Y], items: Iterable[X]) -> Iterator[Y]:
    """``map``, a few items ahead in a thread; an error is raised where its item is due. Closing it waits for one item at most."""
    waiting: deque[Future[Y]] = deque()
    thread = ThreadPoolExecutor(1, "loader")
    try:
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def _leave_signals_to_parent(worker: int) -> None:
    """In a worker process: Ctrl-C is the parent's to answer, and SIGTERM ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

"""The training samples as batches, from any position on, for any rank, with any number of worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from diptych.data.datasets import Crops, Sample


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

    Epochs follow one another without a seam, so no sample is dropped; a last incomplete batch is.
    """
    share = batch_size // world
    keys = [range(first + rank * share, first + (rank + 1) * share) for first in range(start, stop - batch_size + 1, batch_size)]
    loader: DataLoader[Sample] = DataLoader(
        crops,
        batch_sampler=keys,  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # its own: the global generator's state belongs to the training
        timeout=120 if workers else 0,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals_to_parent if workers else None,
    )
    return iter(loader)


def _leave_signals_to_parent(worker: int) -> None:
    """In a worker process: Ctrl-C is the parent's to answer, and SIGTERM ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

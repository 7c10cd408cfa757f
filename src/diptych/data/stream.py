"""The training samples as batches, from any position on, for any rank, with any number of worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diptych.data.datasets import Crops, Sample
from diptych.errors import DataError


class NativeBatch(NamedTuple):
    """Native pixels of both sides, (n, c, h, w), with the files they came from and what could not be read on the way.

    ``known``: 1 for each sample that is a pair known among unpaired images, else 0; None where none are known.
    """

    a: Tensor
    b: Tensor
    files: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    known: Tensor | None = None


def collate(samples: list[Sample]) -> NativeBatch:
    """Stack samples into one batch."""
    problems = tuple(problem for sample in samples for problem in sample.problems)
    files = tuple(sample.files for sample in samples)
    known = None if samples[0].known is None else torch.tensor([float(bool(sample.known)) for sample in samples])
    return NativeBatch(_stack([s.a for s in samples]), _stack([s.b for s in samples]), files, problems, known)


def _stack(images: list[Tensor]) -> Tensor:
    """torch.stack; on the CPU by one thread, so that it does not take turns with training's."""
    if images[0].device.type != "cpu":
        return torch.stack(images)
    return torch.from_numpy(np.stack([image.numpy() for image in images]))


@dataclass(frozen=True)
class Shares:
    """The samples of one rank, batch after batch, made one at a time: a list for a long training would fill gigabytes."""

    start: int
    stop: int
    batch_size: int
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[range]:
        share = self.batch_size // self.world
        for first in range(self.start, self.stop - self.batch_size + 1, self.batch_size):
            yield range(first + self.rank * share, first + (self.rank + 1) * share)


class Tolerant(Dataset[Sample | DataError]):
    """Samples, with a DataError as a value: torch's own way to pass one on from a worker process adds fifteen lines to it."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, k: int) -> Sample | DataError:
        try:
            return self.crops[k]
        except DataError as error:
            return error


def _collate_tolerant(samples: list[Sample | DataError]) -> NativeBatch | DataError:
    errors = [sample for sample in samples if isinstance(sample, DataError)]
    return errors[0] if errors else collate(cast("list[Sample]", samples))


def batches(
    crops: Crops, start: int, stop: int, batch_size: int, *, rank: int = 0, world: int = 1, workers: int = 0, pin: bool = False
) -> Iterator[NativeBatch]:
    """Samples start, start + 1, ... below stop, batch_size at a time over all ranks together; this rank gets its share of each.

    Epochs follow one another without a seam, so no sample is dropped; a last incomplete batch is. Images that lie on the device
    are cropped there, without worker processes. Without workers a batch is read when it is due: beside a training that uses
    all cores, a thread that reads ahead gets in its way. Raises DataError where a sample cannot be had.
    """
    shares = Shares(start, stop, batch_size, rank, world)
    if crops.source.resident or not workers:
        return map(partial(_load, crops, pin and not crops.source.resident), shares)
    loader: DataLoader[Sample | DataError] = DataLoader(
        Tolerant(crops),
        batch_sampler=shares,  # type: ignore[arg-type]
        collate_fn=_collate_tolerant,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # its own: the global generator's state belongs to the training
        timeout=120,
        prefetch_factor=4,
        worker_init_fn=_leave_signals_to_parent,
    )
    return map(_or_raise, loader)


def _or_raise(batch: NativeBatch | DataError) -> NativeBatch:
    if isinstance(batch, DataError):
        raise batch
    return batch


def _load(crops: Crops, pin: bool, keys: range) -> NativeBatch:
    batch = collate([crops[k] for k in keys])
    return batch._replace(a=batch.a.pin_memory(), b=batch.b.pin_memory()) if pin else batch


def _leave_signals_to_parent(worker: int) -> None:
    """In a worker process: Ctrl-C is the parent's to answer, and SIGTERM ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

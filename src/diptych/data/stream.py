"""The training samples as batches, from any position on, for any rank, with any number of worker processes."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diptych.data.datasets import Crops, Sample
from diptych.data.neighbours import Neighbour
from diptych.errors import DataError, StorageError, TrainingError
from diptych.losses import NextFrames

log = logging.getLogger(__name__)
HANGS = 120.0  # seconds without a batch after which worker processes are ended
POLL = 2  # seconds between two looks at them
MOST_DEATHS = 3  # in a row


class NativeBatch(NamedTuple):
    """Native pixels of both sides, (n, c, h, w), with the files they came from and what could not be read on the way.

    ``known``: 1 for each sample that is a pair known among unpaired images, else 0; None where none are known. ``next_a`` and
    ``next_b``: the next frames of the images, native pixels too, where those are asked for.
    """

    a: Tensor
    b: Tensor
    files: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    known: Tensor | None = None
    next_a: NextFrames | None = None
    next_b: NextFrames | None = None


def collate(samples: list[Sample]) -> NativeBatch:
    """Stack samples into one batch."""
    problems = tuple(problem for sample in samples for problem in sample.problems)
    files = tuple(sample.files for sample in samples)
    known = None if samples[0].known is None else torch.tensor([float(bool(sample.known)) for sample in samples])
    following = _stack_frames([s.next_a for s in samples]), _stack_frames([s.next_b for s in samples])
    return NativeBatch(_stack([s.a for s in samples]), _stack([s.b for s in samples]), files, problems, known, *following)


def _stack_frames(frames: list[Neighbour | None]) -> NextFrames | None:
    there = [frame for frame in frames if frame is not None]
    return NextFrames(*(_stack(list(parts)) for parts in zip(*there, strict=True))) if there else None


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


class Tolerant(Dataset[Sample | Exception]):
    """Samples, with an error as a value: torch's own way to pass one on from a worker process adds fifteen lines to it."""

    def __init__(self, crops: Crops) -> None:
        self.crops = crops

    def __getitem__(self, k: int) -> Sample | Exception:
        try:
            return self.crops[k]
        except DataError as error:
            return error
        except MemoryError:
            return MemoryError("a process that loads images ran out of memory; give fewer --workers")


def _collate_tolerant(samples: list[Sample | Exception]) -> NativeBatch | Exception:
    errors = [sample for sample in samples if isinstance(sample, Exception)]
    if errors:
        return errors[0]
    batch = collate(cast("list[Sample]", samples))
    try:  # here rather than on the way to the parent, where an error would be printed and the batch dropped
        for tensor in (batch.a, batch.b, *(batch.next_a or ()), *(batch.next_b or ())):
            tensor.share_memory_()
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        return StorageError(
            f"shared memory (/dev/shm) has no room for a batch of images ({reason}); enlarge it, or give --workers 0"
        )
    return batch


def batches(
    crops: Crops, start: int, stop: int, batch_size: int, *, rank: int = 0, world: int = 1, workers: int = 0, pin: bool = False
) -> Generator[NativeBatch, None, None]:
    """Samples start, start + 1, ... below stop, batch_size at a time over all ranks together; this rank gets its share of each.

    Epochs follow one another without a seam, so no sample is dropped; a last incomplete batch is. Images that lie on the device
    are cropped there, without worker processes. Without workers a batch is read when it is due: beside a training that uses
    all cores, a thread that reads ahead gets in its way. Closing it ends the workers. Raises DataError where a sample cannot be
    had.
    """
    shares = Shares(start, stop, batch_size, rank, world)
    if crops.source.resident or not workers:
        return (_load(crops, pin and not crops.source.resident, share) for share in shares)
    return _by_workers(crops, shares, workers, pin)


def _by_workers(crops: Crops, shares: Shares, workers: int, pin: bool) -> Generator[NativeBatch, None, None]:
    """The batches from worker processes, which are started again at the next batch when one of them dies or hangs.

    Samples depend on their numbers alone, so that the batches are the same. Raises TrainingError when no batch came between
    several such deaths.
    """
    deaths = 0
    while True:
        with _Workers(crops, shares, workers, pin) as loading:
            try:
                for batch in loading:
                    shares, deaths = replace(shares, start=shares.start + shares.batch_size), 0
                    yield batch
                return
            except WorkerDied as error:
                deaths += 1
                if deaths > MOST_DEATHS:
                    raise TrainingError(
                        f"{error}, {deaths} times in a row; look at the memory and at /dev/shm, give fewer --workers or "
                        "--workers 0, and run the same command to go on from the last save"
                    ) from None
                log.warning("%s; all of them were started again, at the same images", error)


class WorkerDied(Exception):
    """Says in words what became of a worker process."""


class _Workers:
    """Worker processes and their batches. Whichever way one of them fails is raised as WorkerDied by the next batch.

    A thread ends the workers when no batch comes for ``HANGS`` seconds: to wait for a stopped process may block in a call to the
    system that has no time limit, and ends when that process does.
    """

    def __init__(self, crops: Crops, shares: Shares, workers: int, pin: bool) -> None:
        loader: DataLoader[Sample | Exception] = DataLoader(
            Tolerant(crops),
            batch_sampler=shares,  # type: ignore[arg-type]
            collate_fn=_collate_tolerant,
            num_workers=workers,
            pin_memory=pin,
            generator=torch.Generator(),  # its own: the global generator's state belongs to the training
            timeout=POLL,
            prefetch_factor=4,
            worker_init_fn=_leave_signals_to_parent,
        )
        with _own_child_signals():
            loaded: Any = iter(loader)
        self._loaded = loaded
        self._processes: list[BaseProcess] = loaded._workers
        self._over, self._hung, self._failed, self._waits_since = threading.Event(), False, False, 0.0
        self._watchdog = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Workers:
        self._watchdog.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._failed:
            self._end()
        self._watchdog.join()
        self._loaded = iter(())  # torch ends its processes and threads now, beside which Python may crash at its own end

    def __iter__(self) -> Iterator[NativeBatch]:
        while True:
            self._waits_since = time.monotonic()
            try:
                batch = self._next()
            except StopIteration:
                return
            finally:
                self._waits_since = 0.0
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def _next(self) -> NativeBatch | Exception:
        while True:
            try:
                return cast("NativeBatch | Exception", next(self._loaded))
            except (RuntimeError, OSError, EOFError) as error:
                broken = not isinstance(error, RuntimeError)  # a batch was lost on its way
                dead = connection.wait([process.sentinel for process in self._processes], POLL if broken else 0.0)
                if dead or broken:
                    self._failed = True
                    raise WorkerDied(f"a process that loads images {self._fate(dead)}") from error
                if "timed out" not in str(error):
                    raise

    def _fate(self, dead: Sequence[object]) -> str:
        """What became of the first of the processes whose sentinels these are."""
        if self._hung:
            return f"did nothing for {HANGS:g} seconds and was ended"
        process = next((process for process in self._processes if process.sentinel in dead), None)
        if process is None:
            return "closed its connection"
        process.join(POLL)
        code = process.exitcode or 0
        if code >= 0:
            return f"ended by itself with exit code {code}"
        name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
        hints = {"SIGKILL": ", as the system does when memory runs out", "SIGBUS": ", as happens when /dev/shm is full"}
        return f"was killed by {name}{hints.get(name, '')}"

    def _watch(self) -> None:
        while not self._over.wait(min(POLL, HANGS / 4)):
            since = self._waits_since
            if since and time.monotonic() - since > HANGS:
                self._hung = True
                self._end()
                return

    def _end(self) -> None:
        for process in self._processes:
            process.kill()


@contextmanager
def _own_child_signals() -> Iterator[None]:
    """Keep torch from raising the death of a worker wherever the program stands just then, in the middle of a save too."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)


def _load(crops: Crops, pin: bool, keys: range) -> NativeBatch:
    batch = collate([crops[k] for k in keys])
    return batch._replace(a=batch.a.pin_memory(), b=batch.b.pin_memory()) if pin else batch


def _leave_signals_to_parent(worker: int) -> None:
    """In a worker process: Ctrl-C and a closed terminal are the parent's to answer, and SIGTERM ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):  # which Windows lacks
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

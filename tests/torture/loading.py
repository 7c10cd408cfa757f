"""Worker processes that load images: killed, stopped, ended and failing, at random instants."""

import multiprocessing
import os
import signal
import time
from contextlib import closing
from pathlib import Path
from random import Random

import torch

from diptych.data import stream
from diptych.data.datasets import Sample
from diptych.errors import TrainingError


class Made:
    """Samples that depend on their numbers alone, as Crops are; ``fault`` happens once, where the file ``armed`` is."""

    class source:  # noqa: N801
        resident = False

    def __init__(self, armed: Path | None = None, fault: str = "") -> None:
        self.armed, self.fault = armed, fault

    def __getitem__(self, k: int) -> Sample:
        if self.armed is not None and multiprocessing.parent_process() is not None:
            try:
                self.armed.unlink()
            except FileNotFoundError:
                pass
            else:
                {"exit": lambda: os._exit(3), "hang": lambda: time.sleep(600), "abort": os.abort}[self.fault]()
        random = torch.Generator().manual_seed(k)
        a, b = (torch.randint(0, 256, (3, 16, 16), generator=random, dtype=torch.uint8) for _ in "ab")
        return Sample(a, b, (f"{k}.png", f"{k}.png"), ())


class Quick:
    """Look at the workers often, and give up on them early, inside the block."""

    def __enter__(self):
        self.before = stream.HANGS, stream.POLL
        stream.HANGS, stream.POLL = 3.0, 1

    def __exit__(self, *_):
        stream.HANGS, stream.POLL = self.before


FAULTS = ("SIGKILL", "SIGSTOP", "SIGTERM", "SIGSEGV", "SIGBUS", "exit", "hang", "abort")


def attacked(chance: Random, folder: Path, fault: str = "") -> str | None:
    fault = fault or chance.choice(FAULTS)
    samples, workers, at = 120, chance.choice([1, 2, 3]), chance.randrange(25)
    expected = [batch.a for batch in stream.batches(Made(), 0, samples, 4)]
    armed = folder / "armed"
    found, began = [], time.monotonic()
    with Quick(), closing(stream.batches(Made(armed, fault), 0, samples, 4, workers=workers)) as batches:
        try:
            for number, batch in enumerate(batches):
                found.append(batch.a.clone())
                if number == at and fault.startswith("SIG"):
                    os.kill(chance.choice(multiprocessing.active_children()).pid, signal.Signals[fault])
                elif number == at:
                    armed.touch()
        except TrainingError as error:
            return f"{fault} at {at}: {error}"
    if len(found) != len(expected) or not all(map(torch.equal, found, expected)):
        return f"{fault} at {at}: {len(found)} of {len(expected)} batches, or other ones"
    took = time.monotonic() - began
    return f"{fault} at {at}: took {took:.0f} s" if took > 60 else None

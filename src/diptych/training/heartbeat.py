"""Several processes notice when one of them is stopped or its machine is lost, while they wait for it in a collective."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from diptych.errors import TrainingError

log = logging.getLogger(__name__)
BEAT = 3.0  # seconds between two signs of life
SILENT = 60.0  # seconds without one after which a process counts as lost


class Heartbeat:
    """Inside the block a thread says through the store that this process lives, and reads whether the others do.

    When another process has been silent for ``SILENT`` seconds, or the store itself does not answer, this process ends at once
    with the exit code of TrainingError: torchrun then ends all of them, and starts them again where --max-restarts allows it.
    The process cannot end in good order, since it waits for the lost one in a call that nothing interrupts; a save that it was
    writing is left out whole, as after any kill. ``connect`` opens the store, for the thread alone.
    """

    def __init__(self, connect: Callable[[], dist.Store], rank: int, size: int) -> None:
        self.connect, self.rank, self.size = connect, rank, size
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _run(self) -> None:
        try:
            store = self.connect()
            store.set_timeout(timedelta(seconds=SILENT))
            self._beat(store)
        except RuntimeError:
            if not self._over.wait(2 * BEAT):  # at the end of a training the process that keeps the store may end first
                self._end("the process that keeps the rendezvous does not answer")

    def _beat(self, store: dist.Store) -> None:
        others = [rank for rank in range(self.size) if rank != self.rank]
        heard: dict[int, tuple[bytes, float]] = {}
        count = 0
        while not self._over.wait(BEAT if count else 0.0):
            count += 1
            store.set(f"beat-{self.rank}", str(count))
            now = time.monotonic()
            for rank in others:
                beat = store.get(f"beat-{rank}") if store.check([f"beat-{rank}"]) else b""
                before, since = heard.get(rank, (None, now))
                if beat != before or beat == b"over":
                    heard[rank] = beat, now
                elif now - since > SILENT:
                    self._end(f"process {rank} of {self.size} has given no sign of life for {SILENT:g} seconds")
        store.set(f"beat-{self.rank}", "over")

    def _end(self, why: str) -> None:
        advice = "run the same command to go on from the last save"
        log.error("%s; process %d ends, so that torchrun starts all of them again, or ends them; %s", why, self.rank, advice)
        os._exit(TrainingError.exit_code)

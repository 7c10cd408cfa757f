"""Ctrl-C and SIGTERM as a request that the loop honours between two steps; a second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Interrupts:
    """The signal that asked to stop, 0 while none did."""

    def __init__(self) -> None:
        self.signum = 0

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """The handler: remember the first signal; let the second one do what it does by default."""
        if self.signum:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.signum = signum


@contextmanager
def catch_interrupts() -> Iterator[Interrupts]:
    """Take the stopping signals while inside, and give them back after; outside the main thread nothing is taken."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {signum: signal.signal(signum, interrupts.handle) for signum in STOPPING}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

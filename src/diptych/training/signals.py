"""Ctrl-C, SIGTERM and a closed terminal ask to stop, which long work does at the next good moment; a second signal ends it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from diptych.errors import Interrupted

BEFORE_STEPS = "stopped before any new step was taken; run the same command again"
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
HANGUP = getattr(signal, "SIGHUP", None)  # which Windows lacks


class Interrupts:
    """``signum`` is the signal that asked to stop, and 0 until one does."""

    def __init__(self) -> None:
        self.signum = 0
        self._at_once = False

    def handle(self, signum: int, frame: FrameType | None = None) -> None:
        """Remember the first signal; let a second one do what it does by default, which ends the process."""
        if self.signum:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.signum = signum
        if self._at_once:
            raise KeyboardInterrupt  # which, unlike an Exception, no reading of a damaged file takes for damage

    @contextmanager
    def at_once(self, message: str) -> Iterator[None]:
        """Let the first signal end the block at once, whatever it waits for, with Interrupted: nothing in it needs saving."""
        before, self._at_once = self._at_once, True
        try:
            if self.signum:
                raise KeyboardInterrupt
            yield
        except BaseException as error:  # libraries turn a KeyboardInterrupt during an import into other errors
            if not self.signum:
                raise
            raise Interrupted(message, self.signum) from error
        finally:
            self._at_once = before


@contextmanager
def catch_interrupts() -> Iterator[Interrupts]:
    """Catch signals that ask to stop inside this block, and restore their handlers after it.

    Python handles signals in the main thread only; in other threads nothing is caught. Under ``nohup``, a terminal that is closed
    is no reason to stop: a SIGHUP that is ignored stays so.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    caught = [signum for signum in STOPPING if signum != HANGUP or signal.getsignal(signum) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, interrupts.handle) for signum in caught}
    try:
        yield interrupts
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

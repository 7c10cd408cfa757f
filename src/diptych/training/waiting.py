"""A process that was asked to stop leaves in time, although it waits for another one in a call that nothing interrupts."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from diptych.training.signals import STOPPING

log = logging.getLogger(__name__)
PATIENCE = 20.0  # seconds from a signal on; torchrun kills after 30
STUCK = 2.0  # seconds in one call after which a process counts as waiting, and not as talking to the others


class Waits:
    """``since`` is the time at which this process began to wait for the others, None while it computes, reads or writes."""

    since: float | None = None


WAITS = Waits()


@contextmanager
def waiting() -> Iterator[None]:
    """Inside the block this process waits for others."""
    before, WAITS.since = WAITS.since, time.monotonic()
    try:
        yield
    finally:
        WAITS.since = before


@contextmanager
def leaving_in_time() -> Iterator[None]:
    """End this process if a signal asks it to stop and ``PATIENCE`` seconds later it still waits for the others.

    It ends at once with the exit code of the signal; the last save counts, as after any kill. Python's own handlers of signals
    only run between two of its instructions, which a collective of torch.distributed is; a thread therefore reads the signals
    from the pipe into which Python writes them the moment they come. Outside the main thread nothing is watched.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield
        return
    came, sent = os.pipe()
    os.set_blocking(sent, False)
    over = threading.Event()
    before = signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(came, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(sent)  # which ends the thread's reading
        thread.join(1.0)
        with suppress(OSError):
            os.close(came)


def _watch(came: int, over: threading.Event) -> None:
    stopping = {int(signum) for signum in STOPPING}
    signum = 0
    while not signum:
        numbers = os.read(came, 64)
        if not numbers:
            return
        signum = next((number for number in numbers if number in stopping), 0)
    last = time.monotonic() + PATIENCE
    while not over.wait(0.1):
        now, since = time.monotonic(), WAITS.since
        if now > last and since is not None and now - since > STUCK:
            log.error(
                "asked to stop %g seconds ago, this process waits for another one that does not answer, and ends; "
                "run the same command to go on from the last save",
                PATIENCE,
            )
            os._exit(128 + signum)

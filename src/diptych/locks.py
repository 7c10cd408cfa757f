"""The lock of a run folder: a file that one process holds, and that says which one."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from diptych.errors import LockedError
from diptych.files import UNSUPPORTED

log = logging.getLogger(__name__)
FAR = 1 << 30  # a position in the lock file that lies beyond everything written there
PATIENCE = 1.0  # seconds in which who holds a lock must have said so


def take_lock(lock: IO[str], folder: Path) -> None:
    """Lock a file until it is closed, and write into it who holds it. The system releases the lock of a process that was killed.

    Who holds it but has not said so, nor lives where the file says, has just taken it, or only looks whether it is free, as
    `is_locked` does; both are waited for.
    Warns on file systems without locks. Raises LockedError when another process holds the lock.
    """
    last = time.monotonic() + PATIENCE
    while True:
        try:
            _lock(lock)
            break
        except OSError as error:
            if error.errno in UNSUPPORTED:
                log.warning("%s: its file system has no locks (%s); let no other process train into it", folder, error.strerror)
                return
            lock.seek(0)
            holder = lock.read().strip()
            if time.monotonic() > last or _lives(holder):
                raise LockedError(
                    f"{folder}: another process writes this run ({holder or 'unknown'}); wait for it, or choose another --out"
                ) from error
        time.sleep(0.02)
    if os.name != "nt":
        os.register_at_fork(after_in_child=lock.close)  # or worker processes would keep the lock of a killed training
    with suppress(OSError):  # on a full disk the lock holds without the note
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), f"pid {os.getpid()} on {socket.gethostname()}".encode())


def is_locked(folder: Path) -> bool:
    """Whether another process, or another part of this one, writes a run; False where the file system has no locks."""
    try:
        lock = open(folder / ".lock", "r+")  # noqa: SIM115 - closed below
    except OSError:
        return False
    with lock:
        try:
            _lock(lock)
        except OSError as error:
            return error.errno not in UNSUPPORTED
    return False


def _lock(lock: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        os.lseek(lock.fileno(), FAR, os.SEEK_SET)  # every process locks the same byte, away from the note that others read
        msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lives(holder: str) -> bool:
    """Whether the note in a lock file names a process that lives, or one of another machine, which cannot be known."""
    found = re.fullmatch(r"pid (\d{1,9}) on (.+)", holder)
    if not found:
        return False
    if found[2] != socket.gethostname():
        return True
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except OSError:  # a process of another user
        return True
    return True

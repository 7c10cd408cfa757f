"""Files that are whole or not there: a crash at any instant leaves the old file or the new one."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from diptych.errors import StorageError

SETTLED = 2_000_000_000  # nanoseconds: a file as young as this could change again without its time changing


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either wholly there or as it was: temporary file, fsync, rename, fsync of the folder.

    Raises StorageError with the bytes needed and free, leaving no temporary file, when the disk refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # short, as the name itself may have 255 bytes
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); needs {len(data):,} bytes, {_free(path.parent)} free"
        ) from error


def sync(path: Path) -> None:
    """Wait until a file that was appended to has reached the disk; one that is not there needs no waiting.

    Raises StorageError when the disk refuses.
    """
    try:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); free some space and run the same command") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _free(folder: Path) -> str:
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return "unknown"
    return f"{status.f_bavail * status.f_frsize:,}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, computed once as long as size and time of the file stay. Raises OSError when unreadable."""
    status = path.stat()
    if time.time_ns() - status.st_mtime_ns < SETTLED:
        return _hash(path)
    return _remembered_hash(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino)


def _hash(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1024)
def _remembered_hash(path: str, *identity: int) -> str:
    return _hash(path)

"""Writing files so that a crash at any instant leaves the old file or the new one, and hashing files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import IO

from diptych.errors import ConfigError, StorageError
from diptych.messages import show

SETTLED = 2_000_000_000  # nanoseconds; a younger file could change again without a change of its time stamp

ABANDONED = 3600.0  # seconds
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{16}\.tmp", re.DOTALL)  # the names that write_atomic gives

UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EBADF)
"""Error codes of file systems that lack an operation, such as network shares without locks or without fsync of folders."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or leave the old one as it was: temporary file, fsync, rename, fsync of the folder.

    The folder is made where it is missing. A link to a file below its own folder is followed; one that leads elsewhere is
    refused, since a stranger's folder could lead to any file. A replaced file keeps its mode. Devices such as /dev/null and
    pipes are written to directly. Raises StorageError when the disk refuses, with the bytes needed and free, and leaves no
    temporary file.
    """
    temporary = None
    try:
        refuse_way_out(path)
        before = _status(path)
        if before is not None and not stat.S_ISREG(before.st_mode):
            with open(path, "wb") as file:
                file.write(data)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name has at most 255 bytes, which the target's may have already.
        temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
        _check_space(target.parent, len(data))
        with open(temporary, "wb") as file:
            if before is not None:
                os.chmod(temporary, stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink()
        if isinstance(error, ValueError):  # a zero byte in the name
            raise StorageError(f"{str(path)!r}: cannot be written ({error}); choose another name") from error
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ELOOP):
            raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); needs {len(data):,} bytes, {_free(path.parent)} free"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder of results and those around it, where they are missing.

    Raises ConfigError where a file has its name, and StorageError when the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ConfigError(f"{show(folder)}: is a file, and results go into a folder; choose another --out") from error
    except OSError as error:
        raise StorageError(f"{show(folder)}: cannot be made ({error.strerror}); choose another --out") from error


def refuse_way_out(path: Path) -> None:
    """Raise OSError for a link that leads out of its folder, where writing would change a file that nobody named.

    Links of the system, such as /dev/stdout, are no such links.
    """
    if path.is_symlink() and not os.path.abspath(path).startswith(("/dev/", "/proc/")):
        target, folder = os.path.realpath(path), os.path.realpath(path.parent)
        if os.path.commonpath([target, folder]) != folder:
            raise OSError(errno.EPERM, f"is a link to {show(target)}, outside of its folder; name that file, or remove the link")


def refuse_links_out(folders: Iterable[Path], root: Path) -> None:
    """Raise ConfigError where a folder below a folder of results lies elsewhere, through a link.

    What is written there, or removed, would be files that nobody named. The root itself may be a link, and a folder that is
    missing is made later.
    """
    top = os.path.realpath(root)
    for folder in dict.fromkeys(map(str, folders)):
        if os.path.commonpath([found := os.path.realpath(folder), top]) != top:
            raise ConfigError(
                f"{show(folder)}: leads through a link to {show(found)}, outside of {show(root)}, where nothing is written or "
                "removed; remove the link, or give that folder itself"
            )


def open_to_append(path: Path) -> IO[str]:
    """Open a text file to read and to append to it, made where it is missing.

    Raises OSError for pipes, devices, and links out of its folder.
    """
    refuse_way_out(path)
    return open(_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "a+")


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Raises OSError for pipes and devices, which might never end."""
    return open(_regular(path, os.O_RDONLY), "rb")


def _regular(path: Path, flags: int) -> int:
    """The descriptor of a file. Raises OSError for a folder, pipe, socket or device."""
    try:  # a pipe without a writer would hold open() for ever
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except ValueError as error:
        raise OSError(errno.EINVAL, "has a zero byte in its name", str(path)) from error
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    raise OSError(errno.EINVAL, "is a pipe, socket or device, not a file", str(path))


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a file. Raises OSError for pipes and devices, which might never end, and for more than ``most`` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"has {size:,} bytes, more than {most:,}", str(path))
        return file.read(most)


def read_text(path: Path) -> str:
    """The text of a file, whatever bytes it holds, with plain line ends. Raises OSError for pipes and devices."""
    with open_regular(path) as file:
        return file.read().decode(errors="replace").replace("\r\n", "\n")


def remove_remains(folder: Path, name: str) -> None:
    """Remove the temporary files that killed writes of files of this name (a glob) left.

    Call it only in the one process that may write such files.
    """
    for torn in folder.glob(f".{name}.*.tmp"):
        torn.unlink(missing_ok=True)


def sweep(targets: Iterable[Path]) -> None:
    """Remove the temporary files that killed writes of these files left, if they are older than any write takes."""
    names: dict[Path, set[str]] = {}
    for target in targets:
        names.setdefault(target.parent, set()).add(target.name[:40])
    for folder, own in names.items():
        for torn in folder.glob(".*.tmp"):
            found = TEMPORARY.fullmatch(torn.name)
            with suppress(OSError):  # somebody else may have removed it
                if found and found[1] in own and time.time() - torn.stat().st_mtime > ABANDONED:
                    torn.unlink()


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to the same existing file, through links or other spellings too."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def name_below(path: str | Path, folder: Path) -> str:
    """The path of a file in a folder, with ``/``, as relative_to gives it, but many times as fast where names begin alike.

    Raises ValueError where the file does not lie in the folder.
    """
    name, start = str(path), f"{folder}{os.sep}"
    return (name[len(start) :] if name.startswith(start) else str(Path(path).relative_to(folder))).replace(os.sep, "/")


def refuse_overwrite(out: Path | None, *inputs: str | Path | None) -> None:
    """Raise ConfigError when a result would replace one of the files it is made from. None means that there is no such file."""
    for given in inputs:
        if out is not None and given is not None and is_same_file(out, given):
            raise ConfigError(f"{out}: is the input {given} itself and would be overwritten; name another file")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def sync(path: Path) -> None:
    """Wait until the content of a file has reached the disk. A missing file is passed over.

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
    """Wait until the names in a folder have reached the disk, on file systems that support it."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def free_bytes(folder: Path) -> int | None:
    """The bytes that this user may still write to the disk of a folder; None where the system does not say."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def _check_space(folder: Path, needed: int) -> None:
    """Raise OSError where a file cannot fit, before a part of it takes the last space that others could use."""
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _free(folder: Path) -> str:
    free = free_bytes(folder)
    return "unknown" if free is None else f"{free:,}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes. It is computed again only after size or time stamp of the file changed.

    Raises OSError when the file cannot be read, and for pipes and devices, which might never end.
    """
    status = path.stat()
    if time.time_ns() - status.st_mtime_ns < SETTLED:
        return _hash(path)
    return _remembered_hash(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino)


def _hash(path: str | Path) -> str:
    with open_regular(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1024)
def _remembered_hash(path: str, *identity: int) -> str:
    return _hash(path)

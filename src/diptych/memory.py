"""How much memory a process can still take, how much it has held, and sizes in words."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

RESERVE = 64 * 10**6  # bytes of --memory that are not planned with, as allocators and libraries take more than is asked of them
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@contextmanager
def many_objects() -> Iterator[None]:
    """Make very many objects that stay, without the garbage collector looking at all of them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def available_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a device.

    On CUDA this is the free memory and the unused part of what torch has reserved. On a CPU, and on MPS, which shares its
    memory, it is the smallest of three: the memory that the machine has available, what the control groups of the process leave
    (versions 1 and 2, for containers and batch systems), and its limit of address space (ulimit -v). Where the system reports
    none of them, as on macOS, it is half of the physical memory.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [*_machine_memory(), *_group_memory(), *_address_space()]
    return max(0, min(limits)) if limits else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def default_memory(device: torch.device) -> int:
    """Four fifths of the bytes that this process holds and can still take on a device."""
    return (available_memory(device) + (resident_memory() if device.type == "cpu" else 0)) * 4 // 5


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held on a device.

    On CUDA this is what torch reserved, without the context; on MPS what the driver has allocated so far; on a CPU the resident
    memory, including interpreter and libraries.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    peak = _field(Path("/proc/self/status"), "VmHWM:")
    if peak is not None:
        return peak * 1024
    import resource  # this module does not exist on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_memory() -> int:
    """Bytes of the machine's memory that this process holds now, or 0 where the system does not report it."""
    return (_field(Path("/proc/self/status"), "VmRSS:") or 0) * 1024


def give_back() -> None:
    """Return to the system what was freed and lies between what is in use, where the C library can (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def giving_back(watch: Callable[[float], None], memory: int | None) -> Callable[[float], None]:
    """The same callback of work that goes on in parts; where the process holds most of its ``memory``, it gives back first."""

    def watched(share: float) -> None:
        if memory is not None and resident_memory() > memory * 3 // 4:
            give_back()
        watch(share)

    return watched


def too_little(what: str, needed: int, device: torch.device) -> str:
    """Say that something needs so many bytes besides what the process holds on a device, and how much --memory is enough."""
    held = resident_memory() if device.type == "cpu" else 0
    besides = f" besides the {in_words(held)} that the process itself holds" if held else ""
    return f"{what} {in_words(needed)} of memory{besides}; give --memory {enough(held + needed)} or more"


def enough(needed: int) -> str:
    """So many bytes and the reserve, as --memory takes them, and a little more: what a process holds differs between starts."""
    return f"{-(-(needed + RESERVE) // 10**6) + 5}MB"


def in_words(nbytes: int) -> str:
    """A number of bytes in words, such as ``1.24 GB``, where a GB is 10^9 bytes.

    What is less than 0, such as what limits leave to a process that holds more than they allow, is 0 bytes.
    """
    nbytes = max(0, nbytes)
    power = min(4, (len(str(nbytes)) - 1) // 3)
    digits = max(0, 3 - (len(str(nbytes)) - 3 * power)) if power else 0
    return f"{nbytes / 1000**power:.{digits}f} {UNITS[power]}"


def _machine_memory() -> Iterator[int]:
    if available := _field(Path("/proc/meminfo"), "MemAvailable:"):
        yield available * 1024


def _group_memory(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """The memory that is left in each limiting control group: the process's own group and those that contain it.

    Cached files in a group can be dropped at any time, so they count as free.
    """
    for line in _lines(groups):
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        elif controllers == "":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        else:
            continue
        own = top / path.lstrip("/")
        # Inside a container the path may be the host's and not exist here; then the top is the process's own group.
        for folder in (own, *(parent for parent in own.parents if parent.is_relative_to(top))):
            limit, used = _number(folder / names[0]), _number(folder / names[1])
            if limit is not None and used is not None:
                yield limit - used + (_field(folder / "memory.stat", names[2]) or 0)


def _address_space() -> Iterator[int]:
    with suppress(ImportError):  # Windows has no such limits
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        used = _field(Path("/proc/self/status"), "VmSize:")
        if limit != resource.RLIM_INFINITY and used is not None:
            yield limit - used * 1024


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    """The number in a file; None for a missing file, or one that says ``max``."""
    return next((int(line) for line in _lines(path) if line.isdecimal()), None)


def _field(path: Path, name: str) -> int | None:
    """The number after a name at the beginning of a line of a file; None without such a line."""
    return next((int(found[1]) for line in _lines(path) if (found := re.match(rf"{re.escape(name)}\s+(\d+)", line))), None)

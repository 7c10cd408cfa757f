"""How much memory is left on a device, how much a process has held, and how sizes read in words."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def available_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a device.

    CUDA: what is free, and what torch holds in reserve unused. The CPU: the least of what the machine has available, what the
    process's control groups (version 1 and 2: containers, batch systems) leave, and its limit of address space (ulimit -v);
    where the system says none of it, as macOS, half of the physical memory. MPS, whose memory is the machine's: the same.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [*_machine_memory(), *_group_memory(), *_address_space()]
    return max(0, min(limits)) if limits else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def peak_memory(device: torch.device) -> int:
    """Bytes that this process held at most.

    CUDA: what torch reserved, beside the context. MPS: what the driver has given by now. The CPU: resident memory, with
    interpreter and libraries.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    peak = _field(Path("/proc/self/status"), "VmHWM:")
    if peak is not None:
        return peak * 1024
    import resource  # not on Windows, which this fails on

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_memory() -> int:
    """Bytes of the machine's memory that this process holds now; 0 where the system does not say."""
    return (_field(Path("/proc/self/status"), "VmRSS:") or 0) * 1024


def in_words(nbytes: int) -> str:
    """Bytes as people say them: ``1.24 GB``, a GB being 10^9."""
    power = min(4, (len(str(nbytes)) - 1) // 3)
    digits = max(0, 3 - (len(str(nbytes)) - 3 * power)) if power else 0
    return f"{nbytes / 1000**power:.{digits}f} {UNITS[power]}"


def _machine_memory() -> Iterator[int]:
    if available := _field(Path("/proc/meminfo"), "MemAvailable:"):
        yield available * 1024


def _group_memory(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """What each control group that limits memory leaves, the process's own and those around it.

    What the group holds of files can be taken back at any time, so it counts as free.
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
        # Inside a container the path may be the host's, which is not there: then the top is the process's own group.
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
    """The number that is a file's first word; None for a file that is not there, or one that says ``max``."""
    return next((int(line) for line in _lines(path) if line.isdecimal()), None)


def _field(path: Path, name: str) -> int | None:
    """The number that follows a name at the beginning of a line."""
    return next((int(found[1]) for line in _lines(path) if (found := re.match(rf"{re.escape(name)}\s+(\d+)", line))), None)

"""The choice of the hardware that computes, and of its precision."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from diptych.choices import Precision
from diptych.errors import ConfigError


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA, then Apple's MPS, then the CPU; under torchrun each process takes the CUDA device of its local rank.

    The chosen CUDA device becomes the current one, on which graphs are recorded and streams are opened. Raises ConfigError when
    the named device is not there.
    """
    if not re.fullmatch(r"auto|cpu(:0)?|cuda(:\d+)?|mps(:0)?", str(name)):
        raise ConfigError(f"device must be auto, cpu, cuda, cuda:N or mps, found {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); choose auto, cpu, cuda, cuda:N or mps") from error
    return device


def pick_precision(wanted: Precision, device: torch.device) -> Precision:
    """``auto`` is bf16 where the hardware computes in it: CUDA from compute capability 8, CPUs with AVX512-BF16 or AMX."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bf16" if fast else "fp32"


@contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Let cuDNN take only kernels that give equal bits in every run, in all of the process, inside this block."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def describe(device: torch.device, precision: Precision) -> str:
    """Device and precision in words, such as ``cpu (2 threads), bf16``."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    return f"{device.type} ({torch.get_num_threads()} threads), {precision}"


def workers_for(device: torch.device) -> int:
    """The number of processes that load images: none beside training on a CPU, else up to 8 and at most one for each core."""
    return (
        0
        if device.type == "cpu"
        else min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    )

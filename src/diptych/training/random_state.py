"""The random state of a process and its device, to be saved, restored, and preserved around work beside the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of the CPU's generator, ``rng``, and of the device's, ``cuda_rng`` or ``mps_rng``."""
    state = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda_rng"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps_rng"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what random_state returned; the generator of another kind of device than the saved one stays as it is."""
    torch.set_rng_state(state["rng"])
    if device.type == "cuda" and "cuda_rng" in state:
        torch.cuda.set_rng_state(state["cuda_rng"], device)
    elif device.type == "mps" and "mps_rng" in state:
        torch.mps.set_rng_state(state["mps_rng"])


@contextmanager
def preserved_random_state(device: torch.device) -> Iterator[None]:
    """Restore the random state after this block."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)

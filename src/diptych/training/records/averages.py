"""Losses are summed on the device and read rarely, so that a step never waits for a number."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.training.distributed import World, mean_over

EXACT = {"mps": torch.float32}  # Apple's GPUs lack float64


def exact_dtype(device: torch.device) -> torch.dtype:
    """The most exact floating-point type that a device has."""
    return EXACT.get(device.type, torch.float64)


class LossAverages:
    """The sum of every loss over the steps since they were last read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, phase: str, terms: dict[str, Tensor]) -> None:
        """Add the terms of a phase to the sums, under the names ``phase/term``."""
        for name, term in terms.items():
            value = term.detach().to(exact_dtype(term.device))
            self.sums.setdefault(f"{phase}/{name}", torch.zeros_like(value)).add_(value)

    def read(self, world: World) -> dict[str, float]:
        """The mean of every loss over these steps and all processes; this waits for the device, and starts again from zero."""
        if not self.steps:
            return {}
        means = mean_over(torch.stack(list(self.sums.values())) / self.steps, world).tolist()
        losses = dict(zip(self.sums, means, strict=True))
        self.clear()
        return losses

    def peek(self) -> dict[str, float]:
        """The means so far in this process alone, which go on; this waits for the device."""
        if not self.steps:
            return {}
        means = (torch.stack(list(self.sums.values())) / self.steps).tolist()
        return dict(zip(self.sums, means, strict=True))

    def clear(self) -> None:
        """Start again from zero. The sums keep their addresses, since a CUDA graph adds to them there."""
        for value in self.sums.values():
            value.zero_()
        self.steps = 0

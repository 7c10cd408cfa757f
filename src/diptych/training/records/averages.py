"""Losses summed on the device and read rarely, so that the step never waits for a number."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.training.distributed import World, mean_over

EXACT = {"mps": torch.float32}  # Apple's GPUs know no float64


class LossAverages:
    """Running sums of every term since they were last read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, phase: str, terms: dict[str, Tensor]) -> None:
        """Count a phase's terms as ``phase/term``."""
        for name, term in terms.items():
            value = term.detach().to(EXACT.get(term.device.type, torch.float64))
            self.sums.setdefault(f"{phase}/{name}", torch.zeros_like(value)).add_(value)

    def read(self, world: World) -> dict[str, float]:
        """Means since the last reading, over all processes; waits for the device once and starts again from zero."""
        if not self.steps:
            return {}
        means = mean_over(torch.stack(list(self.sums.values())) / self.steps, world).tolist()
        losses = dict(zip(self.sums, means, strict=True))
        self.clear()
        return losses

    def clear(self) -> None:
        """Forget the steps since the last reading; the sums stay where they are, as a recorded step adds to them there."""
        for value in self.sums.values():
            value.zero_()
        self.steps = 0

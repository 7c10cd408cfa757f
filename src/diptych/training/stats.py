"""Losses summed on the device and read rarely, so that the step never waits for a number."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.training.distributed import World, mean_over


class Stats:
    """Running sums of every term since they were last read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, phase: str, terms: dict[str, Tensor]) -> None:
        """Count a phase's terms as ``phase/term``."""
        for name, term in terms.items():
            key = f"{phase}/{name}"
            value = term.detach().double()
            self.sums[key] = self.sums[key] + value if key in self.sums else value

    def read(self, world: World) -> dict[str, float]:
        """Means since the last reading, over all processes; waits for the device once and starts again from zero."""
        if not self.steps:
            return {}
        means = mean_over(torch.stack(list(self.sums.values())) / self.steps, world).tolist()
        losses = dict(zip(self.sums, means, strict=True))
        self.clear()
        return losses

    def clear(self) -> None:
        """Forget the steps since the last reading."""
        self.sums, self.steps = {}, 0

"""Exponential moving average of the generators' weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """Copies of networks whose weights are moving averages of the originals' weights; buffers are plain copies."""

    def __init__(self, nets: nn.ModuleDict, decay: float) -> None:
        super().__init__()
        self.nets = copy.deepcopy(nets).requires_grad_(False)
        self.decay = decay

    def translators(self) -> dict[str, nn.Module]:
        """The averaged networks, by name."""
        return dict(self.nets.items())

    @torch.no_grad()
    def update(self, nets: nn.ModuleDict) -> None:
        """Update the averages: ``average <- decay * average + (1 - decay) * weights``, in one fused call."""
        averages: list[Tensor] = list(self.nets.parameters())
        weights = [p.detach() for p in nets.parameters()]
        torch._foreach_lerp_(averages, weights, 1.0 - self.decay)
        for kept, current in zip(self.nets.buffers(), nets.buffers(), strict=True):
            kept.copy_(current)

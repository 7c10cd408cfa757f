"""Exponential moving average of the generators' weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """Copies of networks whose weights are moving averages of the originals' weights; buffers are plain copies.

    With ``warm_up`` the decay of update n, counted from 0, is min(decay, (1 + n) / (10 + n)), so that the average of a short
    training is not mostly its initial weights.
    """

    def __init__(self, nets: nn.ModuleDict, decay: float, *, warm_up: bool = False) -> None:
        super().__init__()
        self.nets = copy.deepcopy(nets).requires_grad_(False)
        self.decay = decay
        self.updates: Tensor | None
        self.register_buffer("updates", torch.zeros(()) if warm_up else None)  # on the device, where a CUDA graph reads it

    def translators(self) -> dict[str, nn.Module]:
        """The averaged networks, by name."""
        return dict(self.nets.items())

    @torch.no_grad()
    def update(self, nets: nn.ModuleDict) -> None:
        """Update the averages: ``average <- decay * average + (1 - decay) * weights``, in one fused call."""
        averages: list[Tensor] = list(self.nets.parameters())
        weights = [p.detach() for p in nets.parameters()]
        if self.updates is None:
            torch._foreach_lerp_(averages, weights, 1.0 - self.decay)
        else:
            share = 1.0 - ((1.0 + self.updates) / (10.0 + self.updates)).clamp(max=self.decay)
            torch._foreach_lerp_(averages, weights, [share.to(w.dtype).expand_as(w) for w in weights])
            self.updates.add_(1.0)
        for kept, current in zip(self.nets.buffers(), nets.buffers(), strict=True):
            kept.copy_(current)

"""Stages of a network whose inner activations need not be kept for the backward pass (Chen et al. 2016, arXiv 1604.06174)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diptych.nets import fused


@final
class Stage(nn.Sequential):
    """Layers in a row; with ``recompute`` only their input is kept, and the backward pass computes them once more.

    The same values and gradients, dropout included, for less memory and one more forward pass. BatchNorm counts a batch once.
    """

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._layers(x)
        draws = self.training and any(isinstance(layer, nn.Dropout) for layer in self)
        if draws and x.is_cuda and torch.cuda.is_current_stream_capturing():
            return self._layers(x)  # random state cannot be rewound while a CUDA graph is recorded, so activations are kept
        return checkpoint(self._layers, x, use_reentrant=False, context_fn=self._contexts, preserve_rng_state=draws)

    def _layers(self, x: Tensor) -> Tensor:
        return fused.forward(self, x) if fused.usable(x) else super().forward(x)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._without_counting()

    @contextmanager
    def _without_counting(self) -> Iterator[None]:
        norms = [layer for layer in self if isinstance(layer, nn.BatchNorm2d)]
        kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            yield
        finally:
            for norm, (momentum, count) in zip(norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, count


@final
class StyledStage(nn.Sequential):
    """Layers in a row, of which those that say ``conditional`` take a style beside their features; recomputed as a `Stage` is."""

    recompute = False
    conditional = True

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        if not (self.recompute and torch.is_grad_enabled()):
            return self._layers(x, *context)
        draws = self.training and any(isinstance(module, nn.Dropout) and module.p for module in self.modules())
        if draws and x.is_cuda and torch.cuda.is_current_stream_capturing():
            return self._layers(x, *context)  # as in Stage
        return checkpoint(self._layers, x, *context, use_reentrant=False, preserve_rng_state=draws)

    def _layers(self, x: Tensor, *context: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, *context) if getattr(layer, "conditional", False) else layer(x)
        return x


def recompute_stages(net: nn.Module) -> None:
    """Let every stage of a network trade time for memory."""
    for module in net.modules():
        if isinstance(module, Stage | StyledStage):
            module.recompute = True

"""Norms with statistics that are given, in the place of norms that measure them in every image.

Instance norm, and batch norm in mode paper, take the mean and the variance of every channel from the image at hand. With
statistics that were measured once, a network treats each pixel by its surroundings alone: every frame of a film alike, and every
tile as in the whole image.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Norm = nn.InstanceNorm2d | nn.BatchNorm2d


@final
class FixedNorm(nn.Module):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, by channel; weight, bias and eps are those of the norm it replaces.

    Its tensors have the names that batch norm gives them, and are float32.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: Norm, mean: Float[Tensor, c], variance: Float[Tensor, c]) -> None:
        super().__init__()
        self.eps, device = norm.eps, mean.device if norm.weight is None else norm.weight.device
        affine = norm.weight is not None
        self.register_buffer("weight", norm.weight.detach().float() if affine else torch.ones(len(mean), device=device))
        self.register_buffer("bias", norm.bias.detach().float() if affine else torch.zeros(len(mean), device=device))
        self.register_buffer("running_mean", mean.to(device, torch.float32, copy=True))
        self.register_buffer("running_var", variance.to(device, torch.float32, copy=True))

    def extra_repr(self) -> str:
        """The number of channels, for the network's description."""
        return f"{len(self.running_mean)}, eps={self.eps}"

    def set(self, mean: Float[Tensor, c], variance: Float[Tensor, c]) -> None:
        """Take other statistics, in place."""
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def measuring_norms(net: nn.Module) -> dict[str, Norm]:
    """The norms of a network, by name, that measure their statistics in the images at hand."""
    found: dict[str, Norm] = {}
    for name, module in net.named_modules():
        own = isinstance(module, nn.InstanceNorm2d | nn.BatchNorm2d) and not module.track_running_stats
        if own or (isinstance(module, nn.BatchNorm2d) and module.training):
            found[name] = module
    return found


def with_norms(net: nn.Module, make: Callable[[str, Norm], nn.Module], names: Mapping[str, object]) -> nn.Module:
    """Modules over the weights and buffers of ``net`` in which ``make(name, norm)`` stands for each norm that is named."""
    kept = {id(tensor): tensor for tensor in itertools.chain(net.parameters(), net.buffers())}
    changed: nn.Module = copy.deepcopy(net, kept)
    for name in names:
        parent, _, own = name.rpartition(".")
        setattr(changed.get_submodule(parent), own, make(name, changed.get_submodule(name)))  # type: ignore[arg-type]
    return changed

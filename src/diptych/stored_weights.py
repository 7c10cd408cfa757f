"""Weights as files hold them: as they are, in 16 bits, or those of convolutions and linear layers in 8 bits with scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from diptych.errors import WeightsError

Bits = Literal[32, 16, 8]
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
LARGEST_HALF = 65504.0  # of 16-bit floats
LARGEST_LEVEL = 126  # of a weight before it is rounded; rounding of running sums may add 1


def stored(name: str, net: nn.Module, bits: Bits) -> dict[str, dict[str, Tensor]]:
    """The weights of a network as a file holds them, with the ``scales`` of those in 8 bits.

    All that is in no convolution or linear layer, biases too, takes 16 bits where ``bits`` is 8. Raises WeightsError for a weight
    that 16 bits cannot hold.
    """
    weights = net.state_dict()
    if bits == 32:
        return {"weights": weights}
    layers = {f"{path}.weight": module for path, module in net.named_modules() if isinstance(module, LAYERS)}
    scales: dict[str, Tensor] = {}
    for key, value in weights.items():
        if not value.is_floating_point():
            continue
        largest = float(value.abs().max()) if value.numel() else 0.0
        if not largest <= LARGEST_HALF:
            raise WeightsError(f"{name} has a weight of {largest:g}, which 16 bits cannot hold")
        if bits == 8 and key in layers:
            weights[key], scales[key] = quantized(value, 1 if isinstance(layers[key], nn.ConvTranspose2d) else 0)
        else:
            weights[key] = value.half()
    return {"weights": weights, "scales": scales} if scales else {"weights": weights}


def quantized(weight: Float[Tensor, "n c *taps"], axis: int) -> tuple[Int8[Tensor, "n c *taps"], Float[Tensor, "_ _ *ones"]]:
    """Whole numbers, and a scale for each index of the axis of output channels, whose products are nearly the weights.

    The running sums over the taps of a kernel are rounded, not the taps: what rounding changes at one tap is made up for at the
    next, and so has little effect where neighbouring pixels are alike.
    """
    others = [dim for dim in range(weight.ndim) if dim != axis]
    scale = (weight.abs().amax(others, keepdim=True).float() / LARGEST_LEVEL).clamp_min(torch.finfo(torch.float32).tiny)
    taps = (weight.double() / scale.double()).reshape(*weight.shape[:2], -1)
    sums = taps.cumsum(2).round()
    return sums.diff(dim=2, prepend=torch.zeros_like(sums[..., :1])).view(weight.shape).to(torch.int8), scale


def restored(name: str, entry: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of what `stored` gave, floats again where they are in 8 bits. Raises ValueError for scales that do not fit."""
    weights, scales = dict(entry.get("weights", {})), entry.get("scales", {})
    for key in scales.keys() | {key for key, weight in weights.items() if weight.dtype == torch.int8}:
        weight, scale = weights.get(key), scales.get(key)
        if scale is None or weight is None or weight.dtype != torch.int8:
            raise ValueError(f"{name}.scales.{key}: every weight in 8 bits needs its scale, and only these have one")
        shape = tuple(scale.shape)
        if len(shape) != weight.ndim or any(n not in (1, m) for n, m in zip(shape, weight.shape, strict=True)):
            raise ValueError(f"{name}.scales.{key}: has shape {shape}, which does not fit weights of {tuple(weight.shape)}")
        if scale.dtype != torch.float32 or not bool((scale.isfinite() & (scale > 0)).all()):
            raise ValueError(f"{name}.scales.{key}: must be of finite 32-bit floats above 0")
        weights[key] = weight.float() * scale
    return weights

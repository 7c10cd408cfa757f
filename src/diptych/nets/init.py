"""Initialisation of networks, as the papers and their code do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError

Init = Literal["normal", "xavier", "kaiming", "orthogonal"]

INITS: dict[Init, Callable[[Tensor, float], Tensor]] = {
    "normal": lambda weight, gain: nn.init.normal_(weight, 0.0, gain),
    "xavier": lambda weight, gain: nn.init.xavier_normal_(weight, gain),
    "kaiming": lambda weight, gain: nn.init.kaiming_normal_(weight, 0.0, "fan_in"),
    "orthogonal": lambda weight, gain: nn.init.orthogonal_(weight, gain),
}


def initialise(net: nn.Module, kind: Init = "normal", gain: float = 0.02) -> nn.Module:
    """Draw the weights of all convolutions and linear layers afresh, in place: N(0, gain) for "normal"; biases 0.

    BatchNorm's scale is N(1, gain).

    A convolution in front of a PixelShuffle gets one kernel for all four sub-pixels (ICNR, Aitken et al. 2017), so that it starts
    as a nearest-neighbour upsampling without a checkerboard.
    """
    if kind not in INITS:
        raise ConfigError(f"init must be one of {', '.join(INITS)}, found {kind!r}")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            INITS[kind](module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
    for module in net.modules():  # once all kernels are drawn: modules() names a Sequential before its convolutions
        if isinstance(module, nn.Sequential):
            _copy_kernels_of_subpixels(module)
    return net


def _copy_kernels_of_subpixels(layers: nn.Sequential) -> None:
    for conv, shuffle in zip(layers, list(layers)[1:], strict=False):
        if isinstance(conv, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle):
            copies = shuffle.upscale_factor**2
            with torch.no_grad():
                conv.weight.copy_(conv.weight[::copies].repeat_interleave(copies, 0))

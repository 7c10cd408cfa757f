"""Images of one flat colour: InstanceNorm would amplify the rounding of the first convolution to a picture of noise.

A residual generator mirrors its borders, so a flat image stays flat through its first convolution, and InstanceNorm makes it 0
(or its shift). Computed, the features differ in their last bits, and every InstanceNorm after it multiplies those by up to
1 / sqrt(eps) = 316: after three of them they are as large as a picture, and another one with every backend.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diptych.inference.norm_statistics import Measuring
from diptych.nets import GlobalGenerator, ResNet


def first_norm(net: nn.Module) -> nn.InstanceNorm2d | None:
    """The InstanceNorm behind the first convolution of a residual generator; None for every other network."""
    if not isinstance(net, ResNet | GlobalGenerator) or len(net.stem) < 3:
        return None
    pad, _, norm, *_ = net.stem
    return norm if isinstance(pad, nn.ReflectionPad2d) and isinstance(norm, nn.InstanceNorm2d) else None


def keep_flat(net: nn.Module) -> nn.Module:
    """Make a residual generator compute what exact arithmetic gives for flat images; it and others stay as they are."""
    norm = first_norm(net)
    if norm is not None:
        assert isinstance(net.stem, nn.Module)
        net.stem.register_forward_hook(_exact_where_flat)
    return net


def _exact_where_flat(stem: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor | None:
    x = inputs[0]
    if x.is_meta:  # what is recorded for windows has no values
        return None
    norm = stem[2]  # type: ignore[index]
    if isinstance(norm, nn.InstanceNorm2d):
        flat = (x == x[:, :, :1, :1]).all((1, 2, 3), True)
    elif isinstance(norm, Measuring):  # it measures over all images together, among which one that is flat is not 0
        flat = (x == x[:1, :, :1, :1]).all()
    else:
        return None
    exact = out.new_zeros(()) if norm.bias is None else norm.bias.relu().to(out.dtype)[:, None, None]
    return torch.where(flat, exact, out)

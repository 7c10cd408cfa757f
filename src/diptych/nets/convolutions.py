"""Strided convolutions and transposed convolutions that stay fast on a CPU where maps are small and weights are many.

Deep in a U-Net a map has a few dozen positions and a kernel millions of weights. There a CPU spends its time rearranging the
weights for its convolution kernels; in one matrix product over unfolded patches they are used as they lie.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets.instance_norm import channels_innermost

FEW, MANY = 256, 2**20  # positions of the coarse map over the whole batch; weights


def better_as_product(x: Tensor, weight: Tensor, positions: int) -> bool:
    """Whether a convolution with so many positions on its coarse side is faster as one matrix product."""
    few = 0 < positions <= FEW
    return x.device.type == "cpu" and few and weight.numel() >= MANY and not torch.compiler.is_compiling()


def square(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int, int]:
    """Kernel size, stride and padding."""
    assert not isinstance(layer.padding, str)
    return layer.kernel_size[0], layer.stride[0], layer.padding[0]


@final
class Conv2d(nn.Conv2d):
    """The base class's function, for square kernels and zero padding, by whichever way is faster."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d p q"]:
        n, _, h, w = x.shape
        k, s, pad = square(self)
        rows, columns = (h + 2 * pad - k) // s + 1, (w + 2 * pad - k) // s + 1
        if not better_as_product(x, self.weight, n * rows * columns):
            return super().forward(x)
        patches = F.unfold(x, k, padding=pad, stride=s).transpose(1, 2).flatten(0, 1)  # (n p q, c k k)
        return F.linear(patches, self.weight.flatten(1), self.bias).view(n, rows, columns, -1).permute(0, 3, 1, 2)


@final
class ConvTranspose2d(nn.ConvTranspose2d):
    """The base class's function, for square kernels, by whichever way is faster."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d p q"]:  # type: ignore[override]
        n, _, h, w = x.shape
        if not better_as_product(x, self.weight, n * h * w):
            return super().forward(x)
        k, s, pad = square(self)
        grown = k - 2 * pad + self.output_padding[0]
        size = (h - 1) * s + grown, (w - 1) * s + grown
        patches = F.linear(x.permute(0, 2, 3, 1).flatten(0, 2), self.weight.flatten(1).t()).view(n, h * w, -1)  # (n, h w, d k k)
        y = F.fold(patches.transpose(1, 2), size, k, padding=pad, stride=s)
        y = y if self.bias is None else y + self.bias[:, None, None]
        y = y.to(patches.dtype)  # autocast adds up the patches in float32; the base class rounds after that too
        return y.contiguous(memory_format=torch.channels_last) if channels_innermost(x) else y

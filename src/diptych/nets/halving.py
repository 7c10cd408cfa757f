"""The anti-aliased halving of images on a CPU, and its gradient, by a few sums of whole rows and columns.

PyTorch's means over pixels are slow there, above all their gradients, and a mirrored border costs two more copies of an image.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def halve(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
    """Blur with [1 2 1] x [1 2 1] / 16 over mirrored borders and keep every second pixel; at least 2 x 2 pixels."""
    return _Halve.apply(x)


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape[-2:]
        return _halved(_halved(x, 2), 3)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _Spread.apply(grad, *ctx.size)


class _Spread(torch.autograd.Function):
    """The gradient of `_Halve`. Both are linear, so each is the gradient of the other."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, height: int, width: int) -> Tensor:
        return _spread(_spread(grad, 3, width), 2, height)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Halve.apply(grad), None, None


def _halved(x: Tensor, dim: int) -> Tensor:
    """y_i = (x_(2i-1) + 2 x_2i + x_(2i+1)) / 4 along one dimension, mirrored at both ends: x_-1 is x_1."""
    even, odd = _every_second(x, dim, 0), _every_second(x, dim, 1)
    y = even * 0.5
    for beside_even, beside_odd in _neighbours(y, odd, dim):
        beside_even.add_(beside_odd, alpha=0.25)
    return y


def _spread(grad: Tensor, dim: int, size: int) -> Tensor:
    """The gradient of `_halved` for ``size`` pixels."""
    shape = list(grad.shape)
    shape[dim] = size
    layout = torch.channels_last if grad.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
    even, odd = _every_second(x, dim, 0), _every_second(x, dim, 1)
    torch.mul(grad, 0.5, out=even)
    (first, all_odd), *others = _neighbours(grad, odd, dim)
    torch.mul(first, 0.25, out=all_odd)
    for beside_even, beside_odd in others:
        beside_odd.add_(beside_even, alpha=0.25)
    return x


def _neighbours(even: Tensor, odd: Tensor, dim: int) -> list[tuple[Tensor, Tensor]]:
    """Views of even rows or columns and of odd ones beside them: those behind, those before, and the mirrored at both ends."""
    evens, odds = even.shape[dim], odd.shape[dim]
    stretches = [(0, 0, odds), (1, 0, evens - 1), (0, 0, 1), *([(evens - 1, odds - 1, 1)] if odds < evens else [])]
    return [(even.narrow(dim, i, length), odd.narrow(dim, k, length)) for i, k, length in stretches]


def _every_second(x: Tensor, dim: int, begin: int) -> Tensor:
    """A view of every second row or column."""
    return x[:, :, begin::2] if dim == 2 else x[:, :, :, begin::2]

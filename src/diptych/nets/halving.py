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
    y, count = even * 0.5, even.shape[dim]
    y.narrow(dim, 0, odd.shape[dim]).add_(odd, alpha=0.25)
    y.narrow(dim, 1, count - 1).add_(odd.narrow(dim, 0, count - 1), alpha=0.25)
    y.select(dim, 0).add_(odd.select(dim, 0), alpha=0.25)
    if odd.shape[dim] < count:
        y.select(dim, -1).add_(odd.select(dim, -1), alpha=0.25)
    return y


def _spread(grad: Tensor, dim: int, size: int) -> Tensor:
    """The gradient of `_halved` for ``size`` pixels."""
    shape = list(grad.shape)
    shape[dim] = size
    layout = torch.channels_last if grad.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
    even, odd, count = _every_second(x, dim, 0), _every_second(x, dim, 1), grad.shape[dim]
    torch.mul(grad, 0.5, out=even)
    torch.mul(grad.narrow(dim, 0, odd.shape[dim]), 0.25, out=odd)
    odd.narrow(dim, 0, count - 1).add_(grad.narrow(dim, 1, count - 1), alpha=0.25)
    odd.select(dim, 0).add_(grad.select(dim, 0), alpha=0.25)
    if odd.shape[dim] < count:
        odd.select(dim, -1).add_(grad.select(dim, -1), alpha=0.25)
    return x


def _every_second(x: Tensor, dim: int, begin: int) -> Tensor:
    """A view of every second row or column."""
    return x[:, :, begin::2] if dim == 2 else x[:, :, :, begin::2]

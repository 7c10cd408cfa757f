"""Instance norm, rectifiers and mirroring by few large kernels on CUDA, for images with channels innermost (channels_last).

Between two convolutions PyTorch launches a dozen small kernels: statistics, normalisation, activation, mirroring, and their
gradients. On a fast GPU they take longer than the convolutions. Here each is
one or two kernels over all images of a batch. Every sum is taken in a fixed order, so that equal inputs give equal bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

KINDS = (torch.float32, torch.bfloat16, torch.float16)
ROWS, CHANNELS = 128, 32  # pixels and channels that a program of a kernel works on at once
PROGRAMS, MOST_SPLITS = 512, 64  # programs that fill a GPU; parts of an image whose statistics are merged

HAS_TRITON = find_spec("triton") is not None


def usable(x: Tensor) -> bool:
    """Whether these kernels can compute on images: on CUDA, channels innermost, in at most float32, with Triton installed."""
    innermost = x.is_contiguous(memory_format=torch.channels_last)
    return HAS_TRITON and x.is_cuda and x.dtype in KINDS and innermost and not torch.compiler.is_compiling()


def instance_norm(x: Float[Tensor, "n c h w"], eps: float, slope: float = 1.0) -> Float[Tensor, "n c h w"]:
    """Normalise every channel of every image, then multiply what is negative by ``slope`` (0: ReLU, 0.2: LeakyReLU, 1: nothing).

    Statistics are in float32. Gradients are differentiable once more, by PyTorch's own operations.
    """
    return _InstanceNorm.apply(x, eps, slope)


def mirror(x: Float[Tensor, "n c h w"], pad: int) -> Float[Tensor, "n c ph pw"]:
    """Mirror ``pad`` pixels at every border, fewer than the image has."""
    return _Mirror.apply(x, pad)


class _InstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, slope: float) -> Tensor:
        from diptych.nets import kernels

        n, channels, rows, splits, per_split, per_program = _shares(x)
        parts = x.new_empty((2, n, splits, channels), dtype=torch.float32)
        whole = x.new_empty((2, n, channels), dtype=torch.float32)
        y = torch.empty_like(x)
        blocks, size = ceil_div(channels, CHANNELS), {"R": ROWS, "C": CHANNELS}
        kernels.moments[(n, splits, blocks)](x, *parts, rows, channels, per_split, splits, **size)
        programs = n, ceil_div(rows, per_program), blocks
        kernels.normalise[programs](x, y, *parts, *whole, rows, channels, per_split, splits, eps, slope, per_program, **size)
        ctx.save_for_backward(x, whole)
        ctx.eps, ctx.slope = eps, slope
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, whole = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will itself be differentiated
            y = F.leaky_relu(F.instance_norm(x, eps=ctx.eps), ctx.slope)
            return torch.autograd.grad(y, x, grad, create_graph=True)[0], None, None
        grad = grad.contiguous(memory_format=torch.channels_last)
        from diptych.nets import kernels

        n, channels, rows, splits, per_split, per_program = _shares(x)
        parts, out = x.new_empty((2, n, splits, channels), dtype=torch.float32), torch.empty_like(x)
        blocks, size = ceil_div(channels, CHANNELS), {"R": ROWS, "C": CHANNELS}
        kernels.gradient_sums[(n, splits, blocks)](x, grad, *whole, *parts, rows, channels, per_split, splits, ctx.slope, **size)
        programs = n, ceil_div(rows, per_program), blocks
        kernels.gradient[programs](x, grad, out, *whole, *parts, rows, channels, splits, ctx.slope, per_program, **size)
        return out, None, None


class _Mirror(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pad: int) -> Tensor:
        n, channels, height, width = ctx.shape = x.shape
        ctx.pad = pad
        shape = n, channels, height + 2 * pad, width + 2 * pad
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        _over_pixels("mirror", x, out, height, width, pad)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # this gradient will itself be differentiated
            x = torch.zeros(ctx.shape, dtype=grad.dtype, device=grad.device, requires_grad=True)
            return torch.autograd.grad(F.pad(x, [ctx.pad] * 4, mode="reflect"), x, grad, create_graph=True)[0], None
        grad = grad.contiguous(memory_format=torch.channels_last)
        out = torch.empty(ctx.shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)
        _over_pixels("fold", grad, out, ctx.shape[2], ctx.shape[3], ctx.pad)
        return out, None


def _over_pixels(kernel: str, source: Tensor, out: Tensor, height: int, width: int, pad: int) -> None:
    from diptych.nets import kernels

    n, channels, out_height, out_width = out.shape
    pixels = n * out_height * out_width
    block = min(CHANNELS, 1 << (channels - 1).bit_length())
    rows = ROWS * CHANNELS // block
    programs = ceil_div(pixels, rows), ceil_div(channels, block)
    getattr(kernels, kernel)[programs](source, out, height, width, channels, pixels, pad, R=rows, C=block)


def forward(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Apply layers in a row, as nn.Sequential does, with fewer kernels: an instance norm takes the rectifier after it along.

    InstanceNorm subtracts each channel's mean, so a bias right before it has no effect; it is not added, and gets no gradient.
    Layers with hooks are called as they are.
    """
    waiting = deque(layers)
    while waiting:
        layer, following = waiting.popleft(), waiting[0] if waiting else None
        alone = bool(layer._forward_hooks) or following is None or bool(following._forward_hooks)
        if not alone and isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(following, nn.InstanceNorm2d):
            x = _convolved_without_bias(layer, x)
        elif not alone and usable(x) and _plain_norm(layer) and isinstance(following, nn.ReLU | nn.LeakyReLU):
            x = instance_norm(x, layer.eps, getattr(following, "negative_slope", 0.0))
            waiting.popleft()
        else:
            x = layer(x)
    return x


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _plain_norm(layer: nn.Module) -> TypeGuard[nn.InstanceNorm2d]:
    return isinstance(layer, nn.InstanceNorm2d) and layer.weight is None


def _convolved_without_bias(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    if isinstance(layer, nn.ConvTranspose2d):
        stride, padding, more = layer.stride, layer.padding, layer.output_padding
        return F.conv_transpose2d(x, layer.weight, None, stride, padding, more, layer.groups, layer.dilation)  # type: ignore[arg-type]
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _shares(x: Tensor) -> tuple[int, int, int, int, int, int]:
    """Images, channels, pixels; parts of an image and pixels in each, for sums; pixels of a program, for element by element."""
    n, channels, height, width = x.shape
    rows, blocks = height * width, ceil_div(channels, CHANNELS)
    tiles = ceil_div(rows, ROWS)
    splits = max(1, min(MOST_SPLITS, tiles, PROGRAMS // (n * blocks)))
    per_split = ceil_div(tiles, splits) * ROWS
    per_program = max(1, min(8, n * tiles * blocks // PROGRAMS)) * ROWS
    return n, channels, rows, ceil_div(rows, per_split), per_split, per_program

"""Instance norm, rectifiers and mirroring by few large kernels on CUDA, for images with channels innermost (channels_last).

Between two convolutions PyTorch launches a dozen small kernels: statistics, normalisation, activation, mirroring, and their
gradients. On a fast GPU they take longer than the convolutions. Here each is
one or two kernels over all images of a batch. Every sum is taken in a fixed order, so that equal inputs give equal bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ROWS, CHANNELS = 128, 32  # pixels and channels that a program of a kernel works on at once
PROGRAMS, MOST_SPLITS = 512, 64  # programs that fill a GPU; parts of an image whose statistics are merged

HAS_TRITON = find_spec("triton") is not None


def usable(x: Tensor) -> bool:
    """Whether these kernels can compute on images: on CUDA, with channels innermost and Triton installed."""
    innermost = x.is_contiguous(memory_format=torch.channels_last)
    return HAS_TRITON and x.is_cuda and x.dtype in KINDS and innermost and not torch.compiler.is_compiling()


def instance_norm(
    x: Float[Tensor, "n c h w"],
    eps: float,
    slope: float = 1.0,
    weight: Float[Tensor, " c"] | None = None,
    bias: Float[Tensor, " c"] | None = None,
) -> Float[Tensor, "n c h w"]:
    """Normalise every channel of every image, then multiply what is negative by ``slope`` (0: ReLU, 0.2: LeakyReLU, 1: nothing).

    Statistics are in float32, or float64 for such images. Gradients are differentiable once more, by PyTorch's own operations.
    """
    return _Normalise.apply(x, weight, bias, _How(eps, slope))


def batch_norm(layer: nn.BatchNorm2d, x: Float[Tensor, "n c h w"], slope: float = 1.0) -> Float[Tensor, "n c h w"]:
    """Apply a BatchNorm2d in training, running statistics included, and a rectifier as instance_norm does."""
    assert layer.momentum is not None
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    how = _How(layer.eps, slope, layer.momentum, layer.running_mean, layer.running_var)
    return _Normalise.apply(x, layer.weight, layer.bias, how)


def mirror(x: Float[Tensor, "n c h w"], pad: int) -> Float[Tensor, "n c ph pw"]:
    """Mirror ``pad`` pixels at every border, fewer than the image has."""
    return _Mirror.apply(x, pad)


@dataclass(frozen=True)
class _How:
    """A normalisation: of the whole batch where there are running statistics, of each image otherwise."""

    eps: float
    slope: float
    momentum: float = 0.0
    running_mean: Tensor | None = None
    running_var: Tensor | None = None

    def plainly(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """The same function by PyTorch's own operations."""
        if self.running_mean is None:
            y = F.instance_norm(x, weight=weight, bias=bias, eps=self.eps)
        else:
            y = F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)
        return F.leaky_relu(y, self.slope)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, how: _How) -> Tensor:
        from diptych.nets import kernels

        n, rows, splits, per_split, per_program, blocks = _shares(x, together=how.running_mean is not None)
        channels, size = x.shape[1], {"R": ROWS, "C": CHANNELS}
        exact = torch.promote_types(x.dtype, torch.float32)
        parts = x.new_empty((2, n, splits, channels), dtype=exact)
        whole = x.new_empty((2, n, channels), dtype=exact)
        y = torch.empty_like(x)
        affine, tracked = (x, x) if weight is None else (weight, bias), how.running_mean is not None
        running = (how.running_mean, how.running_var) if tracked else (x, x)  # a pointer that is not used
        kernels.moments[(n, splits, blocks)](x, *parts, rows, channels, per_split, splits, **size)
        choices = {"eps": how.eps, "slope": how.slope, "AFFINE": weight is not None, "TRACK": tracked}
        place = rows, channels, per_split, splits, per_program
        programs = n, ceil_div(rows, per_program), blocks
        kernels.normalise[programs](x, y, *parts, *whole, *affine, *running, how.momentum, *place, **choices, **size)
        ctx.save_for_backward(x, weight, bias, whole)
        ctx.how = how
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        from diptych.nets import kernels

        x, weight, bias, whole = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will itself be differentiated
            sources = [tensor for tensor in (x, weight, bias) if tensor is not None and tensor.requires_grad]
            found = torch.autograd.grad(ctx.how.plainly(x, weight, bias), sources, grad, create_graph=True)
            by_source = {id(source): gradient for source, gradient in zip(sources, found, strict=True)}
            return by_source.get(id(x)), by_source.get(id(weight)), by_source.get(id(bias)), None
        grad = grad.contiguous(memory_format=torch.channels_last)
        n, rows, splits, per_split, per_program, blocks = _shares(x, together=ctx.how.running_mean is not None)
        channels, size = x.shape[1], {"R": ROWS, "C": CHANNELS}
        parts, out = whole.new_empty((2, n, splits, channels)), torch.empty_like(x)
        taught = torch.empty_like(whole)  # gradients of bias and weight, by image
        affine, choices = (x, x) if weight is None else (weight, bias), {"slope": ctx.how.slope, "AFFINE": weight is not None}
        place = rows, channels, per_split, splits
        kernels.gradient_sums[(n, splits, blocks)](x, grad, *whole, *affine, *parts, *place, **choices, **size)
        place = rows, channels, splits, per_program
        programs = n, ceil_div(rows, per_program), blocks
        kernels.gradient[programs](x, grad, out, *whole, *affine, *parts, *taught, *place, **choices, **size)
        if weight is None:
            return out, None, None, None
        to_bias, to_weight = taught[:, 0] if n == 1 else taught.sum(1)
        return out, to_weight.to(weight.dtype), to_bias.to(weight.dtype), None


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
    """Apply layers in a row, as nn.Sequential does, with fewer kernels: a norm takes the rectifier after it along.

    InstanceNorm subtracts each channel's mean, so a bias right before it has no effect; it is not added, and gets no gradient.
    Layers with hooks are called as they are.
    """
    waiting = deque(layers)
    while waiting:
        layer, following = waiting.popleft(), waiting[0] if waiting else None
        if following is not None and (layer._forward_hooks or following._forward_hooks):
            following = None
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(following, nn.InstanceNorm2d):
            x = _convolved_without_bias(layer, x)
            continue
        fusible = usable(x) and x.shape[2:].numel() > 1 and not layer._forward_hooks
        slope = getattr(following, "negative_slope", 0.0) if isinstance(following, nn.ReLU | nn.LeakyReLU) else 1.0
        if fusible and isinstance(layer, nn.InstanceNorm2d):
            x = instance_norm(x, layer.eps, slope, layer.weight, layer.bias)
        elif fusible and isinstance(layer, nn.BatchNorm2d) and _learns_from_its_batch(layer):
            x = batch_norm(layer, x, slope)
        else:
            x, slope = layer(x), 1.0
        if slope != 1.0:
            waiting.popleft()
    return x


def _learns_from_its_batch(layer: nn.BatchNorm2d) -> bool:
    return layer.training and layer.track_running_stats and layer.momentum is not None and layer.affine


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _convolved_without_bias(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    if isinstance(layer, nn.ConvTranspose2d):
        stride, padding, more = layer.stride, layer.padding, layer.output_padding
        return F.conv_transpose2d(x, layer.weight, None, stride, padding, more, layer.groups, layer.dilation)  # type: ignore[arg-type]
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def _shares(x: Tensor, *, together: bool) -> tuple[int, int, int, int, int, int]:
    """How the work is shared: sets of pixels with statistics of their own (one for a batch ``together``) and pixels of each.

    Then the parts of a set and the pixels of each part, for sums; the pixels of a program, element by element; blocks of
    channels.
    """
    n, channels, height, width = x.shape
    sets, rows = (1, n * height * width) if together else (n, height * width)
    blocks, tiles = ceil_div(channels, CHANNELS), ceil_div(rows, ROWS)
    splits = max(1, min(MOST_SPLITS, tiles, PROGRAMS // (sets * blocks)))
    per_split = ceil_div(tiles, splits) * ROWS
    per_program = max(1, min(8, sets * tiles * blocks // PROGRAMS)) * ROWS
    return sets, rows, ceil_div(rows, per_split), per_split, per_program, blocks

"""The parts that the networks share: normalisation, down- and upsampling, padding to a multiple, precision at the border."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Literal, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets import fused
from diptych.nets.convolutions import Conv2d, ConvTranspose2d
from diptych.nets.halving import halve
from diptych.nets.instance_norm import InstanceNorm

Norm = Literal["batch", "instance", "instance_affine", "none"]
SampleNorm = Literal["instance", "instance_affine", "none"]  # those that treat every image alone
Downsample = Literal["strided", "blur"]
Upsample = Literal["transposed", "resize", "pixelshuffle", "blur"]
Padding = Literal["reflect", "replicate", "zero"]

NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": InstanceNorm,
    "instance_affine": lambda channels: InstanceNorm(channels, affine=True),
    "none": lambda channels: nn.Identity(),
}


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """A normalisation of one (n, channels, h, w) map: eps 1e-5; batch keeps running statistics, instance none."""
    if norm not in NORMS:
        raise ConfigError(f"norm must be one of {', '.join(NORMS)}, found {norm!r}")
    return NORMS[norm](channels)


def own_precision(x: Tensor) -> AbstractContextManager[Any]:
    """A block in which everything is computed in the precision of x, although autocast may be on around it."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


@final
class ReflectionPad2d(nn.ReflectionPad2d):
    """Mirror the same number of pixels at every border, as the base class does, in the precision and layout of the input.

    On a CPU, autocast would mirror copies in float32. On CUDA the base class copies channels_last images into another layout, and
    its gradient adds in an order that changes from run to run.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c ph pw"]:
        if fused.usable(x):
            return fused.mirror(x, self.padding[0])
        with own_precision(x):
            return super().forward(x)


@final
class BlurDown(nn.Sequential):
    """Halve height and width after a blur with [1 2 1] x [1 2 1] / 16 over mirrored borders, so that no pattern aliases.

    This is the anti-aliased downsampling of Zhang 2019 (arXiv 1904.11486) as CUT uses it. Two means over 2 x 2 pixels are that
    blur, and are faster than a convolution of single channels; on a CPU, sums of rows and columns are faster still.
    """

    def __init__(self) -> None:
        super().__init__(ReflectionPad2d(1), nn.AvgPool2d(2, 1), nn.AvgPool2d(2, 2))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
        if x.device.type == "cpu" and min(x.shape[-2:]) > 1 and not torch.compiler.is_compiling():
            return halve(x)
        with own_precision(x):
            return super().forward(x)


@final
class BlurUp(nn.Upsample):
    """Double height and width by the blur [1 3 3 1] x [1 3 3 1] / 16 over replicated borders (Zhang 2019, as CUT uses it).

    That is bilinear interpolation between the centres of pixels.
    """

    def __init__(self) -> None:
        super().__init__(scale_factor=2.0, mode="bilinear")

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
        with own_precision(x):
            return super().forward(x)


def downsampling(kind: Downsample, conv: Callable[[int], nn.Module], *after: nn.Module) -> list[nn.Module]:
    """Layers that halve height and width: a convolution, made by ``conv`` for a stride, and what stands after it.

    ``strided`` is the papers' convolution of stride 2. ``blur`` is the anti-aliased form: stride 1, and a `BlurDown` at the end.
    """
    if kind not in get_args(Downsample):
        raise ConfigError(f"downsample must be one of {', '.join(get_args(Downsample))}, found {kind!r}")
    return [conv(2), *after] if kind == "strided" else [conv(1), *after, BlurDown()]


def same_size(padding: Padding, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool) -> list[nn.Module]:
    """Two layers that convolve and keep height and width: the first pads the border, the second is the convolution.

    Where the border is padded with zeros, the convolution does it, and the first layer changes nothing.
    """
    margin = kernel_size // 2
    match padding:
        case "reflect":
            return [ReflectionPad2d(margin), Conv2d(in_channels, out_channels, kernel_size, bias=bias)]
        case "replicate":
            return [nn.ReplicationPad2d(margin), Conv2d(in_channels, out_channels, kernel_size, bias=bias)]
        case "zero":
            return [nn.Identity(), Conv2d(in_channels, out_channels, kernel_size, padding=margin, bias=bias)]
    raise ConfigError(f"padding must be reflect, replicate or zero, found {padding!r}")


def upsampling(
    kind: Upsample, in_channels: int, out_channels: int, *, kernel_size: int, bias: bool, padding: Padding = "reflect"
) -> list[nn.Module]:
    """Layers that double height and width.

    ``transposed`` is the papers' fractionally strided convolution; ``resize`` (nearest, then a convolution) and ``pixelshuffle``
    (sub-pixel convolution, Shi et al. 2016) avoid its checkerboard, as does CUT's ``blur`` (`BlurUp`, then a convolution).
    ``padding`` is that of the convolution of ``resize``.
    """
    if kind == "transposed":
        output_padding = kernel_size % 2
        return [ConvTranspose2d(in_channels, out_channels, kernel_size, 2, 1, output_padding, bias=bias)]
    if kind == "resize":
        return [nn.Upsample(scale_factor=2.0, mode="nearest"), *same_size(padding, in_channels, out_channels, 3, bias=bias)]
    if kind == "pixelshuffle":
        return [nn.Conv2d(in_channels, 4 * out_channels, 3, padding=1, bias=bias), nn.PixelShuffle(2)]
    if kind == "blur":
        return [BlurUp(), nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)]
    raise ConfigError(f"upsample must be one of {', '.join(get_args(Upsample))}, found {kind!r}")


def padding_of(net: nn.Module) -> tuple[int, int]:
    """The multiple of pixels to which a generator pads height and width, and the smallest size to which it pads them."""
    return int(getattr(net, "multiple")), int(getattr(net, "smallest", 0))  # noqa: B009 the type of a module's attribute is lost


def margins(size: int, multiple: int, smallest: int) -> tuple[int, int]:
    """How many pixels to add before and after ``size`` to reach the next multiple that is no less than ``smallest``.

    ``smallest`` is itself a multiple; an odd pixel goes to the end. The rule is written in arithmetic alone, so that exported
    programs can hold it too.
    """
    up = (size + multiple - 1) // multiple * multiple
    padded = (up + smallest + abs(up - smallest)) // 2  # the larger of the two
    before = (padded - size) // 2
    return before, padded - size - before


def pad_to_multiple(x: Tensor, multiple: int, smallest: int = 0) -> Tensor:
    """Pad (n, c, h, w) maps on all sides to the next multiple of pixels that is no less than ``smallest`` (see `margins`).

    The image is mirrored at its borders, or its border is replicated where the image is too small for that. Exported programs
    hold this function too, so it is written in the part of Python that TorchScript knows: no shapes in its annotations.
    """
    height, width = x.shape[-2], x.shape[-1]
    top, bottom = margins(height, multiple, smallest)
    left, right = margins(width, multiple, smallest)
    if not bottom and not right:
        return x
    mirrored = bottom < height and right < width
    return F.pad(x, (left, right, top, bottom), mode="reflect" if mirrored else "replicate")


def crop_centre(x: Float[Tensor, "n c ph pw"], height: int, width: int) -> Float[Tensor, "n c h w"]:
    """Undo pad_to_multiple."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def full_precision(x: Tensor) -> Tensor:
    """Images and logits leave a network in at least float32, also under bf16 autocast: 8 bits are too few for a pixel."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


LEAST_SLOPE = 2.0**-21


def bounded(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """tanh, whose slope never vanishes: where float32 rounds 1 - tanh^2 to 0, a wrong pixel could not be corrected any more.

    LEAST_SLOPE is 4 p (1 - p) for the probability p = (tanh + 1) / 2 next to 1, so that the gradient of a cross-entropy
    (diptych.losses.PixelLoss) reaches a saturated logit as if it was computed from it.
    """
    y = torch.tanh(x)
    if not torch.is_grad_enabled():
        return y
    missing = (LEAST_SLOPE - (1.0 - y.detach().square())).clamp(min=0.0)
    return y + missing * (x - x.detach())


def apply_each(net: nn.Module, *inputs: Tensor) -> tuple[Any, ...]:
    """Apply one network to several batches, in one joined call where that is the same mathematics.

    A network without BatchNorm treats every sample alone, so the joined call is the same and faster. Only rounding may differ,
    where the backend picks another kernel for another batch size (a CPU does for small single images). With BatchNorm the
    batches must not share statistics: it is called once for each, in the given order. A network may return a list of tensors.
    """
    if len(inputs) == 1 or any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        return tuple(net(x) for x in inputs)
    joined, sizes = net(torch.cat(inputs)), [len(x) for x in inputs]
    if isinstance(joined, Tensor):
        return tuple(joined.split(sizes))
    return tuple(map(list, zip(*(tensor.split(sizes) for tensor in joined), strict=True)))


def apply_side_by_side(*calls: tuple[Any, ...]) -> list[tuple[Tensor, ...]]:
    """apply_each for several networks that do not wait for each other: (network, its batches), ... -> (its outputs), ...

    While a CUDA graph is recorded, each network after the first gets a stream of its own, so that kernels too small to fill the
    GPU run at the same time, in the backward pass too. The numbers are the same.
    """
    x = calls[0][1]
    if not (x.is_cuda and torch.cuda.is_current_stream_capturing()):
        return [apply_each(*call) for call in calls]
    main = torch.cuda.current_stream()
    streams = [main, *(_side_stream(place, x.device) for place in range(1, len(calls)))]
    outputs = []
    for stream, call in zip(streams, calls, strict=True):
        if stream != main:
            stream.wait_stream(main)
            for tensor in call[1:]:
                tensor.record_stream(stream)
    for stream, call in zip(streams, calls, strict=True):  # in order, as each may draw random numbers
        with torch.cuda.stream(stream):
            outputs.append(apply_each(*call))
    for stream, output in zip(streams, outputs, strict=True):
        if stream != main:
            main.wait_stream(stream)
            for tensor in output:
                tensor.record_stream(main)
    return outputs


@lru_cache
def _side_stream(place: int, device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)

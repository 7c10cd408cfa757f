"""The networks of SinCUT (Park et al. 2020, section 4.4), made of StyleGAN2's layers (Karras et al. 2020, arXiv 1912.04958).

Weights are drawn from N(0, 1) and divided by the root of their fan-in at every use, so that all learn at one rate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import crop_centre, full_precision, pad_to_multiple
from diptych.nets.taps import Position, walk

Maps = Float[Tensor, "n c h w"]


def activated(x: Maps, bias: Float[Tensor, " c"]) -> Maps:
    """sqrt(2) LeakyReLU(x + bias), which keeps the mean square of normal numbers near 1."""
    return F.leaky_relu(x + bias.to(x.dtype)[:, None, None], 0.2) * math.sqrt(2.0)


def blurred(x: Maps, before: int, after: int, stride: int = 1, gain: float = 1.0) -> Float[Tensor, "n c p q"]:
    """Maps after the blur [1 3 3 1] x [1 3 3 1] / 64 over borders of so many zeros, times a gain."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device)
    kernel = (row[:, None] * row * (gain / 64.0)).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, stride=stride, groups=x.shape[1])


class Convolution(nn.Module):
    """A convolution that keeps the size, or halves it after a blur; where it is active, a bias and LeakyReLU follow."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, *, halves: bool = False, active: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(channels)) if active else None
        self.halves = halves

    def forward(self, x: Maps) -> Float[Tensor, "n d p q"]:
        size = self.weight.shape[-1]
        weight = self.weight / math.sqrt(self.weight[0].numel())
        if self.halves:  # the blur and the convolution together keep the centres of pixels
            y = F.conv2d(blurred(x, (size + 2) // 2, (size + 1) // 2), weight, stride=2)
        else:
            y = F.conv2d(x, weight, padding=size // 2)
        return y if self.bias is None else activated(y, self.bias)


class Residual(nn.Module):
    """(f(x) + g(x)) / sqrt(2): f two 3x3 convolutions, the second of which may halve; g is x, or then a 1x1 convolution."""

    def __init__(self, in_channels: int, channels: int, *, halves: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Convolution(in_channels, in_channels, 3), Convolution(in_channels, channels, 3, halves=halves)
        )
        changes = halves or in_channels != channels
        self.skip = Convolution(in_channels, channels, 1, halves=halves, active=False) if changes else nn.Identity()

    def forward(self, x: Maps) -> Float[Tensor, "n d p q"]:
        return (self.layers(x) + self.skip(x)) / math.sqrt(2.0)


class Doubling(nn.Module):
    """A transposed 3x3 convolution whose weights of each output have length 1, a blur, noise of a learnt strength, LeakyReLU.

    Noise is drawn in training alone.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, in_channels, 3, 3))
        self.strength, self.bias = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Maps) -> Float[Tensor, "n d p q"]:
        weight = self.weight / math.sqrt(self.weight[0].numel())
        weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        y = blurred(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, 1, gain=4.0)
        if self.training:
            y = y + self.strength * torch.randn_like(y[:, :1])
        return activated(y, self.bias)


class StyleGAN2Generator(nn.Module):
    """SinCUT's generator: 1x1 convolution, ``num_downs`` halvings, ``num_blocks`` residual blocks, as many doublings, 1x1.

    ``size`` is that of the training crops, on which the numbers of channels depend: ``width`` / 32 * 16384 / r at r pixels, 512
    at most from 32 pixels down. Images of any size go in and out. Nothing bounds the last layer's output, as published.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, width: int = 10, size: int = 64, num_downs: int = 1, num_blocks: int = 6
    ) -> None:
        super().__init__()
        self.spec = {"net": "stylegan2", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"size": size, "num_downs": num_downs, "num_blocks": num_blocks}
        self.multiple = self.smallest = 2**num_downs
        self.channels = [channels_at(power_of_two(size) // 2**level, width / 32, 512) for level in range(num_downs + 1)]
        self.stem = Convolution(in_channels, self.channels[0], 1)
        self.down = nn.ModuleList(Residual(i, o, halves=True) for i, o in itertools.pairwise(self.channels))
        deep = self.channels[-1]
        self.blocks = nn.ModuleList(Residual(deep, deep, halves=False) for _ in range(num_blocks))
        self.up = nn.ModuleList(Doubling(i, o) for i, o in itertools.pairwise(self.channels[::-1]))
        self.head = Convolution(self.channels[0], out_channels, 1)

    def stages(self) -> list[nn.Module]:
        """What the network applies to the padded image, in order."""
        return [nn.Identity(), self.stem, *self.down, *self.blocks, *self.up, self.head]

    def position(self, tap: str) -> Position:
        """Where a feature map is taken: the padded ``input``, or what ``down_k`` or ``block_k`` gives; k counts from 1."""
        first = 2 + len(self.down)
        places = {"input": 0} | {f"down_{k}": k + 1 for k in range(1, first - 1)}
        places |= {f"block_{k}": first + k - 1 for k in range(1, len(self.blocks) + 1)}
        if tap not in places:
            raise ConfigError(f"this generator has no tap {tap!r}; it has {', '.join(places)}")
        return places[tap], 1

    def finish(self, features: Maps) -> Maps:
        """Images, of what the last stage gives."""
        return full_precision(features)

    def forward(self, x: Maps) -> Float[Tensor, "n d h w"]:
        padded = pad_to_multiple(x, self.multiple, smallest=self.smallest)
        return crop_centre(self.finish(walk(self.stages(), padded, ())[0]), *x.shape[-2:])


class StyleGAN2Discriminator(nn.Module):
    """SinCUT's discriminator of images of one ``size``, a power of two from 8 on: one logit for each, (n, 1, 1, 1).

    Residual blocks halve down to 4 pixels; then a 3x3 convolution and two linear layers. There are ``width`` / 64 * 16384 / r
    channels at r pixels, 384 at most from 32 pixels down.
    """

    def __init__(self, in_channels: int, *, width: int = 8, size: int = 64) -> None:
        super().__init__()
        if size < 8 or power_of_two(size) != size:
            raise ConfigError(f"this discriminator needs crops of 8, 16, 32 ... pixels, found {size}")
        self.spec = {"net": "stylegan2_judge", "in_channels": in_channels, "width": width, "size": size}
        channels = [channels_at(size // 2**level, width / 64, 384, math.floor) for level in range(int(math.log2(size)) - 1)]
        self.body = nn.Sequential(Convolution(in_channels, channels[0], 1))
        self.body.extend(Residual(i, o, halves=True) for i, o in itertools.pairwise(channels))
        self.body.append(Convolution(channels[-1], channels[-1], 3))
        self.first, self.last = Convolution(channels[-1] * 16, channels[-1], 1), nn.Parameter(torch.randn(1, channels[-1], 1, 1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Maps) -> Float[Tensor, "n 1 1 1"]:
        return self._judged(self.body(x))

    def features(self, x: Maps) -> list[Tensor]:
        """The activations of every layer of the body, and the logits: what feature matching compares."""
        found, y = [], x
        for layer in self.body:
            y = layer(y)
            found.append(y)
        return [*found, self._judged(y)]

    def _judged(self, y: Maps) -> Float[Tensor, "n 1 1 1"]:
        hidden = self.first(y.flatten(1)[..., None, None])
        return full_precision(F.conv2d(hidden, self.last / math.sqrt(self.last.numel()), self.bias))


def power_of_two(size: int) -> int:
    """The power of two nearest to a size, by its logarithm."""
    return int(2 ** round(math.log2(size)))


def channels_at(size: int, share: float, most: int, whole: Callable[[float], int] = round) -> int:
    """How many channels maps of a size have."""
    channels = max(1, whole(share * 16384 / size))
    return min(most, channels) if size <= 32 else channels

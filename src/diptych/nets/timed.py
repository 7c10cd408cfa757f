"""Networks that are told a time: the generator and the judges of UNSB (Kim et al. 2024, arXiv 2305.15086)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from diptych.nets.blocks import (
    Downsample,
    ReflectionPad2d,
    Upsample,
    bounded,
    crop_centre,
    downsampling,
    full_precision,
    pad_to_multiple,
    upsampling,
)
from diptych.nets.convolutions import Conv2d
from diptych.nets.instance_norm import InstanceNorm
from diptych.nets.resnet import ResNet, position_of
from diptych.nets.stage import Stage, StyledStage
from diptych.nets.taps import Position, walk

Time = Literal["on", "off"]
Indices = Int[Tensor, " n"]


def sinusoids(time: Indices, size: int) -> Float[Tensor, "n e"]:
    """Sines and cosines of an index at wavelengths from 2 pi to 10000 * 2 pi (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(size // 2, device=time.device) * (-math.log(10000.0) / max(1, size // 2 - 1)))
    angles = time[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, size % 2))


class TimeEmbedding(nn.Module):
    """An index as ``size`` learnt numbers: sinusoids, then Linear and LeakyReLU twice."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        layers = [nn.Linear(size, size), nn.LeakyReLU(0.2), nn.Linear(size, size), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, time: Indices) -> Float[Tensor, "n e"]:
        return self.layers(sinusoids(time, self.size).to(next(self.parameters()).dtype))


class AddTime(nn.Module):
    """A linear function of the time's embedding, added to every channel."""

    conditional = True

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding, channels)

    def forward(self, x: Float[Tensor, "n c h w"], time: Float[Tensor, "n e"]) -> Float[Tensor, "n c h w"]:
        return x + self.linear(time).to(x.dtype)[..., None, None]


class TimedBlock(nn.Module):
    """A residual block that is told the time and a noise vector z.

    With ``time`` on it is x + IN(conv(ReLU(gamma(z) IN(conv(x)) + beta(z) + linear(time)))). The authors add the time before the
    norm, which would take it away again. Off, it is what their released code computes,
    x + IN(conv(ReLU(gamma(z) IN(x) + beta(z)))): each layer is given the block's input, so that no time is known.
    """

    conditional = True

    def __init__(self, channels: int, embedding: int, time: Time) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3) if time == "on" else None
        self.add_time = AddTime(embedding, channels) if time == "on" else None
        self.pad, self.norm, self.style = ReflectionPad2d(1), InstanceNorm(channels), nn.Linear(embedding, 2 * channels)
        self.second = Stage(nn.ReLU(inplace=True), ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), InstanceNorm(channels))

    def forward(
        self, x: Float[Tensor, "n c h w"], time: Float[Tensor, "n e"], z: Float[Tensor, "n e"]
    ) -> Float[Tensor, "n c h w"]:
        gamma, beta = self.style(z).to(x.dtype)[..., None, None].chunk(2, 1)
        y = (1 + gamma) * self.norm(x if self.first is None else self.first(self.pad(x))) + beta
        return x + self.second(y if self.add_time is None else self.add_time(y, time))


class TimedResNet(nn.Module):
    """A residual generator G(x, t, z) of an image, the index of a time, and a noise vector z of 4 * width numbers.

    Layers, padding and taps are those of `ResNet`, with instance norm; its blocks are `TimedBlock`s.
    """

    multiple, smallest = ResNet.multiple, ResNet.smallest

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_blocks: int = 9,
        time: Time = "on",
        downsample: Downsample = "blur",
        upsample: Upsample = "blur",
    ) -> None:
        super().__init__()
        self.spec: dict[str, Any] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "num_blocks": num_blocks,
        }
        self.spec |= {"time": time, "downsample": downsample, "upsample": upsample}
        self.noise = size = 4 * width
        self.embed = TimeEmbedding(size) if time == "on" and num_blocks else None
        mapping = [layer for _ in range(4) for layer in (nn.Linear(size, size), nn.LeakyReLU(0.2))]
        self.mapping = nn.Sequential(*mapping) if num_blocks else nn.Sequential()

        def normed(conv: list[nn.Module], channels: int) -> list[nn.Module]:
            return [*conv, InstanceNorm(channels), nn.ReLU(inplace=True)]

        def halved(inputs: int, outputs: int) -> list[nn.Module]:
            after = InstanceNorm(outputs), nn.ReLU(inplace=True)
            return downsampling(downsample, lambda stride: nn.Conv2d(inputs, outputs, 3, stride, 1), *after)

        self.stem = Stage(ReflectionPad2d(3), *normed([nn.Conv2d(in_channels, width, 7)], width))
        self.down = Stage(*halved(width, 2 * width), *halved(2 * width, 4 * width))
        self.blocks = nn.ModuleList(TimedBlock(4 * width, size, time) for _ in range(num_blocks))
        self.up = Stage(
            *normed(upsampling(upsample, 4 * width, 2 * width, kernel_size=3, bias=True), 2 * width),
            *normed(upsampling(upsample, 2 * width, width, kernel_size=3, bias=True), width),
        )
        self.head = Stage(ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7))

    def stages(self) -> list[nn.Module]:
        """What the network applies to the padded image, in order."""
        return [self.stem, self.down, *self.blocks, self.up, self.head]

    def position(self, tap: str) -> Position:
        """Where a feature map is taken, as in ResNet."""
        return position_of(tap, self.stages())

    def context(self, time: Indices, z: Float[Tensor, "n e"]) -> tuple[Tensor, Tensor]:
        """What the blocks are told: the time's embedding, and z mapped to a style."""
        unit = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        return (self.embed(time) if self.embed else z), self.mapping(unit)

    def forward(self, x: Float[Tensor, "n c h w"], time: Indices, z: Float[Tensor, "n e"]) -> Float[Tensor, "n d h w"]:
        padded = pad_to_multiple(x, self.multiple, smallest=self.smallest)
        out, _ = walk(self.stages(), padded, (), self.context(time, z))
        return crop_centre(self.finish(out), *x.shape[-2:])

    def finish(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """Images in [-1, 1], of what the head gives."""
        return bounded(full_precision(features))


class TimedPatchGAN(nn.Module):
    """The anti-aliased PatchGAN, told a time after its first convolution: D(x, t).

    The authors add the time after every convolution; the norms that follow all others take it away again.
    """

    def __init__(self, in_channels: int, *, width: int = 64, num_layers: int = 3, downsample: Downsample = "blur") -> None:
        super().__init__()
        self.spec = {"net": "timed_patchgan", "in_channels": in_channels, "width": width, "num_layers": num_layers}
        self.spec |= {"downsample": downsample}
        size = 4 * width
        self.embed = TimeEmbedding(size)
        layers: list[nn.Module] = []
        inputs = in_channels
        for layer in range(num_layers + 1):
            outputs = width * min(2**layer, 8)
            after = [InstanceNorm(outputs) if layer else AddTime(size, outputs), nn.LeakyReLU(0.2)]
            conv = partial(Conv2d, inputs, outputs, 4, padding=1)

            def strided(stride: int, conv: Callable[..., nn.Module] = conv) -> nn.Module:
                return conv(stride=stride)

            layers += downsampling(downsample, strided, *after) if layer < num_layers else [strided(1), *after]
            inputs = outputs
        self.layers = StyledStage(*layers, Conv2d(inputs, 1, 4, 1, 1))

    def forward(self, x: Float[Tensor, "n c h w"], time: Indices) -> Float[Tensor, "n 1 p q"]:
        return full_precision(self.layers(x, self.embed(time)))

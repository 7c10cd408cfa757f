"""A U-Net that knows the time: the network of diffusion models (Ho et al. 2020; Dhariwal and Nichol 2021), in few lines."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import crop_centre, full_precision, pad_to_multiple
from diptych.nets.instance_norm import channels_innermost
from diptych.nets.stage import StyledStage


@final
class GroupNorm(nn.GroupNorm):
    """The base class's function, in the memory layout of its input.

    On a CPU its gradient in bfloat16 takes several times as long where channels lie innermost as both copies and the gradient in
    the other layout.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if x.device.type != "cpu" or x.dtype != torch.bfloat16 or not channels_innermost(x):
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def group_norm(channels: int) -> GroupNorm:
    """Up to 32 groups."""
    return GroupNorm(math.gcd(32, channels), channels)


def silent(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution that begins at 0."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class TimeEmbedding(nn.Module):
    """Sines and cosines of the clock, geometric in frequency from 1 to 1/10000, and two linear layers."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.num_pairs = max(1, width // 2)
        self.layers = nn.Sequential(nn.Linear(2 * self.num_pairs, features), nn.SiLU(), nn.Linear(features, features))

    def forward(self, clock: Float[Tensor, " n"]) -> Float[Tensor, "n f"]:
        clock = clock.to(next(self.layers.parameters()).dtype)  # in bfloat16, 999 and 1000 are the same
        place = torch.arange(self.num_pairs, device=clock.device, dtype=clock.dtype)
        angles = clock[:, None] * torch.exp(-math.log(10_000.0) * place / self.num_pairs)
        return F.silu(self.layers(torch.cat([angles.cos(), angles.sin()], 1)))


class TimeBlock(nn.Module):
    """x + f(x, time): the time scales and shifts the second norm; the second convolution begins at 0."""

    conditional = True

    def __init__(self, in_channels: int, channels: int, features: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(group_norm(in_channels), nn.SiLU(), nn.Conv2d(in_channels, channels, 3, padding=1))
        self.norm, self.to_scale = group_norm(channels), nn.Linear(features, 2 * channels)
        self.second = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), silent(nn.Conv2d(channels, channels, 3, padding=1)))
        self.skip = nn.Identity() if in_channels == channels else nn.Conv2d(in_channels, channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"], time: Float[Tensor, "n f"]) -> Float[Tensor, "n d h w"]:
        scale, shift = self.to_scale(time)[..., None, None].chunk(2, 1)
        moved = self.norm(self.first(x)) * (1 + scale) + shift
        return self.skip(x) + self.second(moved.to(x.dtype))


class Attention(nn.Module):
    """x + attention over all places of a map, in heads of 64 channels or fewer; its output layer begins at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 64)
        self.norm, self.to_qkv = group_norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = silent(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3) for part in self.to_qkv(self.norm(x)).chunk(3, 1)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:])
        return x + self.to_out(attended)


class TimeUNet(nn.Module):
    """Images and a clock to images of any size: ``num_blocks`` time blocks on each of ``num_levels`` levels, width * min(2^k, 4).

    The coarsest ``num_attention`` levels and the bottom attend over all of their places, whose cost grows with the square of the
    area. Sizes that are no multiple of 2^(num_levels - 1) are padded by mirroring inside and cropped back.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_levels: int = 4,
        num_blocks: int = 2,
        num_attention: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_levels < 1 or num_blocks < 1:
            raise ConfigError(f"needs at least 1 level and 1 block, found num_levels {num_levels} and num_blocks {num_blocks}")
        self.spec = {"net": "time_unet", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"num_levels": num_levels, "num_blocks": num_blocks, "num_attention": num_attention, "dropout": dropout}
        self.multiple = 2 ** (num_levels - 1)
        widths = [width * min(2**level, 4) for level in range(num_levels)]
        features = 4 * width
        self.time = TimeEmbedding(width, features)
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)

        def attention(level: int, channels: int) -> nn.Module:
            return Attention(channels) if level >= num_levels - num_attention else nn.Identity()

        skips, inputs = [width], width
        self.downs = nn.ModuleList()
        for level, channels in enumerate(widths):
            for _ in range(num_blocks):
                self.downs.append(StyledStage(TimeBlock(inputs, channels, features, dropout), attention(level, channels)))
                skips.append(inputs := channels)
            if level < num_levels - 1:
                self.downs.append(nn.Conv2d(channels, channels, 3, 2, 1))
                skips.append(channels)
        self.bottom = nn.ModuleList([TimeBlock(inputs, inputs, features, dropout) for _ in range(2)])
        self.attend = Attention(inputs)
        self.ups = nn.ModuleList()
        for level, channels in reversed(list(enumerate(widths))):
            for _ in range(num_blocks + 1):
                block = TimeBlock(inputs + skips.pop(), channels, features, dropout)
                self.ups.append(StyledStage(block, attention(level, channels)))
                inputs = channels
            if level:
                up = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(channels, channels, 3, padding=1))
                self.ups.append(up)
        self.head = nn.Sequential(group_norm(width), nn.SiLU(), silent(nn.Conv2d(width, out_channels, 3, padding=1)))

    def forward(self, x: Float[Tensor, "n c h w"], clock: Float[Tensor, " n"]) -> Float[Tensor, "n d h w"]:
        time = self.time(clock)
        y = self.stem(pad_to_multiple(x, self.multiple))
        kept = [y]
        for down in self.downs:
            y = down(y, time) if isinstance(down, StyledStage) else down(y)
            kept.append(y)
        y = self.bottom[1](self.attend(self.bottom[0](y, time)), time)
        for up in self.ups:
            y = up(torch.cat([y, kept.pop()], 1), time) if isinstance(up, StyledStage) else up(y)
        return crop_centre(full_precision(self.head(y)), *x.shape[-2:])

"""The generator of SANTA (Xie et al. 2023): its decoder is told how strongly to translate, by adaptive instance norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
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
from diptych.nets.instance_norm import InstanceNorm
from diptych.nets.resnet import ResidualBlock, ResNet, position_of
from diptych.nets.stage import Stage, StyledStage
from diptych.nets.taps import Position, walk

STYLE = 8  # numbers of a style, as published
Strength = Float[Tensor, " n"]


class AdaIN(nn.Module):
    """(1 + g) * IN(x) + h for each channel, where g and h are linear in a style s (n, 8)."""

    conditional = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.linear = InstanceNorm(channels), nn.Linear(STYLE, 2 * channels)

    def forward(self, x: Float[Tensor, "n c h w"], style: Float[Tensor, "n s"]) -> Float[Tensor, "n c h w"]:
        g, h = self.linear(style).to(x.dtype)[..., None, None].chunk(2, 1)
        return (1 + g) * self.norm(x) + h

    def affine(self, style: Float[Tensor, " s"]) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """The weight and bias of an instance norm that does the same for one style."""
        g, h = self.linear(style).chunk(2)
        return 1 + g, h


class StyledBlock(nn.Module):
    """A ResidualBlock whose norms are AdaIN."""

    conditional = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        conv = [nn.Conv2d(channels, channels, 3) for _ in range(2)]
        first = [ReflectionPad2d(1), conv[0], AdaIN(channels), nn.ReLU(inplace=True)]
        self.layers = StyledStage(*first, ReflectionPad2d(1), conv[1], AdaIN(channels))

    def forward(self, x: Float[Tensor, "n c h w"], style: Float[Tensor, "n s"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x, style)


class AdaINResNet(nn.Module):
    """A residual generator with a strength from 0, trained to give the image back, to 1, which translates it.

    The first half of the blocks are the encoder's, with instance norm. All norms after them are AdaIN of the style
    e_0 + strength (e_1 - e_0), where e_0 and e_1 are learnt. Layers, padding and taps are those of `ResNet`.
    """

    multiple, smallest = ResNet.multiple, ResNet.smallest
    adjustable = ("strength",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_blocks: int = 9,
        downsample: Downsample = "blur",
        upsample: Upsample = "blur",
    ) -> None:
        super().__init__()
        self.spec: dict[str, Any] = {
            "net": "adain_resnet",
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
        }
        self.spec |= {"num_blocks": num_blocks, "downsample": downsample, "upsample": upsample}
        self.num_encoding = num_blocks // 2
        self.ends = nn.Parameter(torch.randn(2, STYLE))

        def halved(inputs: int, outputs: int) -> list[nn.Module]:
            after = InstanceNorm(outputs), nn.ReLU(inplace=True)
            return downsampling(downsample, lambda stride: nn.Conv2d(inputs, outputs, 3, stride, 1), *after)

        def doubled(inputs: int, outputs: int) -> list[nn.Module]:
            convs = upsampling(upsample, inputs, outputs, kernel_size=3, bias=True)
            return [*convs, AdaIN(outputs), nn.ReLU(inplace=True)]

        stem = nn.Conv2d(in_channels, width, 7)
        self.stem = Stage(ReflectionPad2d(3), stem, InstanceNorm(width), nn.ReLU(inplace=True))
        self.down = Stage(*halved(width, 2 * width), *halved(2 * width, 4 * width))
        encoding = [ResidualBlock(4 * width, "instance", False, True) for _ in range(self.num_encoding)]
        self.blocks = nn.Sequential(*encoding, *(StyledBlock(4 * width) for _ in range(num_blocks - self.num_encoding)))
        self.up = StyledStage(*doubled(4 * width, 2 * width), *doubled(2 * width, width))
        self.head = Stage(ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7))

    def stages(self) -> list[nn.Module]:
        """What the network applies to the padded image, in order."""
        return [self.stem, self.down, *self.blocks, self.up, self.head]

    def position(self, tap: str) -> Position:
        """Where a feature map is taken, as in ResNet."""
        return position_of(tap, self.stages())

    def encode(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d p q"]:
        """The features of images, whose size is padded inside."""
        padded = pad_to_multiple(x, self.multiple, smallest=self.smallest)
        return walk(self._encoder(), padded, ())[0]

    def decode(
        self, features: Float[Tensor, "n d p q"], strength: Strength, size: tuple[int, int], taps: Sequence[str] = ()
    ) -> tuple[Float[Tensor, "n c h w"], list[Tensor]]:
        """Images of a size at a strength for each, and the maps at taps of the decoder."""
        first, last = self.ends[0], self.ends[1]
        style = first + strength[:, None] * (last - first)
        places = [(index - len(self._encoder()), layer) for index, layer in map(self.position, taps)]
        out, maps = walk(self.stages()[len(self._encoder()) :], features, places, (style,))
        return crop_centre(bounded(full_precision(out)), *size), maps

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        whole = torch.ones(len(x), dtype=self.ends.dtype, device=x.device)
        return self.decode(self.encode(x), whole, (x.shape[-2], x.shape[-1]))[0]

    def adjusted(self, strength: float = 1.0) -> ResNet:
        """A plain ResNet that does what this network does at one strength: its norms have fixed weights.

        Raises ConfigError unless the strength is between 0 and 1.
        """
        if not 0.0 <= strength <= 1.0:
            raise ConfigError(f"strength must be between 0, trained to leave an image as it is, and 1; found {strength:g}")
        with torch.no_grad():
            style = torch.lerp(self.ends[0], self.ends[1], strength)
            fixed = ResNet(**{key: value for key, value in self.spec.items() if key != "net"}, norm="instance_affine")
            fixed.to(self.ends.device, self.ends.dtype).train(self.training).requires_grad_(False)
            weights = {name: value for name, value in self.state_dict().items() if name in fixed.state_dict()}
            for name, module in self.named_modules():
                if isinstance(module, AdaIN):
                    weights[f"{name}.weight"], weights[f"{name}.bias"] = module.affine(style)
                elif isinstance(module, InstanceNorm) and not name.endswith("norm"):
                    weights[f"{name}.weight"] = self.ends.new_ones(module.num_features)
                    weights[f"{name}.bias"] = self.ends.new_zeros(module.num_features)
        fixed.load_state_dict(weights)
        return fixed

    def _encoder(self) -> list[nn.Module]:
        return self.stages()[: 2 + self.num_encoding]

"""The residual generator of CycleGAN (Zhu et al. 2017, appendix; after Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import (
    Downsample,
    Norm,
    Padding,
    Upsample,
    bounded,
    crop_centre,
    downsampling,
    full_precision,
    norm_layer,
    pad_to_multiple,
    same_size,
    upsampling,
)
from diptych.nets.stage import Stage


class ResidualBlock(nn.Module):
    """x + f(x), f = two padded 3x3 convolutions; nothing after the sum."""

    def __init__(self, channels: int, norm: Norm, dropout: bool, bias: bool, padding: Padding = "reflect") -> None:
        super().__init__()
        layers = [*same_size(padding, channels, channels, 3, bias=bias), norm_layer(norm, channels), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(0.5)] if dropout else []
        layers += [*same_size(padding, channels, channels, 3, bias=bias), norm_layer(norm, channels)]
        self.layers = Stage(*layers)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)


class ResNet(nn.Module):
    """c7s1-64, d128, d256, R256 x num_blocks, u128, u64, c7s1-3, tanh: images in [-1, 1] of any size to images of that size.

    Sizes that are no multiple of 4 are padded by mirroring inside and cropped back. With ``downsample`` and ``upsample`` blur it
    is the anti-aliased generator of CUT (Park et al. 2020). The border is padded as ``padding`` says in the residual blocks, as
    ``edge_padding`` says before the 7x7 convolutions at both ends, and as ``resize_padding`` says in resize-convolutions.
    ``bias`` says whether convolutions before a norm have one (default: unless the norm is batch).
    """

    multiple = 4
    smallest = 8  # inside; the blocks mirror one pixel at a quarter of the size, so they need two

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_blocks: int = 9,
        norm: Norm = "instance",
        dropout: bool = False,
        downsample: Downsample = "strided",
        upsample: Upsample = "transposed",
        padding: Padding = "reflect",
        edge_padding: Padding = "reflect",
        resize_padding: Padding = "reflect",
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.spec = {"net": "resnet", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"num_blocks": num_blocks, "norm": norm, "dropout": dropout}
        self.spec |= {"downsample": downsample, "upsample": upsample}
        self.spec |= {"padding": padding, "edge_padding": edge_padding, "resize_padding": resize_padding, "bias": bias}
        bias = norm != "batch" if bias is None else bias  # BatchNorm's own shift would absorb it

        def normed(conv: list[nn.Module], channels: int) -> list[nn.Module]:
            return [*conv, norm_layer(norm, channels), nn.ReLU(inplace=True)]

        def halved(inputs: int, outputs: int) -> list[nn.Module]:
            after = norm_layer(norm, outputs), nn.ReLU(inplace=True)
            return downsampling(downsample, lambda stride: nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias), *after)

        self.stem = Stage(*normed(same_size(edge_padding, in_channels, width, 7, bias=bias), width))
        self.down = Stage(*halved(width, 2 * width), *halved(2 * width, 4 * width))
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width, norm, dropout, bias, padding) for _ in range(num_blocks)))
        self.up = Stage(
            *normed(upsampling(upsample, 4 * width, 2 * width, kernel_size=3, bias=bias, padding=resize_padding), 2 * width),
            *normed(upsampling(upsample, 2 * width, width, kernel_size=3, bias=bias, padding=resize_padding), width),
        )
        self.head = Stage(*same_size(edge_padding, width, out_channels, 7, bias=True))

    def stages(self) -> list[nn.Module]:
        """What the network applies to the padded image, in order."""
        return [self.stem, self.down, *self.blocks, self.up, self.head]

    def position(self, tap: str) -> tuple[int, int]:
        """Where a feature map is taken (see `positions`). Raises ConfigError for a name that there is not."""
        return position_of(tap, self.stages())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        padded = pad_to_multiple(x, self.multiple, smallest=self.smallest)
        features = self.up(self.blocks(self.down(self.stem(padded))))
        return crop_centre(self.finish(self.head(features)), *x.shape[-2:])

    def finish(self, features: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """Images in [-1, 1], of what the head gives."""
        return bounded(full_precision(features))


def position_of(tap: str, stages: Sequence[nn.Module]) -> tuple[int, int]:
    """Where a feature map is taken: an index in the stages of a residual generator, and how many layers of it come before.

    ``input`` is the padded image, ``down_k``, ``up_k`` and ``head`` are what their convolutions give, before the norm, and
    ``block_k`` is the output of a block; k counts from 1. Raises ConfigError for any other name.
    """
    last = len(stages) - 1
    places = {"input": (0, 1), **{f"block_{k}": (k + 1, 1) for k in range(1, last - 2)}, "head": (last, 2)}
    for name, index in (("down", 1), ("up", last - 1)):
        layers = enumerate(stages[index].children(), 1)
        convs = [place for place, layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
        places |= {f"{name}_{k}": (index, place) for k, place in enumerate(convs, 1)}
    if tap not in places:
        raise ConfigError(f"this generator has no tap {tap!r}; it has {', '.join(places)}")
    return places[tap]


def tap_channels(taps: Sequence[str], in_channels: int, width: int) -> list[int]:
    """The channels of the encoder's maps at these taps of a residual generator."""
    known = {"input": in_channels, "down_1": 2 * width}
    return [known.get(tap, 4 * width) for tap in taps]

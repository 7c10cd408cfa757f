"""The networks of pix2pixHD (Wang et al. 2018, arXiv 1711.11585, section 3 and appendix), for images of high resolution."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import Norm, ReflectionPad2d, bounded, crop_centre, full_precision, norm_layer, pad_to_multiple
from diptych.nets.convolutions import Conv2d, ConvTranspose2d
from diptych.nets.resnet import ResidualBlock
from diptych.nets.stage import Stage


def normed(conv: list[nn.Module], channels: int, norm: Norm) -> list[nn.Module]:
    """Layers with a norm and a ReLU behind them."""
    return [*conv, norm_layer(norm, channels), nn.ReLU(inplace=True)]


def halved(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c p q"]:
    """The next level of the image pyramid: means over 3x3 pixels at every second place; pixels beyond the border don't count."""
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


class GlobalGenerator(nn.Module):
    """c7s1-64, d128 ... d1024, R1024 x num_blocks, u512 ... u64, c7s1-3, tanh: images in [-1, 1] of any size to that size.

    A ResNet of ``num_downs`` halvings; level k has width * 2^k channels. Inputs may have any number of channels, such as one for
    each label. Sizes that are no multiple of 2^num_downs are padded by mirroring inside and cropped back.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_downs: int = 4,
        num_blocks: int = 9,
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        if num_downs < 1:
            raise ConfigError(f"pix2pixHD's generator needs at least 1 downsampling, found {num_downs}")
        self.spec = {"net": "pix2pixhd_global", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"num_downs": num_downs, "num_blocks": num_blocks, "norm": norm}
        self.multiple = 2**num_downs
        self.smallest = 2 * self.multiple  # the blocks mirror one pixel of the coarsest maps, so they need two
        bias = norm != "batch"  # BatchNorm's own shift would absorb it
        widths = [width * 2**level for level in range(num_downs + 1)]
        self.stem = Stage(ReflectionPad2d(3), *normed([Conv2d(in_channels, width, 7, bias=bias)], width, norm))
        downs = [normed([Conv2d(i, o, 3, 2, 1, bias=bias)], o, norm) for i, o in itertools.pairwise(widths)]
        self.down = Stage(*(layer for layers in downs for layer in layers))
        self.blocks = nn.Sequential(*(ResidualBlock(widths[-1], norm, False, bias) for _ in range(num_blocks)))
        coarse = widths[::-1]
        ups = [normed([ConvTranspose2d(i, o, 3, 2, 1, 1, bias=bias)], o, norm) for i, o in itertools.pairwise(coarse)]
        self.up = Stage(*(layer for layers in ups for layer in layers))
        self.head = Stage(ReflectionPad2d(3), Conv2d(width, out_channels, 7))

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The features in front of the head, for sizes that are multiples of 2^num_downs."""
        return self.up(self.blocks(self.down(self.stem(x))))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        features = self.features(pad_to_multiple(x, self.multiple, smallest=self.smallest))
        return crop_centre(bounded(full_precision(self.head(features))), *x.shape[-2:])


class Enhancer(nn.Module):
    """One local enhancer: its own features of the image are added to those of the coarser generator, then refined."""

    def __init__(self, in_channels: int, width: int, num_blocks: int, norm: Norm) -> None:
        super().__init__()
        bias = norm != "batch"
        self.down = Stage(
            ReflectionPad2d(3),
            *normed([Conv2d(in_channels, width, 7, bias=bias)], width, norm),
            *normed([Conv2d(width, 2 * width, 3, 2, 1, bias=bias)], 2 * width, norm),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(2 * width, norm, False, bias) for _ in range(num_blocks)))
        self.up = Stage(*normed([ConvTranspose2d(2 * width, width, 3, 2, 1, 1, bias=bias)], width, norm))

    def forward(self, x: Float[Tensor, "n c h w"], coarse: Float[Tensor, "n d p q"]) -> Float[Tensor, "n e h w"]:
        return self.up(self.blocks(self.down(x) + coarse))


class LocalEnhancer(nn.Module):
    """The coarse-to-fine generator: a global generator on the halved image, and enhancers that double its resolution.

    ``width`` is that of the finest enhancer; the global part has width * 2^num_enhancers. Its head is left out: images come from
    the last enhancer alone.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        num_downs: int = 4,
        num_blocks: int = 9,
        num_enhancers: int = 1,
        num_local_blocks: int = 3,
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        if num_enhancers < 1:
            raise ConfigError(
                f"a local enhancer needs num_enhancers of at least 1, found {num_enhancers}; else take the global one"
            )
        self.spec = {"net": "pix2pixhd_local", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"num_downs": num_downs, "num_blocks": num_blocks, "num_enhancers": num_enhancers}
        self.spec |= {"num_local_blocks": num_local_blocks, "norm": norm}
        self.multiple = 2 ** (num_downs + num_enhancers)
        self.smallest = 2 * self.multiple
        shape = {"num_downs": num_downs, "num_blocks": num_blocks, "norm": norm}
        coarse = GlobalGenerator(in_channels, out_channels, width=width * 2**num_enhancers, **shape)  # type: ignore[arg-type]
        del coarse.head
        self.coarse = coarse
        widths = [width * 2 ** (num_enhancers - 1 - place) for place in range(num_enhancers)]
        self.enhancers = nn.ModuleList(Enhancer(in_channels, w, num_local_blocks, norm) for w in widths)
        self.head = Stage(ReflectionPad2d(3), Conv2d(width, out_channels, 7))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        pyramid = [pad_to_multiple(x, self.multiple, smallest=self.smallest)]
        for _ in self.enhancers:
            pyramid.append(halved(pyramid[-1]))
        features = self.coarse.features(pyramid.pop())
        for enhancer in self.enhancers:
            features = enhancer(pyramid.pop(), features)
        return crop_centre(bounded(full_precision(self.head(features))), *x.shape[-2:])


class MultiscaleDiscriminator(nn.Module):
    """PatchGANs of one shape, each on the image halved once more than the one before: ``scales[0]`` sees the full size.

    Returns the logits of every scale, or with ``features`` the activations of every layer too, which feature matching compares.
    The 4x4 convolutions are padded by 2, as in the authors' code.
    """

    def __init__(
        self, in_channels: int, *, width: int = 64, num_layers: int = 3, num_scales: int = 2, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        if num_layers < 1 or num_scales < 1:
            raise ConfigError(f"needs at least 1 layer and 1 scale, found num_layers {num_layers} and num_scales {num_scales}")
        self.spec = {"net": "multiscale_patchgan", "in_channels": in_channels, "width": width}
        self.spec |= {"num_layers": num_layers, "num_scales": num_scales, "norm": norm}
        self.scales = nn.ModuleList(nn.ModuleList(_judge(in_channels, width, num_layers, norm)) for _ in range(num_scales))

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The logits of each scale, (n, 1, p, q), finest first."""
        return [found[-1] for found in self.features(x)]

    def features(self, x: Float[Tensor, "n c h w"]) -> list[list[Tensor]]:
        """For each scale, finest first, the activations of every layer; the last are the logits."""
        found: list[list[Tensor]] = []
        for place, layers in enumerate(self.scales):
            x = halved(x) if place else x
            y = x
            found.append([])
            for layer in layers:  # type: ignore[attr-defined]
                y = layer(y)
                found[-1].append(y)
            found[-1][-1] = full_precision(found[-1][-1])
        return found


def _judge(in_channels: int, width: int, num_layers: int, norm: Norm) -> list[nn.Module]:
    bias = norm != "batch"
    layers: list[nn.Module] = [Stage(Conv2d(in_channels, width, 4, 2, 2), nn.LeakyReLU(0.2))]
    inputs = width
    for layer in range(1, num_layers + 1):
        outputs = width * min(2**layer, 8)
        conv = Conv2d(inputs, outputs, 4, 2 if layer < num_layers else 1, 2, bias=bias)
        layers.append(Stage(conv, norm_layer(norm, outputs), nn.LeakyReLU(0.2)))
        inputs = outputs
    return [*layers, Stage(Conv2d(inputs, 1, 4, 1, 2))]

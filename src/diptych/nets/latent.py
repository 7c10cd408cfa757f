"""BicycleGAN's networks (Zhu et al. 2017, arXiv 1711.11586, section 4): a U-Net with a latent code, and an encoder of codes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets.blocks import Norm, bounded, crop_centre, full_precision, norm_layer, pad_to_multiple
from diptych.nets.convolutions import Conv2d
from diptych.nets.modes import Noise
from diptych.nets.unet import UNet


class LatentUNet(nn.Module):
    """A U-Net that sees a code of ``latent`` numbers beside its input, and with ``everywhere`` beside every level of its encoder.

    As a translator it draws the code: in mode paper from the translator's seed, so that each seed is another answer, in
    mode eval always the same. ``unet`` are the arguments of diptych.nets.UNet, whose in_channels are those of the images.
    """

    def __init__(self, *, latent: int, everywhere: bool = True, **unet: Any) -> None:
        super().__init__()
        self.latent, self.everywhere = latent, everywhere
        self.unet = UNet(**(unet | {"in_channels": unet["in_channels"] + latent}))
        if everywhere:
            for down in list(self.unet.downs)[1:]:
                _widen(down, latent)
        self.noise = Noise()
        shape = {key: value for key, value in self.unet.spec.items() if key not in ("net", "in_channels")}
        self.spec = {
            "net": "latent_unet",
            "latent": latent,
            "everywhere": everywhere,
            "in_channels": unet["in_channels"],
            **shape,
        }
        self.multiple = self.unet.multiple

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        return self.translate(x, self.noise(x.new_empty(len(x), self.latent)))

    def translate(self, x: Float[Tensor, "n c h w"], z: Float[Tensor, "n z"]) -> Float[Tensor, "n d h w"]:
        """The image that belongs to these codes."""
        y = self._beside(pad_to_multiple(x, self.multiple), z)
        encoded = []
        for level, down in enumerate(self.unet.downs):
            y = down(self._beside(y, z) if self.everywhere and level else y)
            encoded.append(y)
        encoded.pop()
        for up in self.unet.ups:
            y = up(y)
            skip = encoded.pop()
            y = torch.cat([skip, y], 1) if self.unet.skips else y
        return crop_centre(bounded(full_precision(self.unet.head(y))), *x.shape[-2:])

    def _beside(self, x: Tensor, z: Float[Tensor, "n z"]) -> Tensor:
        return torch.cat([x, z.to(x.dtype)[..., None, None].expand(-1, -1, *x.shape[-2:])], 1)


def _widen(down: nn.Module, latent: int) -> None:
    """Give the convolution of an encoder's level more input channels."""
    for name, layer in down.named_children():
        if isinstance(layer, Conv2d):
            bias = layer.bias is not None
            setattr(down, name, Conv2d(layer.in_channels + latent, layer.out_channels, 4, 2, 1, bias=bias))


class LatentBlock(nn.Module):
    """Two convolutions and a halving by means, beside a 1x1 convolution of the halved input."""

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(norm_layer(norm, in_channels), nn.LeakyReLU(0.2), nn.Conv2d(in_channels, in_channels, 3, padding=1)),
            *(norm_layer(norm, in_channels), nn.LeakyReLU(0.2), nn.Conv2d(in_channels, channels, 3, padding=1)),
        )
        self.skip = nn.Conv2d(in_channels, channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d p q"]:
        x = pad_to_multiple(x, 1, smallest=2)  # InstanceNorm of one place would be nothing
        return F.avg_pool2d(self.layers(x), 2, ceil_mode=True) + self.skip(F.avg_pool2d(x, 2, ceil_mode=True))


class LatentEncoder(nn.Module):
    """Images to the mean and the log variance of their codes: one strided convolution, blocks that halve, a mean over places."""

    def __init__(
        self, in_channels: int, *, latent: int = 8, width: int = 64, num_blocks: int = 4, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 4, 2, 1)
        widths = [width * min(block + 1, 4) for block in range(num_blocks + 1)]
        self.blocks = nn.Sequential(*(LatentBlock(widths[i], widths[i + 1], norm) for i in range(num_blocks)))
        self.to_mean, self.to_log_variance = nn.Linear(widths[-1], latent), nn.Linear(widths[-1], latent)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n z"], Float[Tensor, "n z"]]:
        found = F.leaky_relu(self.blocks(self.stem(x)), 0.2).mean((2, 3))
        return full_precision(self.to_mean(found)), full_precision(self.to_log_variance(found))

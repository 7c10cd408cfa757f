"""Colorization in Lab, as in pix2pix's published variant: a network guesses two colour channels and lightness stays."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor, nn

from diptych.losses.precision import without_autocast
from diptych.nets.unet import UNet

Images = Float[Tensor, "n 3 h w"]


def lightness_of(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    """L / 50 - 1 of gray or RGB images in [-1, 1]: -1 is black and 1 white."""
    return lab_of(x.expand(-1, 3, -1, -1))[:, :1]


def lab_of(x: Images) -> Images:
    """RGB images (sRGB, D65) in [-1, 1] to L / 50 - 1, a / 110 and b / 110."""
    with without_autocast(x.device):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        lab = rgb_to_lab((wide + 1.0) / 2.0)
    return torch.cat([lab[:, :1] / 50.0 - 1.0, lab[:, 1:] / 110.0], 1)


def rgb_of(lab: Images) -> Images:
    """Undo lab_of; colours that sRGB does not have are clipped to it."""
    with without_autocast(lab.device):
        wide = lab.to(torch.promote_types(lab.dtype, torch.float32))
        rgb = lab_to_rgb(torch.cat([(wide[:, :1] + 1.0) * 50.0, wide[:, 1:] * 110.0], 1), clip=True)
    return rgb * 2.0 - 1.0


class Colorizer(nn.Module):
    """Gray or RGB images in [-1, 1] to RGB images of their lightness: a U-Net turns L into a and b. Any size, as the U-Net.

    ``unet`` are the arguments of diptych.nets.UNet but for its channels.
    """

    def __init__(self, in_channels: int, out_channels: int = 3, **unet: Any) -> None:
        super().__init__()
        self.unet = UNet(1, 2, **unet)
        kept = {key: value for key, value in self.unet.spec.items() if key not in ("net", "in_channels", "out_channels")}
        self.spec = {"net": "colorizer", "in_channels": in_channels, "out_channels": out_channels, **kept}
        self.multiple = self.unet.multiple

    def lab(self, x: Float[Tensor, "n c h w"]) -> Images:
        """Lightness of the input and the guessed colours, scaled as by lab_of."""
        lightness = lightness_of(x)
        return torch.cat([lightness, self.unet(lightness.to(x.dtype))], 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Images:
        return rgb_of(self.lab(x))

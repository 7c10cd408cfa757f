"""The U-Net generator of pix2pix (Isola et al. 2017, section 3.2.1 and appendix), of any depth."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import Norm, Upsample, bounded, crop_centre, full_precision, norm_layer, pad_to_multiple, upsampling
from diptych.nets.convolutions import Conv2d
from diptych.nets.stage import Stage


class UNet(nn.Module):
    """Encoder of num_downs halvings, decoder of as many doublings, a skip between layers of equal size.

    Level k has width * min(2^k, 8) channels. Images in [-1, 1] of any size to images of that size: sizes that are no multiple of
    2^num_downs are padded by mirroring inside and cropped back. ``skips=False`` is the paper's encoder-decoder.
    Dropout stands in the decoder's levels of full width, all but the innermost (three of them at num_downs=8).
    ``bias`` says whether convolutions have one, but for the last, which always does (default: unless the norm is batch).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_downs: int = 8,
        norm: Norm = "batch",
        dropout: bool = True,
        upsample: Upsample = "transposed",
        skips: bool = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        if num_downs < 2:
            raise ConfigError(f"a U-Net needs at least 2 downsamplings, found {num_downs}")
        self.spec = {
            "net": "unet",
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "num_downs": num_downs,
        }
        self.spec |= {"norm": norm, "dropout": dropout, "upsample": upsample, "skips": skips, "bias": bias}
        self.multiple = 2**num_downs
        self.skips = skips
        bias = norm != "batch" if bias is None else bias  # BatchNorm's own shift would absorb it
        channels = [width * min(2**level, 8) for level in range(num_downs)]
        innermost = num_downs - 1

        self.downs = nn.ModuleList([Stage(Conv2d(in_channels, channels[0], 4, 2, 1, bias=bias))])
        for level in range(1, num_downs):
            layers = [nn.LeakyReLU(0.2), Conv2d(channels[level - 1], channels[level], 4, 2, 1, bias=bias)]
            layers += [norm_layer(norm, channels[level])] if level < innermost else []
            self.downs.append(Stage(*layers))

        self.ups = nn.ModuleList()  # from the innermost level outwards
        for level in range(innermost, 0, -1):
            inputs = channels[level] * (2 if skips and level < innermost else 1)
            layers = [nn.ReLU(), *upsampling(upsample, inputs, channels[level - 1], kernel_size=4, bias=bias)]
            layers += [norm_layer(norm, channels[level - 1])]
            layers += [nn.Dropout(0.5)] if dropout and 4 <= level < innermost else []
            self.ups.append(Stage(*layers))
        outer = upsampling(upsample, channels[0] * (2 if skips else 1), out_channels, kernel_size=4, bias=True)
        self.head = Stage(nn.ReLU(), *outer)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        y = pad_to_multiple(x, self.multiple)
        encoded = []
        for down in self.downs:
            y = down(y)
            encoded.append(y)
        encoded.pop()
        for up in self.ups:
            y = up(y)
            skip = encoded.pop()
            y = torch.cat([skip, y], 1) if self.skips else y
        return crop_centre(bounded(full_precision(self.head(y))), *x.shape[-2:])

"""The U-Net of PyTorch-GAN's pix2pix, DiscoGAN and DualGAN, whose skips carry activated features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import Norm, bounded, crop_centre, full_precision, norm_layer, pad_to_multiple
from diptych.nets.convolutions import Conv2d, ConvTranspose2d
from diptych.nets.stage import Stage


class ActivatedUNet(nn.Module):
    """Encoder of num_downs halvings, decoder of as many doublings, and skips that are taken behind the encoder's activation.

    It differs from pix2pix's U-Net (diptych.nets.unet) in this: the features of a skip went through LeakyReLU and dropout, not
    through ReLU, and they come second where they are joined. Level k has width * min(2^k, 8) channels; ``down_dropout`` and
    ``up_dropout`` say how many of the innermost levels on either side end in dropout. ``resize_head`` makes the last layer a
    resize-convolution instead of a transposed one. Images in [-1, 1] of any size to images of that size: sizes that are no
    multiple of 2^num_downs are padded by mirroring inside and cropped back.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        num_downs: int = 8,
        norm: Norm = "instance",
        bias: bool = False,
        down_dropout: int = 5,
        up_dropout: int = 4,
        resize_head: bool = True,
    ) -> None:
        super().__init__()
        if num_downs < 2:
            raise ConfigError(f"a U-Net needs at least 2 downsamplings, found {num_downs}")
        self.spec = {"net": "unet_activated", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"num_downs": num_downs, "norm": norm, "bias": bias, "down_dropout": down_dropout}
        self.spec |= {"up_dropout": up_dropout, "resize_head": resize_head}
        self.multiple = 2**num_downs
        self.resize_head = resize_head
        channels = [width * min(2**level, 8) for level in range(num_downs)]
        innermost = num_downs - 1

        self.downs = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(zip([in_channels, *channels], channels, strict=False)):
            layers: list[nn.Module] = [Conv2d(inputs, outputs, 4, 2, 1, bias=bias)]
            layers += [norm_layer(norm, outputs)] if 0 < level < innermost else []
            layers += [nn.LeakyReLU(0.2)]
            layers += [nn.Dropout(0.5)] if level >= num_downs - down_dropout else []
            self.downs.append(Stage(*layers))
        self.ups = nn.ModuleList()  # from the innermost level outwards
        for place, level in enumerate(range(innermost, 0, -1)):
            inputs, outputs = channels[level] * (2 if place else 1), channels[level - 1]
            layers = [ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias), norm_layer(norm, outputs), nn.ReLU()]
            layers += [nn.Dropout(0.5)] if place < up_dropout else []
            self.ups.append(Stage(*layers))
        if resize_head:  # padded by 2 at the top and left and by 1 at the other sides: forward cuts one row and column off
            self.head = Stage(nn.Upsample(scale_factor=2.0, mode="nearest"), Conv2d(2 * width, out_channels, 4, 1, 2))
        else:
            self.head = Stage(ConvTranspose2d(2 * width, out_channels, 4, 2, 1))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        padded = pad_to_multiple(x, self.multiple)
        y, encoded = padded, []
        for down in self.downs:
            y = down(y)
            encoded.append(y)
        encoded.pop()
        for up in self.ups:
            y = torch.cat([up(y), encoded.pop()], 1)
        y = self.head(y)
        if self.resize_head:
            y = y[..., : padded.shape[-2], : padded.shape[-1]]
        return crop_centre(bounded(full_precision(y)), *x.shape[-2:])

"""The U-Nets of PyTorch-GAN's pix2pix, DualGAN and DiscoGAN, keyed as it keys them; its ResNet is junyanz.ResnetGenerator.

Written from facts about layers and keys; deliberately plain. Its CycleGAN names its blocks ``block`` and doubles by nearest
neighbours before a convolution that pads itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Half(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class GeneratorUNet(nn.Module):
    """``kind`` is pix2pix (8 halvings), dualgan (7) or discogan (6)."""

    def __init__(self, kind: str = "pix2pix", inputs: int = 3, outputs: int = 3, width: int = 64) -> None:
        super().__init__()
        self.depth = {"pix2pix": 8, "dualgan": 7, "discogan": 6}[kind]
        bias, affine = kind == "discogan", kind == "dualgan"
        down_drops = {"pix2pix": (4, 5, 6, 7, 8), "dualgan": (4, 5, 6, 7), "discogan": (3, 4, 5, 6)}[kind]
        up_drops = 4 if kind == "pix2pix" else 3
        dims = [width * min(2**n, 8) for n in range(self.depth)]
        for n in range(1, self.depth + 1):
            layers: list[nn.Module] = [nn.Conv2d(inputs if n == 1 else dims[n - 2], dims[n - 1], 4, 2, 1, bias=bias)]
            layers += [nn.InstanceNorm2d(dims[n - 1], affine=affine)] if 1 < n < self.depth else []
            layers += [nn.LeakyReLU(0.2)] + ([nn.Dropout(0.5)] if n in down_drops else [])
            self.add_module(f"down{n}", Half(*layers))
        for n in range(1, self.depth):
            outer = dims[self.depth - 1 - n]
            inner = dims[self.depth - n] * (1 if n == 1 else 2)
            layers = [nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=bias), nn.InstanceNorm2d(outer, affine=affine), nn.ReLU()]
            self.add_module(f"up{n}", Half(*layers, *([nn.Dropout(0.5)] if n <= up_drops else [])))
        if kind == "dualgan":
            self.final = nn.Sequential(nn.ConvTranspose2d(2 * width, outputs, 4, 2, 1), nn.Tanh())
        else:
            pad = nn.ZeroPad2d((1, 0, 1, 0))
            self.final = nn.Sequential(nn.Upsample(scale_factor=2), pad, nn.Conv2d(2 * width, outputs, 4, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for n in range(1, self.depth + 1):
            x = self.get_submodule(f"down{n}")(x)
            skips.append(x)
        skips.pop()
        for n in range(1, self.depth):
            x = torch.cat((self.get_submodule(f"up{n}")(x), skips.pop()), 1)
        return self.final(x)

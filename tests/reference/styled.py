"""The generators of SANTA, UNSB and StegoGAN, keyed as their authors key them. Written from descriptions of their layers.

All are residual generators with instance norm. SANTA (Xie et al. 2023): an encoder of half the blocks, and a decoder whose norms
are scaled and shifted by a linear function of a style between two learnt ones. UNSB (Kim et al. 2024), as its released code
computes: a block normalises its input, scales and shifts it by a linear function of mapped noise, and convolves once; the file
has more layers, but no image depends on them. StegoGAN (Wu et al. 2024): before the last block one generator keeps of its
features what a mask says, and the other adds a block of what it is given.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tests.reference.cut import Down, Up


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding)


def entrance(ngf: int, blur: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), conv(3, ngf, 7), nn.InstanceNorm2d(ngf), nn.ReLU()]
    for dim in (ngf, 2 * ngf):
        layers += [conv(dim, 2 * dim, 3, 1 if blur else 2, 1), nn.InstanceNorm2d(2 * dim), nn.ReLU()]
        layers += [Down(2 * dim)] if blur else []
    return layers


def exit_(ngf: int, blur: bool, norm: type[nn.Module], outputs: int = 2) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for dim in (4 * ngf, 2 * ngf):
        doubling = [Up(dim), conv(dim, dim // 2, 3, 1, 1)] if blur else [nn.ConvTranspose2d(dim, dim // 2, 3, 2, 1, 1)]
        layers += [*doubling, norm(dim // 2), nn.ReLU()]
    return [*layers, nn.ReflectionPad2d(3), conv(ngf, outputs, 7), nn.Tanh()]


class AdaIN(nn.Module):
    style: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        g, h = self.fc(self.style)[:, :, None, None].chunk(2, 1)
        return (1 + g) * F.instance_norm(x) + h


class Block(nn.Module):
    def __init__(self, dim: int, norm: type[nn.Module]) -> None:
        super().__init__()
        mirror = nn.ReflectionPad2d(1)
        self.conv_block = nn.Sequential(mirror, conv(dim, dim), norm(dim), nn.ReLU(), mirror, conv(dim, dim), norm(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Santa(nn.Module):
    def __init__(self, ngf: int = 4, blocks: int = 5, blur: bool = True) -> None:
        super().__init__()
        half = blocks // 2
        self.encoder = nn.Sequential(*entrance(ngf, blur), *(Block(4 * ngf, nn.InstanceNorm2d) for _ in range(half)))
        self.decoder = nn.Sequential(*(Block(4 * ngf, AdaIN) for _ in range(blocks - half)), *exit_(ngf, blur, AdaIN))
        self.domain_embedding = nn.Embedding(2, 8)

    def forward(self, x: Tensor, strength: float) -> Tensor:
        first, last = self.domain_embedding.weight
        for module in self.modules():
            if isinstance(module, AdaIN):
                module.style = ((1 - strength) * first + strength * last).expand(len(x), -1)
        return self.decoder(self.encoder(x))


class Scale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.style_net = nn.Linear(dim, 2 * dim)


class BridgeBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        mirror = nn.ReflectionPad2d(1)
        self.conv_block = nn.ModuleList([mirror, conv(dim, dim), nn.InstanceNorm2d(dim)])
        self.adaptive = Scale(dim)
        self.conv_fin = nn.ModuleList([nn.ReLU(), mirror, conv(dim, dim), nn.InstanceNorm2d(dim)])
        self.Dense_time, self.style = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        gamma, beta = self.adaptive.style_net(z)[:, :, None, None].chunk(2, 1)
        return x + nn.Sequential(*self.conv_fin)(gamma * F.instance_norm(x) + beta)


class Unsb(nn.Module):
    def __init__(self, ngf: int = 4, blocks: int = 2, blur: bool = True) -> None:
        super().__init__()
        dim = 4 * ngf
        self.model = nn.Sequential(*entrance(ngf, blur))
        self.model_res = nn.ModuleList(BridgeBlock(dim) for _ in range(blocks))
        self.model_upsample = nn.Sequential(*exit_(ngf, blur, nn.InstanceNorm2d, 3))
        mapping = [layer for _ in range(4) for layer in (nn.Linear(dim, dim), nn.LeakyReLU(0.2))]
        self.z_transform = nn.Sequential(nn.Identity(), *mapping)
        self.time_embed = nn.Sequential(nn.Linear(ngf, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        style = self.z_transform(z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt())
        y = self.model(x)
        for block in self.model_res:
            y = block(y, style)
        return self.model_upsample(y)


class Mask(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (conv(dim, dim, 3, 1, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = F.instance_norm(self.conv1(x)).relu()
        return self.conv3(F.instance_norm(self.conv2(y)).relu()).sigmoid()


class Stego(nn.Module):
    def __init__(self, masks: bool, ngf: int = 4, blocks: int = 3, seam: int = 2) -> None:
        super().__init__()
        layers = entrance(ngf, False)
        self.conv1, self.conv2 = nn.Sequential(*layers[:4]), nn.Sequential(*layers[4:])
        chain = [Block(4 * ngf, nn.InstanceNorm2d) for _ in range(blocks)]
        self.conv3_up, self.conv3_down = nn.Sequential(*chain[:seam]), nn.Sequential(*chain[seam:])
        if masks:
            self.mask = Mask(4 * ngf)
        self.decoder = nn.Sequential(*exit_(ngf, False, nn.InstanceNorm2d))
        if not masks:
            self.fusion = nn.Sequential(Block(4 * ngf, nn.InstanceNorm2d))

    def forward(self, x: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        y, left_out = self.conv3_up(self.conv2(self.conv1(x))), None
        if hasattr(self, "mask"):
            kept = self.mask(y)
            y, left_out = y * kept, (1 - kept).amax(1, keepdim=True)
        elif extra is not None:
            y = y + self.fusion(extra)
        return self.decoder(self.conv3_down(y)), left_out

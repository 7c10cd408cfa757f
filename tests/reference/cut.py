"""The anti-aliased networks of CUT (Park et al. 2020) and DCLGAN, keyed as their authors key them.

Down: a convolution of stride 1, norm, ReLU, then every second pixel of a blur by the buffer ``filt``, binomial [1 2 1] in both
directions over mirrored borders. Up: a blur by [1 3 3 1] over replicated borders that doubles, then a convolution of stride 1.
Written from these facts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.reference.junyanz import NormLayer, ResnetBlock, biased, instance


def binomial(*row: float) -> Tensor:
    square = torch.outer(torch.tensor(row), torch.tensor(row))
    return square / square.sum()


class Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", binomial(1, 2, 1).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [1] * 4, mode="reflect"), self.filt, stride=2, groups=x.shape[1])


class Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", 4 * binomial(1, 3, 3, 1).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv_transpose2d(F.pad(x, [1] * 4, mode="replicate"), self.filt, stride=2, padding=2, groups=x.shape[1])
        return y[:, :, 1:-1, 1:-1]


class ResnetGenerator(nn.Module):
    def __init__(
        self,
        ngf: int = 64,
        n_blocks: int = 9,
        norm: NormLayer = instance,
        down: bool = True,
        up: bool = True,
        dropout: bool = False,
    ) -> None:
        super().__init__()
        bias = biased(norm)
        model: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7, bias=bias), norm(ngf), nn.ReLU()]
        for dim in (ngf, 2 * ngf):
            model += [nn.Conv2d(dim, 2 * dim, 3, 1 if down else 2, 1, bias=bias), norm(2 * dim), nn.ReLU()]
            model += [Down(2 * dim)] if down else []
        model += [ResnetBlock(4 * ngf, norm, dropout, "conv_block", "reflect", bias) for _ in range(n_blocks)]
        for dim in (4 * ngf, 2 * ngf):
            half = dim // 2
            if up:
                model += [Up(dim), nn.Conv2d(dim, half, 3, 1, 1, bias=bias)]
            else:
                model += [nn.ConvTranspose2d(dim, half, 3, 2, 1, 1, bias=bias)]
            model += [norm(half), nn.ReLU()]
        self.model = nn.Sequential(*model, nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class NLayerDiscriminator(nn.Module):
    def __init__(self, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: NormLayer = instance) -> None:
        super().__init__()
        dims = [ndf * min(2**n, 8) for n in range(n_layers + 1)]
        model: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, 1, 1), nn.LeakyReLU(0.2), Down(ndf)]
        for n in range(1, n_layers + 1):
            model += [nn.Conv2d(dims[n - 1], dims[n], 4, 1, 1, bias=biased(norm)), norm(dims[n]), nn.LeakyReLU(0.2)]
            model += [Down(dims[n])] if n < n_layers else []
        self.model = nn.Sequential(*model, nn.Conv2d(dims[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

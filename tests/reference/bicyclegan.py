"""BicycleGAN's U-Nets (Zhu et al. 2017), whose every level or whose input alone is given the code, keyed as its authors key them.

A level halves what it is given beside the code; it gives back its doubling and, behind that, what it was given. All convolutions
have biases. Written from these facts.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Level(nn.Module):
    def __init__(
        self,
        outer: int,
        outputs: int,
        inner: int,
        nz: int,
        inside: nn.Module | None,
        first: bool,
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        down: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
        down += [nn.Conv2d(outer + nz, inner, 4, 2, 1)]
        down += [] if first or inside is None else [norm(inner)]
        up = [nn.ReLU(), nn.ConvTranspose2d(inner if inside is None else 2 * inner, outputs, 4, 2, 1)]
        self.down, self.submodule = nn.Sequential(*down), inside
        self.up = nn.Sequential(*up, nn.Tanh() if first else norm(outputs))
        self.first = first

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y = self.down(torch.cat([x, z[:, :, None, None].repeat(1, 1, *x.shape[2:])], 1))
        y = self.up(y if self.submodule is None else self.submodule(y, z))
        return y if self.first else torch.cat([y, x], 1)


class UNetOfAll(nn.Module):
    def __init__(
        self, ngf: int = 4, num_downs: int = 6, nz: int = 3, norm: Callable[[int], nn.Module] = nn.InstanceNorm2d
    ) -> None:
        super().__init__()
        widths = [ngf * min(8, 2**level) for level in range(num_downs)]
        inside: nn.Module | None = None
        for level in range(num_downs - 1, 0, -1):
            inside = Level(widths[level - 1], widths[level - 1], widths[level], nz, inside, False, norm)
        self.model = Level(3, 2, ngf, nz, inside, True, norm)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.model(x, z)


class Nested(nn.Module):
    """A level of the U-Net whose input is given the code: keyed as in pix2pix, with what it is given last in its output."""

    def __init__(
        self, outer: int, outputs: int, inner: int, inside: nn.Module | None, first: bool, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(outer, inner, 4, 2, 1)]
        layers += [] if first or inside is None else [norm(inner)]
        layers += [] if inside is None else [inside]
        layers += [nn.ReLU(), nn.ConvTranspose2d(inner if inside is None else 2 * inner, outputs, 4, 2, 1)]
        self.model = nn.Sequential(*layers, nn.Tanh() if first else norm(outputs))
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.first else torch.cat([self.model(x), x], 1)


class UNetOfInput(nn.Module):
    def __init__(
        self, ngf: int = 4, num_downs: int = 6, nz: int = 8, norm: Callable[[int], nn.Module] = nn.InstanceNorm2d
    ) -> None:
        super().__init__()
        widths = [ngf * min(8, 2**level) for level in range(num_downs)]
        inside: nn.Module | None = None
        for level in range(num_downs - 1, 0, -1):
            inside = Nested(widths[level - 1], widths[level - 1], widths[level], inside, False, norm)
        self.model = Nested(3 + nz, 2, ngf, inside, True, norm)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.model(torch.cat([x, z[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1))

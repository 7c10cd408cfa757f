"""BicycleGAN's U-Nets (Zhu et al. 2017), whose every level or whose input alone is given the code, keyed as its authors key them.

A level halves what it is given beside the code; it gives back its doubling and, behind that, what it was given. All convolutions
have biases. Written from these facts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


def halves(
    outer: int, outputs: int, inner: int, innermost: bool, first: bool, norm: Norm
) -> tuple[list[nn.Module], list[nn.Module]]:
    """What halves at a level, and what doubles."""
    down = [*([] if first else [nn.LeakyReLU(0.2)]), nn.Conv2d(outer, inner, 4, 2, 1)]
    down += [] if first or innermost else [norm(inner)]
    up = [nn.ReLU(), nn.ConvTranspose2d(inner if innermost else 2 * inner, outputs, 4, 2, 1)]
    return down, [*up, nn.Tanh() if first else norm(outputs)]


def nested(
    level: Callable[[int, int, int, nn.Module | None, bool], nn.Module], inputs: int, ngf: int, num_downs: int
) -> nn.Module:
    """Levels, each inside the one before."""
    widths = [ngf * min(8, 2**depth) for depth in range(num_downs)]
    inside: nn.Module | None = None
    for depth in range(num_downs - 1, 0, -1):
        inside = level(widths[depth - 1], widths[depth - 1], widths[depth], inside, False)
    return level(inputs, 2, ngf, inside, True)


class Level(nn.Module):
    def __init__(
        self, outer: int, outputs: int, inner: int, inside: nn.Module | None, first: bool, *, nz: int, norm: Norm
    ) -> None:
        super().__init__()
        down, up = halves(outer + nz, outputs, inner, inside is None, first, norm)
        self.down, self.submodule, self.up, self.first = nn.Sequential(*down), inside, nn.Sequential(*up), first

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y = self.down(torch.cat([x, z[:, :, None, None].repeat(1, 1, *x.shape[2:])], 1))
        y = self.up(y if self.submodule is None else self.submodule(y, z))
        return y if self.first else torch.cat([y, x], 1)


class UNetOfAll(nn.Module):
    def __init__(self, ngf: int = 4, num_downs: int = 6, nz: int = 3, norm: Norm = nn.InstanceNorm2d) -> None:
        super().__init__()
        self.model = nested(partial(Level, nz=nz, norm=norm), 3, ngf, num_downs)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.model(x, z)


class Nested(nn.Module):
    """A level of the U-Net whose input is given the code: keyed as in pix2pix, with what it is given last in its output."""

    def __init__(self, outer: int, outputs: int, inner: int, inside: nn.Module | None, first: bool, *, norm: Norm) -> None:
        super().__init__()
        down, up = halves(outer, outputs, inner, inside is None, first, norm)
        self.model, self.first = nn.Sequential(*down, *([] if inside is None else [inside]), *up), first

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.first else torch.cat([self.model(x), x], 1)


class UNetOfInput(nn.Module):
    def __init__(self, ngf: int = 4, num_downs: int = 6, nz: int = 8, norm: Norm = nn.InstanceNorm2d) -> None:
        super().__init__()
        self.model = nested(partial(Nested, norm=norm), 3 + nz, ngf, num_downs)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.model(torch.cat([x, z[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1))

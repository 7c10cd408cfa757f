"""The published networks of pix2pix and CycleGAN, nested and keyed as junyanz/pytorch-CycleGAN-and-pix2pix nests and keys them.

Written from the facts in REFERENCE.md sections 2.2 and 2.3 (layers, keys, counts), not from their code. Deliberately plain: the
U-Net is recursive, as theirs is and ours is not; odd sizes, other precisions and friendly errors are none of its business.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

NormLayer = Callable[[int], nn.Module]


def batch(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels)


def instance(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels)


def instance_with_old_statistics(channels: int) -> nn.Module:
    """Before PyTorch 0.4: running statistics are kept in the file, though normalisation is by the image alone."""
    return _OldInstanceNorm(channels)


def affine(channels: int) -> nn.Module:
    """The stranger's: vintagify learns a scale and a shift."""
    return nn.InstanceNorm2d(channels, affine=True)


def no_norm(channels: int) -> nn.Module:
    return nn.Identity()


class _OldInstanceNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.randn(channels))
        self.register_buffer("running_var", torch.rand(channels) + 0.5)
        self.register_buffer("num_batches_tracked", torch.tensor(7))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.instance_norm(x)


def biased(norm: NormLayer) -> bool:
    return norm in (instance, instance_with_old_statistics, affine)


def padded_conv(padding: str, inputs: int, outputs: int, kernel: int, bias: bool) -> list[nn.Module]:
    """A convolution after a padding layer, or for ``zero`` one that pads itself; ``zero_layer`` has a layer for it."""
    margin = kernel // 2
    if padding == "zero":
        return [nn.Conv2d(inputs, outputs, kernel, padding=margin, bias=bias)]
    layer = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zero_layer": nn.ZeroPad2d}[padding](margin)
    return [layer, nn.Conv2d(inputs, outputs, kernel, bias=bias)]


class ResnetBlock(nn.Module):
    def __init__(self, dim: int, norm: NormLayer, dropout: bool, name: str, padding: str = "reflect", bias: bool = True) -> None:
        super().__init__()
        layers = [*padded_conv(padding, dim, dim, 3, bias), norm(dim), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [*padded_conv(padding, dim, dim, 3, bias), norm(dim)]
        self.name = name
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.get_submodule(self.name)(x)


class ResnetGenerator(nn.Module):
    """``block_name="block"`` and ``norm=affine`` make it the generator of vintagify.

    ``padding`` is that of the blocks and ``edges`` that of the 7x7 convolutions, with a layer of its own or none. ``up`` makes a
    doubling a transposed convolution, or nearest-neighbour upsampling before a convolution whose padding is a layer
    (``resize``) or its own (``resize_zero``). ``bias`` overrules that of the convolutions before a norm.
    """

    def __init__(
        self,
        input_nc: int = 3,
        output_nc: int = 3,
        ngf: int = 64,
        norm: NormLayer = instance,
        dropout: bool = False,
        n_blocks: int = 9,
        block_name: str = "conv_block",
        padding: str = "reflect",
        edges: str = "reflect",
        up: str = "transposed",
        bias: bool | None = None,
        n_downsampling: int = 2,
    ) -> None:
        super().__init__()
        bias = biased(norm) if bias is None else bias
        widths = [ngf * 2**level for level in range(n_downsampling + 1)]
        model: list[nn.Module] = [*padded_conv(edges, input_nc, ngf, 7, bias), norm(ngf), nn.ReLU()]
        for dim in widths[:-1]:
            model += [nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=bias), norm(2 * dim), nn.ReLU()]
        model += [ResnetBlock(widths[-1], norm, dropout, block_name, padding, bias) for _ in range(n_blocks)]
        for dim in widths[:0:-1]:
            half = dim // 2
            if up == "transposed":
                model += [nn.ConvTranspose2d(dim, half, 3, stride=2, padding=1, output_padding=1, bias=bias)]
            else:
                pad = {"resize": "reflect", "resize_zero": "zero"}[up]
                model += [nn.Upsample(scale_factor=2), *padded_conv(pad, dim, half, 3, bias)]
            model += [norm(half), nn.ReLU()]
        model += [*padded_conv(edges, ngf, output_nc, 7, True), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UnetLevel(nn.Module):
    """One level around the deeper one: x beside up(submodule(down(x))); the outermost returns the image alone."""

    def __init__(self, down: list[nn.Module], submodule: list[nn.Module], up: list[nn.Module], outermost: bool = False) -> None:
        super().__init__()
        self.outermost = outermost
        self.model = nn.Sequential(*down, *submodule, *up)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.outermost else torch.cat([x, y], 1)


class UnetGenerator(nn.Module):
    def __init__(
        self,
        input_nc: int = 3,
        output_nc: int = 3,
        num_downs: int = 8,
        ngf: int = 64,
        norm: NormLayer = batch,
        dropout: bool = True,
    ) -> None:
        super().__init__()
        bias = biased(norm)

        def level(outer: int, inner: int, submodule: list[nn.Module], drop: bool = False) -> UnetLevel:
            """outer: channels outside of this level; inner: channels inside."""
            down: list[nn.Module] = [nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
            if submodule:
                down.append(norm(inner))
            up = [
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(2 * inner if submodule else inner, outer, 4, 2, 1, bias=bias),
                norm(outer),
            ]
            return UnetLevel(down, submodule, up + ([nn.Dropout(0.5)] if drop else []))

        block = level(8 * ngf, 8 * ngf, [])
        for _ in range(num_downs - 5):
            block = level(8 * ngf, 8 * ngf, [block], drop=dropout)
        for factor in (4, 2, 1):
            block = level(factor * ngf, 2 * factor * ngf, [block])
        head = [nn.ReLU(inplace=True), nn.ConvTranspose2d(2 * ngf, output_nc, 4, 2, 1), nn.Tanh()]
        self.model = UnetLevel([nn.Conv2d(input_nc, ngf, 4, 2, 1, bias=bias)], [block], head, outermost=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class NLayerDiscriminator(nn.Module):
    def __init__(self, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, norm: NormLayer = instance) -> None:
        super().__init__()
        model: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        dims = [ndf * factor for factor in (1, 2, 4, 8, 8, 8, 8, 8)]
        for n in range(n_layers):
            stride = 1 if n == n_layers - 1 else 2
            model += [nn.Conv2d(dims[n], dims[n + 1], 4, stride, 1, bias=biased(norm)), norm(dims[n + 1]), nn.LeakyReLU(0.2)]
        model.append(nn.Conv2d(dims[n_layers], 1, 4, 1, 1))
        self.model = nn.Sequential(*model)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelDiscriminator(nn.Module):
    def __init__(self, input_nc: int = 3, ndf: int = 64, norm: NormLayer = instance) -> None:
        super().__init__()
        bias = biased(norm)
        self.net = nn.Sequential(
            nn.Conv2d(input_nc, ndf, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(ndf, 2 * ndf, 1, bias=bias),
            norm(2 * ndf),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * ndf, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

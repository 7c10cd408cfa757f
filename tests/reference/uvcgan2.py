"""UVCGANv2's generator (Torbunov et al. 2023), keyed as its authors key it; images in [0, 1]. Written from these facts.

A first convolution, then levels: two convolutions of 3x3, the first of which widens; a halving of 2x2. At the bottom pixels are
tokens beside one learnt token, whose output scales the channels of the decoder's convolutions. Each level doubles by nearest
neighbours and a convolution, puts the skip behind that, and narrows in its last convolution. There is no norm outside the
transformer. LeakyReLUs have slope 0.01.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def holder(**children: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


class Style(nn.Module):
    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.affine_mod = nn.Linear(features, channels)
        self.re_alpha = nn.Parameter(torch.zeros(1))


class Bottom(nn.Module):
    def __init__(self, channels: int, features: int, heads: int, blocks: int, tokens: int) -> None:
        super().__init__()
        self.extra_tokens = nn.Parameter(torch.randn(1, 1, features))
        embed = holder(projector=nn.Linear(2, features))
        self.trans_input = holder(embed=embed, output=nn.Linear(features + channels, features))
        first, second = torch.meshgrid(torch.arange(float(tokens)), torch.arange(float(tokens)), indexing="ij")
        self.trans_input.register_buffer("x_const", first.reshape(1, -1))
        self.trans_input.register_buffer("y_const", second.reshape(1, -1))
        self.encoder = holder(encoder=nn.ModuleList(self.block(features, heads) for _ in range(blocks)))
        self.trans_output = nn.Linear(features, channels)

    @staticmethod
    def block(features: int, heads: int) -> nn.Module:
        ffn = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))
        norms = {f"norm{n}": nn.LayerNorm(features) for n in (1, 2)}
        block = holder(**norms, atten=nn.MultiheadAttention(features, heads), ffn=holder(net=ffn))
        block.re_alpha = nn.Parameter(torch.zeros(1))
        return block

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n, _, h, w = x.shape
        first, second = self.trans_input.x_const[0], self.trans_input.y_const[0]
        places = torch.stack([2 * first / (h - 1) - 1, 2 * second / (w - 1) - 1], 1)
        embedded = self.trans_input.embed.projector(places).sin().repeat(n, 1, 1)
        tokens = self.trans_input.output(torch.cat([embedded, x.flatten(2).permute(0, 2, 1)], 2))
        tokens = torch.cat([tokens, self.extra_tokens.repeat(n, 1, 1)], 1).permute(1, 0, 2)
        for block in self.encoder.encoder:
            y = block.norm1(tokens)
            tokens = tokens + block.re_alpha * block.atten(y, y, y)[0]
            tokens = tokens + block.re_alpha * block.ffn.net(block.norm2(tokens))
        tokens = tokens.permute(1, 0, 2)
        return self.trans_output(tokens[:, :-1]).permute(0, 2, 1).reshape(x.shape), tokens[:, -1]


class Level(nn.Module):
    def __init__(self, outer: int, channels: int, features: int, inside: nn.Module) -> None:
        super().__init__()
        slope = nn.LeakyReLU(0.01)
        block = nn.Sequential(nn.Identity(), conv3(outer, channels), slope, nn.Identity(), conv3(channels, channels), slope)
        self.conv = holder(downsample=nn.Conv2d(channels, channels, 2, 2), block=holder(block=block))
        self.inner_module = inside
        parts = {"style_block1": Style(features, 2 * channels), "conv_block1": holder(conv=conv3(2 * channels, channels))}
        parts |= {"style_block2": Style(features, channels), "conv_block2": holder(conv=conv3(channels, outer))}
        up = nn.Sequential(nn.Upsample(scale_factor=2), conv3(channels, channels))
        self.deconv = holder(upsample=up, block=holder(**parts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.conv.block.block(x)
        y, style = self.inner_module(self.conv.downsample(skip))
        y = torch.cat([self.deconv.upsample(y), skip], 1)
        for n in (1, 2):
            scale, conv = getattr(self.deconv.block, f"style_block{n}"), getattr(self.deconv.block, f"conv_block{n}").conv
            s = 1 + scale.re_alpha * scale.affine_mod(style)
            variance = torch.einsum("nc,dchw->nd", s.square(), conv.weight.square())
            y = conv(y * s[:, :, None, None]) / (variance + 1e-6).sqrt()[:, :, None, None]
            y = nn.functional.leaky_relu(y, 0.01)
        return y, style


class Generator(nn.Module):
    def __init__(
        self, widths: tuple[int, ...] = (4, 8, 16), features: int = 12, heads: int = 6, blocks: int = 2, tokens: int = 4
    ):
        super().__init__()
        inside: nn.Module = Bottom(widths[-1], features, heads, blocks, tokens)
        for outer, channels in reversed(list(zip((widths[0], *widths), widths, strict=False))):
            inside = Level(outer, channels, features, inside)
        stem = nn.Sequential(conv3(3, widths[0]), nn.LeakyReLU(0.01))
        self.net = holder(layer_input=stem, layer_output=nn.Conv2d(widths[0], 3, 1), modnet=inside)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.layer_output(self.net.modnet(self.net.layer_input(x))[0]).sigmoid()

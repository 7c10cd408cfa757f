"""UVCGANv2's generator (Torbunov et al. 2023, arXiv 2303.16280, section 3.1): a U-Net with a vision transformer at its bottom.

The transformer's style token modulates the convolutions of the decoder, as in StyleGAN2 (Karras et al. 2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import bounded, crop_centre, full_precision, pad_to_multiple

SLOPE = 0.01  # of the LeakyReLUs


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward layers; both residuals begin at 0 by one learnt factor (ReZero)."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(2))
        self.to_qkv, self.to_out = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self.feed_forward = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "n t f"]) -> Float[Tensor, "n t f"]:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.to_qkv(self.norms[0](x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.scale * self.to_out(attended)
        return x + self.scale * self.feed_forward(self.norms[1](x))


class ModulatedConv(nn.Module):
    """A 3x3 convolution whose inputs are scaled by the style and whose outputs are normalised by what that did to its weights.

    The bias is added after that, or with ``scale_bias`` before it.
    """

    def __init__(self, in_channels: int, out_channels: int, style: int, scale_bias: bool = False) -> None:
        super().__init__()
        self.scale_bias = scale_bias
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.to_scale = nn.Linear(style, in_channels)
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "n c h w"], style: Float[Tensor, "n s"]) -> Float[Tensor, "n d h w"]:
        scale = 1.0 + self.strength * self.to_scale(style)  # (n, c)
        weight = self.conv.weight
        power = weight.float().square().sum((2, 3))  # (d, c)
        norm = torch.rsqrt(scale.float().square() @ power.t() + 1e-6)[..., None, None]
        modulated = (x * scale[..., None, None]).to(x.dtype)
        if self.scale_bias:
            return self.conv(modulated) * norm.to(x.dtype)
        y = F.conv2d(modulated, weight, padding=1) * norm.to(x.dtype)
        return y + self.conv.bias[None, :, None, None] if self.conv.bias is not None else y


class DecoderLevel(nn.Module):
    """Nearest-neighbour doubling and a convolution, the skip beside it, and two modulated convolutions.

    As ``released``, the last convolution goes to ``out_channels`` and scales its bias too.
    """

    def __init__(self, in_channels: int, channels: int, style: int, out_channels: int, released: bool) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(in_channels, channels, 3, padding=1))
        self.first = ModulatedConv(2 * channels, channels, style, released)
        self.second = ModulatedConv(channels, out_channels, style, released)

    def forward(self, x: Tensor, skip: Float[Tensor, "n c h w"], style: Float[Tensor, "n s"]) -> Float[Tensor, "n d h w"]:
        y = F.leaky_relu(self.first(torch.cat([self.up(x), skip], 1), style), SLOPE)
        return F.leaky_relu(self.second(y, style), SLOPE)


class VitModnet(nn.Module):
    """Images in [-1, 1] to images of their size: four levels, and a transformer over all pixels of the coarsest map.

    Made for images of one size, that of the training, which is 256 px as published. Positions are relative to the image, so
    that other sizes are translated, padded to a multiple of 16 and cropped back; but the transformer has not seen so many or so
    few tokens, and its cost grows with the square of the area. Translate large images with ``--size trained``, or train on crops
    of the size that you need. ``bounded(x / 2)`` is the published sigmoid, in [-1, 1].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 48,
        num_downs: int = 4,
        num_blocks: int = 12,
        features: int = 0,
        num_heads: int = 6,
        released: bool = False,
    ) -> None:
        super().__init__()
        if num_downs < 1:
            raise ConfigError(f"vit_modnet needs at least 1 downsampling, found {num_downs}")
        self.spec = {"net": "vit_modnet", "in_channels": in_channels, "out_channels": out_channels, "width": width}
        self.spec |= {"num_downs": num_downs, "num_blocks": num_blocks, "features": features, "num_heads": num_heads}
        self.spec |= {"released": released}
        self.released = released
        self.multiple = 2**num_downs
        channels = [width * 2**level for level in range(num_downs)]
        features = features or channels[-1]  # 384 as published
        num_heads = num_heads if features % num_heads == 0 else 1
        stem = [nn.Conv2d(in_channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)] if released else []
        self.stem = nn.Sequential(*stem)
        self.levels, self.downs = nn.ModuleList(), nn.ModuleList()
        inputs = width if released else in_channels
        for level, outputs in enumerate(channels):
            convs = (nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1))
            self.levels.append(nn.Sequential(convs[0], nn.LeakyReLU(SLOPE), convs[1], nn.LeakyReLU(SLOPE)))
            inputs = outputs if released else channels[min(level + 1, num_downs - 1)]
            self.downs.append(nn.Conv2d(outputs, inputs, 2, stride=2))
        self.to_position = nn.Linear(2, features)
        self.to_tokens, self.from_tokens = nn.Linear(features + inputs, features), nn.Linear(features, inputs)
        self.style = nn.Parameter(torch.randn(1, 1, features) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(features, num_heads) for _ in range(num_blocks))
        self.ups = nn.ModuleList()
        for level, outputs in reversed(list(enumerate(channels))):
            narrowed = channels[max(level - 1, 0)] if released else outputs
            self.ups.append(DecoderLevel(inputs, outputs, features, narrowed, released))
            inputs = narrowed
        self.head = nn.Conv2d(inputs, out_channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        y, skips = pad_to_multiple(x, self.multiple), []
        y = self.stem((y + 1) / 2 if self.released else y)
        for level, down in zip(self.levels, self.downs, strict=True):
            y = level(y)
            skips.append(y)
            y = down(y)
        y, style = self._attend(y)
        for up in self.ups:
            y = up(y, skips.pop(), style)
        return crop_centre(bounded(full_precision(self.head(y)) / 2), *x.shape[-2:])

    def _attend(self, x: Float[Tensor, "n c p q"]) -> tuple[Float[Tensor, "n c p q"], Float[Tensor, "n f"]]:
        n, _, height, width = x.shape
        exact = self.to_position.weight.dtype  # float32 where only convolutions compute in bfloat16
        rows, columns = (torch.linspace(-1, 1, size, dtype=exact, device=x.device) for size in (height, width))
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)  # (p q, 2)
        positions = torch.sin(self.to_position(places)).expand(n, -1, -1)
        pixels = x.flatten(2).transpose(1, 2)
        tokens = self.to_tokens(torch.cat([positions, pixels.to(positions.dtype)], -1))
        tokens = torch.cat([tokens, self.style.expand(n, -1, -1).to(tokens.dtype)], 1)
        for block in self.blocks:
            tokens = block(tokens)
        image = self.from_tokens(tokens[:, :-1]).transpose(1, 2).unflatten(2, (height, width))
        return image.to(x.dtype), tokens[:, -1]

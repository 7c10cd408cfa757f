r"""SANTA: Unpaired Image-to-Image Translation with Shortest Path Regularization (Xie, Xu, Gong, Zhang 2023, CVPR).

    L = L_GAN(G(a, 1), D) + lambda_rec |G(a, 0) - a|_1 + lambda_identity |G(b, 1) - b|_1 + lambda_mean E[mu^2]
      + lambda_path E[ mean over taps F of ((F(a, d1) - F(a, d2)) / max(d1 - d2, 0.1))^2 ]

G(x, d) encodes x and decodes it with a strength d from 0 (the image itself) to 1 (its translation). The path of features between
the two should be short: d1 and d2 are near to each other at a random place. While training, normal noise is added to the
encoding mu. One generator and one discriminator, no projector. D is updated before G.

Afterwards the strength is a choice: `diptych translate --strength 0.6`.

Deliberate differences from the authors' code: all decodings of a step are one joined pass, and known pairs among unpaired images
(``data.pairs``) add a pixel loss of their translations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, generator_loss
from diptych.methods.base import Batch, Method, Terms, discriminator_terms, frozen
from diptych.nets import AdaINResNet, Downsample, Init, PatchGAN, ResNetName, Upsample, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, PairWeight, PenaltyWeight, Positive, Size, Weight, Whole, check_settings


@dataclass(frozen=True)
class SANTAConfig:
    """Settings of SANTA; the defaults are the published ones, with 0.1 for ``lambda_path`` on Cityscapes.

    ``lambda_pair`` is the weight of the pixel loss on known pairs, which only ``data.pairs`` has. ``lambda_gp`` has an effect
    only with ``gan: wgan``.
    """

    name: ClassVar[str] = "santa"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b", "rec_a", "idt_b")

    generator: ResNetName = "resnet_9"
    ngf: Count = 64
    downsample: Downsample = "blur"
    upsample: Upsample = "blur"
    num_layers: Whole = 3
    ndf: Count = 64
    init: Init = "xavier"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Weight = 1.0
    lambda_rec: Weight = 5.0
    lambda_identity: Weight = 5.0
    lambda_mean: Weight = 0.01
    lambda_path: Weight = 0.01
    pixel_loss: PixelLoss = L1
    lambda_pair: PairWeight = 10.0
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        if not (self.lambda_gan or self.lambda_identity):
            raise ConfigError("santa: lambda_gan and lambda_identity are both 0, so nothing is learnt of the target; set one")

    def build(self, a: Domain, b: Domain, crop_size: Size) -> SANTA:
        """G_ab and D_b. Raises ConfigError for domains of different channels: G encodes images of both."""
        if a.channels != b.channels:
            raise ConfigError(
                f"santa encodes images of both domains, which must have the same channels; found {a.channels} and {b.channels}; "
                "convert one of them"
            )
        shape: dict[str, Any] = {"width": self.ngf, "num_blocks": int(self.generator.removeprefix("resnet_"))}
        shape |= {"downsample": self.downsample, "upsample": self.upsample}
        G_ab = AdaINResNet(a.channels, b.channels, **shape)
        D_b = PatchGAN(b.channels, width=self.ndf, num_layers=self.num_layers, downsample=self.downsample)
        for net in (G_ab, D_b):
            initialise(net, self.init, self.init_gain)
        return SANTA(replace(self, pixel_loss=self.pixel_loss.on(b)), G_ab, D_b if self.lambda_gan else None)


def decoder_taps(num_blocks: int) -> tuple[str, ...]:
    """The maps whose path should be short. Of 9 blocks, of which 5 decode, block 1 and 4 of those; then both upsamplings and the
    last convolution.
    """
    first, decoding = num_blocks // 2 + 1, num_blocks - num_blocks // 2
    blocks = [f"block_{first + k - 1}" for k in (1, decoding - 1) if 1 <= k <= decoding]
    return tuple(dict.fromkeys([*blocks, "up_1", "up_2", "head"]))


@final
class SANTA(Method):
    """G_ab and, unless lambda_gan is 0, D_b; phases D, then G."""

    def __init__(self, config: SANTAConfig, G_ab: AdaINResNet, D_b: nn.Module | None) -> None:
        super().__init__()
        self.config, self.G_ab, self.D_b = config, G_ab, D_b
        self.taps = decoder_taps(len(G_ab.blocks))

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return ({"D": [self.D_b]} if self.D_b else {}) | {"G": [self.G_ab]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        n = len(real_a)
        mean = self.G_ab.encode(torch.cat([real_a, real_b]))
        features_a, features_b = (mean + torch.randn_like(mean)).split(n)
        place, half = torch.rand(2, n, device=real_a.device, dtype=real_a.dtype)
        half = 0.05 + 0.05 * half
        later, earlier = (place + half).clamp(0, 1), (place - half).clamp(0, 1)
        none, whole = torch.zeros_like(place), torch.ones_like(place)
        features = torch.cat([features_a, features_a, features_b, features_a, features_a])
        strength = torch.cat([none, whole, whole, later, earlier])
        images, maps = self.G_ab.decode(features, strength, (real_a.shape[-2], real_a.shape[-1]), self.taps)
        rec_a, fake_b, idt_b, *_ = batch.filled(images).split(n)
        if self.D_b:
            yield "D", discriminator_terms(self.D_b, real_b, fake_b.detach(), c.gan, c.lambda_gp, c.lambda_r1)

        terms: Terms = {}
        if self.D_b:
            with frozen(self.D_b):
                terms["gan"] = c.lambda_gan * generator_loss(self.D_b(fake_b), c.gan)
        terms["rec_a"] = c.lambda_rec * c.pixel_loss.exact(rec_a, real_a)
        terms["idt_b"] = c.lambda_identity * c.pixel_loss.exact(idt_b, real_b)
        terms["mean"] = c.lambda_mean * mean.float().square().mean()
        terms["path"] = c.lambda_path * path_length([x[3 * n :] for x in maps], later - earlier)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * c.pixel_loss(fake_b, real_b, batch.known)
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b, rec_a=rec_a, idt_b=idt_b)


def path_length(maps: list[Tensor], apart: Tensor) -> Tensor:
    """The mean over maps of the squared slope of features between two strengths: E[((F(d1) - F(d2)) / max(d1 - d2, 0.1))^2].

    The first half of each map's images are at d1, the second at d2; ``apart`` (n) is d1 - d2.
    """
    slopes = []
    for x in maps:
        later, earlier = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2)
        slopes.append((later - earlier) / apart.clamp(min=0.1)[:, None, None, None])
    return torch.stack([slope.square().mean() for slope in slopes]).mean()

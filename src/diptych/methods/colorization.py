r"""Colorization, the variant of pix2pix (Isola et al. 2017, arXiv 1611.07004, section 4 and its published model) in Lab.

    G* = arg min_G max_D  L_cGAN(G, D) + lambda_l1 E|ab - G(L)|_1

G sees the lightness L / 50 - 1 and guesses a / 110 and b / 110; D judges L, a and b together. Domain a may be gray or RGB: only
its lightness is used. Translations are RGB images of the input's own lightness, whatever G guesses, clipped to sRGB.

Deliberate differences from the authors' code: L is that of the image of domain a, so that `diptych prepare gray` makes its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.losses import Gan, generator_loss, l1
from diptych.methods.base import Batch, Method, Terms, check_critic, discriminator_terms, frozen
from diptych.methods.bicyclegan import UNetName
from diptych.nets import Init, Norm, PatchGAN, Upsample, initialise
from diptych.nets.colorizer import Colorizer, lab_of, rgb_of
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, PenaltyWeight, Positive, Size, Weight, Whole, check_settings


@dataclass(frozen=True)
class ColorizationConfig:
    """Settings of colorization; the defaults are the published ones. ``lambda_gp`` has an effect only with ``gan: wgan``."""

    name: ClassVar[str] = "colorization"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "paper"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b")

    generator: UNetName = "unet_8"
    ngf: Count = 64
    dropout: bool = True
    upsample: Upsample = "transposed"
    num_layers: Whole = 3
    ndf: Count = 64
    norm: Norm = "batch"
    init: Init = "normal"
    init_gain: Positive = 0.02
    gan: Gan = "vanilla"
    lambda_gan: Positive = 1.0
    lambda_l1: Weight = 100.0
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        check_critic(self.gan, self.norm)

    def build(self, a: Domain, b: Domain, crop_size: Size) -> Colorization:
        """G_ab and D_b. Raises ConfigError unless domain a is gray or RGB and b is RGB."""
        if a.channels not in (1, 3) or b.channels != 3:
            raise ConfigError(
                f"colorization: channels must be 1 or 3 of domain a, and 3 of domain b, found {a.channels} and {b.channels}; "
                "choose RGB images for b, or pix2pix"
            )
        shape = {"width": self.ngf, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}
        G_ab = Colorizer(a.channels, 3, num_downs=int(self.generator.rpartition("_")[2]), **shape)
        D_b = PatchGAN(3, width=self.ndf, num_layers=self.num_layers, norm=self.norm)
        return Colorization(self, initialise(G_ab, self.init, self.init_gain), initialise(D_b, self.init, self.init_gain))


@final
class Colorization(Method):
    """G_ab and D_b; phases D, then G."""

    def __init__(self, config: ColorizationConfig, G_ab: nn.Module, D_b: nn.Module) -> None:
        super().__init__()
        self.config, self.G_ab, self.D_b = config, G_ab, D_b

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D_b], "G": [self.G_ab]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c = self.config
        assert isinstance(self.G_ab, Colorizer)
        fake = batch.filled(self.G_ab.lab(batch.a))
        real = batch.filled(torch.cat([fake[:, :1].detach(), lab_of(batch.b)[:, 1:]], 1))
        yield "D", discriminator_terms(self.D_b, real, fake.detach(), c.gan, c.lambda_gp, c.lambda_r1)
        terms: Terms = {"l1": c.lambda_l1 * l1(fake[:, 1:], real[:, 1:])} if c.lambda_l1 else {}
        with frozen(self.D_b):
            terms["gan"] = c.lambda_gan * generator_loss(self.D_b(fake), c.gan)
        yield "G", terms | self.extra(real_a=batch.a, real_b=batch.b, fake_b=batch.filled(rgb_of(fake)))

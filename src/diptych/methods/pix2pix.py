r"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola, Zhu, Zhou, Efros 2017, arXiv 1611.07004).

    G* = arg min_G max_D  E[log D(a, b)] + E[log(1 - D(a, G(a)))]  +  lambda_l1 E[|b - G(a)|_1]      (eqs. 1, 3, 4)

D's objective is halved to slow it against G, and G minimises -log D(a, G(a)) (section 3.3). The noise z is dropout (section 3.2).
D is updated before G, as in the authors' code.

Deliberate differences from the authors' code: any generator, norm and adversarial loss may be combined; lambda_gan=0 builds no D;
``pixel_loss`` may take the place of L1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, generator_loss
from diptych.methods.base import Batch, Method, Terms, check_critic, discriminator_terms, frozen
from diptych.nets import GeneratorName, Init, Norm, PatchGAN, Upsample, generator, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, PenaltyWeight, Positive, Size, Weight, Whole, check_settings


@dataclass(frozen=True)
class Pix2PixConfig:
    """Settings of pix2pix; the defaults are the published ones.

    ``conditional=False`` lets D see the output alone (the paper's GAN rows). ``lambda_gan=0`` is its L1 row, ``lambda_l1=0``
    its cGAN row. ``lambda_l1`` is the weight of ``pixel_loss``, and ``lambda_gp`` has an effect only with ``gan: wgan``.
    """

    name: ClassVar[str] = "pix2pix"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "paper"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b")

    generator: GeneratorName = "unet_8"
    ngf: Count = 64
    dropout: bool = True
    upsample: Upsample = "transposed"
    num_layers: Whole = 3
    ndf: Count = 64
    conditional: bool = True
    norm: Norm = "batch"
    init: Init = "normal"
    init_gain: Positive = 0.02
    gan: Gan = "vanilla"
    lambda_gan: Weight = 1.0
    lambda_l1: Weight = 100.0
    pixel_loss: PixelLoss = L1
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        check_critic(self.gan, self.norm)
        if not (self.lambda_gan or self.lambda_l1):
            raise ConfigError("pix2pix: lambda_gan and lambda_l1 are both 0, so there is nothing to learn; set one of them")

    def build(self, a: Domain, b: Domain, crop_size: Size) -> Pix2Pix:
        """G_ab from a to b, and D_b judging b (beside a, when conditional)."""
        shape = {"width": self.ngf, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}
        judged = b.channels + (a.channels if self.conditional else 0)
        G_ab = initialise(generator(self.generator, a.channels, b.channels, **shape), self.init, self.init_gain)
        D_b = initialise(PatchGAN(judged, width=self.ndf, num_layers=self.num_layers, norm=self.norm), self.init, self.init_gain)
        return Pix2Pix(replace(self, pixel_loss=self.pixel_loss.on(b)), G_ab, D_b if self.lambda_gan else None)


@final
class Pix2Pix(Method):
    """G_ab and, unless lambda_gan is 0, D_b; phases D, then G."""

    def __init__(self, config: Pix2PixConfig, G_ab: nn.Module, D_b: nn.Module | None) -> None:
        super().__init__()
        self.config, self.G_ab, self.D_b = config, G_ab, D_b

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return ({"D": [self.D_b]} if self.D_b else {}) | {"G": [self.G_ab]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        fake_b = self.G_ab(real_a)
        if self.D_b:
            real, fake = self._judged(real_a, real_b), self._judged(real_a, fake_b.detach())
            yield "D", discriminator_terms(self.D_b, real, fake, c.gan, c.lambda_gp, c.lambda_r1)
        terms: Terms = {c.pixel_loss.kind: c.lambda_l1 * c.pixel_loss(fake_b, real_b)} if c.lambda_l1 else {}
        if self.D_b:
            with frozen(self.D_b):
                logits = self.D_b(self._judged(real_a, fake_b))
            terms["gan"] = c.lambda_gan * generator_loss(logits, c.gan)
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b)

    def _judged(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], 1) if self.config.conditional else b

r"""BicycleGAN: Toward Multimodal Image-to-Image Translation (Zhu et al. 2017, arXiv 1711.11586): several answers to one input.

    cVAE-GAN: z ~ E(b):   L_GAN(G(a, z), D) + lambda_l1 E|G(a, z) - b|_1 + lambda_kl KL(E(b) || N(0, 1))      (eqs. 4 to 7)
    cLR-GAN:  z ~ N(0,1): L_GAN(G(a, z), D') + lambda_latent E|E(G(a, z)) - z|_1, which teaches G alone       (eqs. 8 to 10)

G and E take one step, then both discriminators, of several scales and not halved. The divergence is a sum over the batch and the
numbers of z, as in the authors' code, and the code that is found again is E's mean. At test z is drawn: every seed of a
translator in mode paper is another answer.

Deliberate differences from the authors' code: every pair goes through both paths (theirs halves the batch), and D' sees the other
targets of the batch as real; the scales of D have one width and pix2pixHD's padding; the encoder takes images of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor, nn

from diptych.losses import L1, Gan, PixelLoss, generator_loss, l1
from diptych.methods.base import Batch, Method, Terms, check_critic, discriminator_terms, frozen
from diptych.nets import GENERATOR_RULE, Init, MultiscaleDiscriminator, Norm, Upsample, initialise
from diptych.nets.latent import LatentEncoder, LatentUNet
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, PenaltyWeight, Positive, Rule, Size, Weight, check_settings

UNetName = Annotated[
    str,
    Rule(
        lambda name: name.startswith("unet_") and GENERATOR_RULE.holds(name),
        "unet_N with N of at least 2, such as unet_8",
    ),
]


@dataclass(frozen=True)
class BicycleGANConfig:
    """Settings of BicycleGAN; the defaults are the published ones.

    ``latent`` numbers make a code, which G sees at every level of its encoder, or with ``everywhere: false`` at its input.
    ``conditional`` lets both discriminators see the input beside the output. ``lambda_gp`` has an effect only with ``gan: wgan``.
    """

    name: ClassVar[str] = "bicyclegan"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "paper"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b", "random_b")

    generator: UNetName = "unet_8"
    ngf: Count = 64
    latent: Count = 8
    everywhere: bool = True
    dropout: bool = False
    upsample: Upsample = "transposed"
    nef: Count = 64
    ndf: Count = 64
    num_layers: Count = 3
    num_scales: Count = 2
    conditional: bool = False
    norm: Norm = "instance"
    init: Init = "xavier"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Positive = 1.0
    lambda_l1: Weight = 10.0
    lambda_kl: Weight = 0.01
    lambda_latent: Weight = 0.5
    pixel_loss: PixelLoss = L1
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        check_critic(self.gan, self.norm)

    def build(self, a: Domain, b: Domain, crop_size: Size) -> BicycleGAN:
        """G_ab, the encoder E_b of targets, and a discriminator for each of the two paths."""
        shape = {"width": self.ngf, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}
        num_downs = int(self.generator.rpartition("_")[2])
        channels = {"in_channels": a.channels, "out_channels": b.channels}
        G_ab = LatentUNet(latent=self.latent, everywhere=self.everywhere, num_downs=num_downs, **channels, **shape)
        E_b = LatentEncoder(b.channels, latent=self.latent, width=self.nef, norm=self.norm)
        judged = b.channels + (a.channels if self.conditional else 0)
        scales = {"width": self.ndf, "num_layers": self.num_layers, "num_scales": self.num_scales}
        judges = [MultiscaleDiscriminator(judged, norm=self.norm, **scales) for _ in range(2)]
        nets = [initialise(net, self.init, self.init_gain) for net in (G_ab, E_b, *judges)]
        return BicycleGAN(replace(self, pixel_loss=self.pixel_loss.on(b)), *nets)


@final
class BicycleGAN(Method):
    """G_ab, E_b, and D_b and D_random for encoded and for random codes; phases G with E, then D."""

    def __init__(self, config: BicycleGANConfig, G_ab: nn.Module, E_b: nn.Module, D_b: nn.Module, D_random: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.G_ab, self.E_b, self.D_b, self.D_random = G_ab, E_b, D_b, D_random

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab, self.E_b], "D": [self.D_b, self.D_random]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        assert isinstance(self.G_ab, LatentUNet)
        mean, log_variance = self.E_b(real_b)
        encoded = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        random = torch.randn_like(mean)
        fake_b, random_b = (batch.filled(self.G_ab.translate(real_a, code)) for code in (encoded, random))
        terms: Terms = {}
        with frozen(self.D_b, self.D_random):
            terms["gan_encoded"] = c.lambda_gan * generator_loss(self.D_b(self._judged(real_a, fake_b)), c.gan)
            terms["gan_random"] = c.lambda_gan * generator_loss(self.D_random(self._judged(real_a, random_b)), c.gan)
        if c.lambda_l1:
            terms[c.pixel_loss.kind] = c.lambda_l1 * c.pixel_loss(fake_b, real_b)
        if c.lambda_kl:
            terms["kl"] = c.lambda_kl * -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum()
        if c.lambda_latent:
            with frozen(self.E_b):
                terms["latent"] = c.lambda_latent * l1(self.E_b(random_b)[0], random)
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b, random_b=random_b)
        real, other = self._judged(real_a, real_b), self._judged(real_a, real_b).roll(1, 0)
        of_encoded = self._judge(self.D_b, real, self._judged(real_a, fake_b.detach()))
        of_random = self._judge(self.D_random, other, self._judged(real_a, random_b.detach()))
        yield "D", {f"{k}_encoded": v for k, v in of_encoded.items()} | {f"{k}_random": v for k, v in of_random.items()}

    def _judge(self, D: nn.Module, real: Tensor, fake: Tensor) -> Terms:
        c = self.config
        terms = discriminator_terms(D, real, fake, c.gan, c.lambda_gp, c.lambda_r1)
        whole = 1.0 if c.gan == "wgan" else 2.0  # the published objective is not halved
        return {name: term * (whole if name in ("real", "fake") else 1.0) for name, term in terms.items()}

    def _judged(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], 1) if self.config.conditional else b

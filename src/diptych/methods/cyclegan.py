r"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al. 2017, arXiv 1703.10593).

    L = L_GAN(G_ab, D_b) + L_GAN(G_ba, D_a)                                                    (eq. 1; least squares: section 4)
      + lambda_cycle_a E|G_ba(G_ab(a)) - a|_1 + lambda_cycle_b E|G_ab(G_ba(b)) - b|_1            (eq. 2)
      + lambda_identity (lambda_cycle_b E|G_ab(b) - b|_1 + lambda_cycle_a E|G_ba(a) - a|_1)      (section 5.2)

Both generators take one step, then both discriminators, halved, on a pool of the last 50 fakes (section 4).

Deliberate differences from the authors' code: D_b judges b (theirs calls it D_A); the passes through one generator that do
not wait for each other are one joined call, which is the same with InstanceNorm; the identity term is off when a and b differ
in channels; ``pixel_loss`` may take the place of L1; known pairs among unpaired images (``data.pairs``) add that loss of their
translations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, generator_loss
from diptych.methods.base import Batch, Method, Terms, check_critic, discriminator_terms, frozen, of_both, with_identity
from diptych.methods.pool import ImagePool
from diptych.nets import GeneratorName, Init, Norm, PatchGAN, Upsample, apply_side_by_side, generator, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, PairWeight, PenaltyWeight, Positive, Size, Weight, Whole, check_settings, sides


@dataclass(frozen=True)
class CycleGANConfig:
    """Settings of CycleGAN; the defaults are the published ones.

    The paper's ablations: ``lambda_gan: 0`` is cycle alone, ``lambda_cycle_a: 0`` with ``lambda_cycle_b: 0`` GAN alone, one
    of the two GAN + one cycle. ``lambda_identity`` is relative to the cycle weights. ``lambda_gp`` has an effect only with ``gan:
    wgan``, and ``lambda_pair``, the weight of the pixel loss on known pairs, only with ``data.pairs``.
    """

    name: ClassVar[str] = "cyclegan"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_a", "fake_b", "rec_a", "rec_b", "idt_a", "idt_b")

    generator: GeneratorName = "resnet_9"
    ngf: Count = 64
    dropout: bool = False
    upsample: Upsample = "transposed"
    num_layers: Whole = 3
    ndf: Count = 64
    norm: Norm = "instance"
    init: Init = "normal"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Weight = 1.0
    lambda_cycle_a: Weight = 10.0
    lambda_cycle_b: Weight = 10.0
    lambda_identity: Weight = 0.5
    pixel_loss: PixelLoss = L1
    lambda_pair: PairWeight = 10.0
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0
    pool_size: Whole = 50

    def __post_init__(self) -> None:
        check_settings(self, "method")
        check_critic(self.gan, self.norm)
        if not (self.lambda_gan or self.lambda_cycle_a or self.lambda_cycle_b):
            raise ConfigError(
                "cyclegan: lambda_gan, lambda_cycle_a and lambda_cycle_b are all 0, so there is nothing to learn; set one"
            )

    def build(self, a: Domain, b: Domain, crop_size: Size) -> CycleGAN:
        """G_ab, G_ba, and D_a, D_b with their pools of crops."""
        shape = {"width": self.ngf, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}

        def translator(source: Domain, target: Domain) -> nn.Module:
            return initialise(generator(self.generator, source.channels, target.channels, **shape), self.init, self.init_gain)

        def judge(domain: Domain) -> nn.Module | None:
            net = PatchGAN(domain.channels, width=self.ndf, num_layers=self.num_layers, norm=self.norm)
            return initialise(net, self.init, self.init_gain) if self.lambda_gan else None

        def pool(domain: Domain) -> ImagePool:
            return ImagePool(self.pool_size if self.lambda_gan else 0, domain.channels, *sides(crop_size))

        identity = with_identity(self.lambda_identity, a, b)
        pixel_losses = self.pixel_loss.on(a), self.pixel_loss.on(b)
        return CycleGAN(self, translator(a, b), translator(b, a), judge(a), judge(b), pool(a), pool(b), identity, pixel_losses)


@final
class CycleGAN(Method):
    """G_ab, G_ba and, unless lambda_gan is 0, D_a, D_b with their pools; phases G, then D."""

    def __init__(
        self,
        config: CycleGANConfig,
        G_ab: nn.Module,
        G_ba: nn.Module,
        D_a: nn.Module | None,
        D_b: nn.Module | None,
        pool_a: ImagePool,
        pool_b: ImagePool,
        identity: bool,
        pixel_losses: tuple[PixelLoss, PixelLoss],
    ) -> None:
        super().__init__()
        self.config, self.identity = config, identity
        self.G_ab, self.G_ba, self.D_a, self.D_b = G_ab, G_ba, D_a, D_b
        self.pool_a, self.pool_b = pool_a, pool_b
        self.pixel_loss_a, self.pixel_loss_b = pixel_losses

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab, self.G_ba]} | ({"D": [self.D_a, self.D_b]} if self.D_a and self.D_b else {})

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        idt_a = idt_b = rec_a = rec_b = None
        terms: Terms = {}
        if self.identity:
            (fake_b, idt_b), (fake_a, idt_a) = apply_side_by_side((self.G_ab, real_a, real_b), (self.G_ba, real_b, real_a))
            terms["idt_a"] = c.lambda_identity * c.lambda_cycle_a * self.pixel_loss_a.exact(idt_a, real_a)
            terms["idt_b"] = c.lambda_identity * c.lambda_cycle_b * self.pixel_loss_b.exact(idt_b, real_b)
        else:
            (fake_b,), (fake_a,) = apply_side_by_side((self.G_ab, real_a), (self.G_ba, real_b))
        if c.lambda_cycle_a and c.lambda_cycle_b:
            (rec_b,), (rec_a,) = apply_side_by_side((self.G_ab, fake_a), (self.G_ba, fake_b))
        elif c.lambda_cycle_a:
            rec_a = self.G_ba(fake_b)
        elif c.lambda_cycle_b:
            rec_b = self.G_ab(fake_a)
        if rec_a is not None:
            terms["cycle_a"] = c.lambda_cycle_a * self.pixel_loss_a.exact(rec_a, real_a)
        if rec_b is not None:
            terms["cycle_b"] = c.lambda_cycle_b * self.pixel_loss_b.exact(rec_b, real_b)
        if self.D_a and self.D_b:
            with frozen(self.D_a, self.D_b):
                (on_b,), (on_a,) = apply_side_by_side((self.D_b, fake_b), (self.D_a, fake_a))
                terms["gan_ab"] = c.lambda_gan * generator_loss(on_b, c.gan)
                terms["gan_ba"] = c.lambda_gan * generator_loss(on_a, c.gan)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * self.pixel_loss_b(fake_b, real_b, batch.known)
            terms["pair_ba"] = c.lambda_pair * self.pixel_loss_a(fake_a, real_a, batch.known)
        terms |= self.extra(
            real_a=real_a, real_b=real_b, fake_a=fake_a, fake_b=fake_b, rec_a=rec_a, rec_b=rec_b, idt_a=idt_a, idt_b=idt_b
        )
        yield "G", terms
        if self.D_a and self.D_b:
            weights = c.gan, c.lambda_gp, c.lambda_r1
            of_a = discriminator_terms(self.D_a, real_a, self.pool_a(fake_a), *weights)
            of_b = discriminator_terms(self.D_b, real_b, self.pool_b(fake_b), *weights)
            yield "D", of_both(of_a, of_b)

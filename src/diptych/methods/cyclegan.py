r"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al. 2017, arXiv 1703.10593).

    L = L_GAN(G_ab, D_b) + L_GAN(G_ba, D_a)                                                    (eq. 1; least squares: section 4)
      + lambda_cycle_a E|G_ba(G_ab(a)) - a|_1 + lambda_cycle_b E|G_ab(G_ba(b)) - b|_1            (eq. 2)
      + lambda_identity (lambda_cycle_b E|G_ab(b) - b|_1 + lambda_cycle_a E|G_ba(a) - a|_1)      (section 5.2)

Both generators take one step, then both discriminators, halved, on a pool of the last 50 fakes (section 4).

Deliberate differences from the authors' code: D_b judges b (theirs calls it D_A); the passes through one generator that do
not wait for each other are one joined call, which is the same with InstanceNorm; the identity term is off when a and b differ
in channels; cross-entropy and a weight of the foreground for drawings, whose L1 is least for an empty page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import Gan, Pixel, check_gan, check_pixel, generator_loss, pixel_loss, structure_loss
from diptych.methods.base import Batch, Method, Terms, discriminator_terms, frozen
from diptych.nets import Init, Norm, PatchGAN, Upsample, apply_side_by_side, generator, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.methods.pool import ImagePool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CycleGANConfig:
    """Settings of CycleGAN; the defaults are the published ones.

    The paper's ablations: ``lambda_gan: 0`` is cycle alone, ``lambda_cycle_a: 0`` with ``lambda_cycle_b: 0`` GAN alone, one
    of the two GAN + one cycle. ``lambda_identity`` is relative to the cycle weights. ``lambda_gp`` counts only with ``gan:
    wgan``. For drawings, ``pixel: bce`` takes the place of L1 in cycle and identity, and ``foreground`` is how often their
    lines count. ``lambda_structure`` keeps what is drawn where it stands, as far as a correlation of ``structure``
    (diptych.losses.structure_loss). ``lambda_pair`` is the weight of the pixel loss on known pairs, which counts only with
    ``data.pairs``.
    """

    name: ClassVar[str] = "cyclegan"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"

    generator: str = "resnet_9"
    ngf: int = 64
    dropout: bool = False
    upsample: Upsample = "transposed"
    num_layers: int = 3
    ndf: int = 64
    norm: Norm = "instance"
    init: Init = "normal"
    init_gain: float = 0.02
    gan: Gan = "lsgan"
    lambda_gan: float = 1.0
    lambda_cycle_a: float = 10.0
    lambda_cycle_b: float = 10.0
    lambda_identity: float = 0.5
    pixel: Pixel = "l1"
    foreground: float = 1.0
    lambda_structure: float = 0.0
    structure: float = 0.2
    lambda_pair: float = 10.0
    lambda_gp: float = 10.0
    lambda_r1: float = 0.0
    pool_size: int = 50

    def build(self, a: Domain, b: Domain, crop_size: int) -> CycleGAN:
        """G_ab, G_ba, and D_a, D_b with their pools of crops."""
        check_gan(self.gan)
        check_pixel(self.pixel, self.foreground)
        if not (self.lambda_gan or self.lambda_cycle_a or self.lambda_cycle_b):
            raise ConfigError(
                "cyclegan: lambda_gan, lambda_cycle_a and lambda_cycle_b are all 0, so there is nothing to learn; set one"
            )
        if self.lambda_identity and a.channels != b.channels:
            log.warning("identity loss is off: domain a has %d channels and b has %d", a.channels, b.channels)
        shape = {"width": self.ngf, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}

        def translator(source: Domain, target: Domain) -> nn.Module:
            return initialise(generator(self.generator, source.channels, target.channels, **shape), self.init, self.init_gain)

        def judge(domain: Domain) -> nn.Module | None:
            net = PatchGAN(domain.channels, width=self.ndf, num_layers=self.num_layers, norm=self.norm)
            return initialise(net, self.init, self.init_gain) if self.lambda_gan else None

        def pool(domain: Domain) -> ImagePool:
            return ImagePool(self.pool_size if self.lambda_gan else 0, domain.channels, crop_size, crop_size)

        identity = bool(self.lambda_identity) and a.channels == b.channels
        return CycleGAN(self, translator(a, b), translator(b, a), judge(a), judge(b), pool(a), pool(b), identity)


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
    ) -> None:
        super().__init__()
        self.config, self.identity = config, identity
        self.G_ab, self.G_ba, self.D_a, self.D_b = G_ab, G_ba, D_a, D_b
        self.pool_a, self.pool_b = pool_a, pool_b

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab, self.G_ba]} | ({"D": [self.D_a, self.D_b]} if self.D_a and self.D_b else {})

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        terms: Terms = {}

        def apart(x: Tensor, y: Tensor) -> Tensor:
            return pixel_loss(x, y, c.pixel, c.foreground)

        if self.identity:
            (fake_b, idt_b), (fake_a, idt_a) = apply_side_by_side((self.G_ab, real_a, real_b), (self.G_ba, real_b, real_a))
            terms["idt_a"] = c.lambda_identity * c.lambda_cycle_a * apart(idt_a, real_a)
            terms["idt_b"] = c.lambda_identity * c.lambda_cycle_b * apart(idt_b, real_b)
        else:
            (fake_b,), (fake_a,) = apply_side_by_side((self.G_ab, real_a), (self.G_ba, real_b))
        if c.lambda_cycle_a and c.lambda_cycle_b:
            (rec_b,), (rec_a,) = apply_side_by_side((self.G_ab, fake_a), (self.G_ba, fake_b))
            terms["cycle_a"] = c.lambda_cycle_a * apart(rec_a, real_a)
            terms["cycle_b"] = c.lambda_cycle_b * apart(rec_b, real_b)
        elif c.lambda_cycle_a:
            terms["cycle_a"] = c.lambda_cycle_a * apart(self.G_ba(fake_b), real_a)
        elif c.lambda_cycle_b:
            terms["cycle_b"] = c.lambda_cycle_b * apart(self.G_ab(fake_a), real_b)
        if self.D_a and self.D_b:
            with frozen(self.D_a, self.D_b):
                (on_b,), (on_a,) = apply_side_by_side((self.D_b, fake_b), (self.D_a, fake_a))
                terms["gan_ab"] = c.lambda_gan * generator_loss(on_b, c.gan)
                terms["gan_ba"] = c.lambda_gan * generator_loss(on_a, c.gan)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * pixel_loss(fake_b, real_b, c.pixel, c.foreground, batch.known)
            terms["pair_ba"] = c.lambda_pair * pixel_loss(fake_a, real_a, c.pixel, c.foreground, batch.known)
        if c.lambda_structure:
            terms["structure_ab"] = c.lambda_structure * structure_loss(real_a, fake_b, c.structure)
            terms["structure_ba"] = c.lambda_structure * structure_loss(real_b, fake_a, c.structure)
        yield "G", terms
        if self.D_a and self.D_b:
            weights = c.gan, c.lambda_gp, c.lambda_r1
            terms_a = discriminator_terms(self.D_a, real_a, self.pool_a(fake_a), *weights)
            terms_b = discriminator_terms(self.D_b, real_b, self.pool_b(fake_b), *weights)
            yield (
                "D",
                {f"{name}_a": term for name, term in terms_a.items()} | {f"{name}_b": term for name, term in terms_b.items()},
            )

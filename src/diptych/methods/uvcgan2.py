r"""UVCGANv2: Rethinking CycleGAN (Torbunov et al. 2023, arXiv 2303.16280): CycleGAN's objective with another D and training.

    L_G = L_GAN(G_ab, D_b) + L_GAN(G_ba, D_a)  (least squares)
      + lambda_cycle (E|G_ba(G_ab(a)) - a|_1 + E|G_ab(G_ba(b)) - b|_1)
      + lambda_identity lambda_cycle (E|G_ab(b) - b|_1 + E|G_ba(a) - a|_1)
    L_D = 1/2 (E(D(real) - 1)^2 + E D(fake)^2) + lambda_gp E|grad_x D(x)|^2,   x = alpha real + (1 - alpha) fake

D's body is spectrally normalised, and its head judges an image beside the last pool_size ones (nets/batch_head.py); D's step adds
to its queues and G's step reads them. The penalty is centred at zero, with one alpha for the images and the queues of a
discriminator (section 3.2). The published training is Adam (0.5, 0.99) at 1e-4 without decay, and EMA of 0.9999.

The published weights are for images in [0, 1]. In [-1, 1] differences are twice as large and slopes half as steep, so that each
L1 counts half here and the penalty four times: the terms are the published ones.

Deliberate differences from the authors' code: the default generator is ResNet-9, one of their presets, and ``vit_modnet`` is the
paper's; it is not pre-trained by in-painting; EMA begins with a warm-up; while a queue is not full yet, the image at hand
stands for what is missing, where their queue is shorter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, discriminator_loss, generator_loss, zero_centred_penalty
from diptych.methods.base import Batch, Method, Terms, frozen, observe_real, of_both, with_identity
from diptych.nets import GENERATOR_RULE, Init, Norm, Upsample, apply_side_by_side, generator, initialise
from diptych.nets.batch_head import BatchHeadDiscriminator, FeatureQueue
from diptych.nets.modes import Mode
from diptych.nets.vit_modnet import VitModnet
from diptych.pixels import Domain
from diptych.settings import Count, Needs, PairWeight, Positive, Rule, Size, Weight, Whole, check_settings, sides

RANGE = 2.0  # the published weights are for images in a range of 1; ours have this one
VIT = "vit_modnet"
Generator = Annotated[str, Rule(lambda name: name == VIT or GENERATOR_RULE.holds(name), f"{VIT}, {GENERATOR_RULE.text}")]
TRANSFORMER = Needs(lambda recipe: recipe.method.generator == VIT, f"method.generator {VIT}")
CONVOLUTIONS = Needs(lambda recipe: recipe.method.generator != VIT, "another method.generator than vit_modnet")


@dataclass(frozen=True)
class UVCGAN2Config:
    """Settings of UVCGANv2; the defaults are the published ones of AFHQ and CelebA-HQ but for the generator.

    ``lambda_identity`` is relative to ``lambda_cycle``. ``pool_size`` is the length of the queues of D's batch head; 0 judges
    images alone. ``vit_modnet`` has ``ngf`` 48 as published, takes ``num_blocks`` transformer blocks, and ignores norm, dropout
    and upsample, which are those of the other generators.
    """

    name: ClassVar[str] = "uvcgan2"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_a", "fake_b", "rec_a", "rec_b", "idt_a", "idt_b")

    generator: Generator = "resnet_9"
    ngf: Count = 64
    num_blocks: Annotated[Count, TRANSFORMER] = 12
    norm: Annotated[Norm, CONVOLUTIONS] = "instance"
    dropout: Annotated[bool, CONVOLUTIONS] = False
    upsample: Annotated[Upsample, CONVOLUTIONS] = "transposed"
    num_layers: Whole = 3
    ndf: Count = 64
    init: Init = "normal"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Positive = 1.0
    lambda_cycle: Weight = 5.0
    lambda_identity: Weight = 0.5
    lambda_gp: Weight = 1.0
    lambda_pair: PairWeight = 10.0
    pixel_loss: PixelLoss = L1
    pool_size: Whole = 3

    def __post_init__(self) -> None:
        check_settings(self, "method")
        if self.gan == "wgan":
            raise ConfigError(
                "method.gan wgan needs a penalty around 1, uvcgan2 has one around 0; choose lsgan, hinge or vanilla"
            )

    def build(self, a: Domain, b: Domain, crop_size: Size) -> UVCGAN2:
        """G_ab, G_ba, and D_a, D_b with queues of the features of real and of generated crops."""

        def translator(source: Domain, target: Domain) -> nn.Module:
            if self.generator == VIT:
                net: nn.Module = VitModnet(source.channels, target.channels, width=self.ngf, num_blocks=self.num_blocks)
            else:
                shape = {"width": self.ngf, "norm": self.norm, "dropout": self.dropout, "upsample": self.upsample}
                net = generator(self.generator, source.channels, target.channels, **shape)
            return initialise(net, self.init, self.init_gain)

        def judge(domain: Domain) -> BatchHeadDiscriminator:
            shape: dict[str, Any] = {"width": self.ndf, "num_layers": self.num_layers, "batch_norm": self.pool_size > 0}
            return BatchHeadDiscriminator(domain.channels, **shape, init=self.init, init_gain=self.init_gain)

        if min(sides(crop_size)) < (smallest := 3 * 2**self.num_layers):
            raise ConfigError(
                f"data.crop_size must be at least {smallest} for method.num_layers {self.num_layers}, found {crop_size}; "
                "use larger crops or fewer layers"
            )
        D_a, D_b = judge(a), judge(b)
        with torch.no_grad():
            shape = D_b.body(torch.zeros(1, b.channels, *sides(crop_size))).shape[1:]
        queues = {f"{kind}_{side}": FeatureQueue(self.pool_size, *shape) for kind in ("real", "fake") for side in "ab"}
        identity = with_identity(self.lambda_identity, a, b)
        pixel_losses = self.pixel_loss.on(a), self.pixel_loss.on(b)
        return UVCGAN2(self, translator(a, b), translator(b, a), D_a, D_b, queues, identity, pixel_losses)


@final
class UVCGAN2(Method):
    """G_ab, G_ba, D_a, D_b and the queues of D's features; phases G, then D."""

    def __init__(
        self,
        config: UVCGAN2Config,
        G_ab: nn.Module,
        G_ba: nn.Module,
        D_a: nn.Module,
        D_b: nn.Module,
        queues: dict[str, FeatureQueue],
        identity: bool,
        pixel_losses: tuple[PixelLoss, PixelLoss],
    ) -> None:
        super().__init__()
        self.config, self.identity = config, identity
        self.pixel_loss_a, self.pixel_loss_b = pixel_losses
        self.G_ab, self.G_ba, self.D_a, self.D_b = G_ab, G_ba, D_a, D_b
        self.queues = nn.ModuleDict(queues)
        self.computes = 2  # 1 took the published weights as if images lay in [0, 1]

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab, self.G_ba], "D": [self.D_a, self.D_b]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b, lambda_cycle = self.config, batch.a, batch.b, self.config.lambda_cycle / RANGE
        images = {"real_a": real_a, "real_b": real_b, "rec_a": None, "rec_b": None, "idt_a": None, "idt_b": None}
        terms: Terms = {}
        if self.identity:
            (fake_b, idt_b), (fake_a, idt_a) = apply_side_by_side((self.G_ab, real_a, real_b), (self.G_ba, real_b, real_a))
            images |= {"idt_a": idt_a, "idt_b": idt_b}
            terms["idt_a"] = c.lambda_identity * lambda_cycle * self.pixel_loss_a.exact(idt_a, real_a)
            terms["idt_b"] = c.lambda_identity * lambda_cycle * self.pixel_loss_b.exact(idt_b, real_b)
        else:
            (fake_b,), (fake_a,) = apply_side_by_side((self.G_ab, real_a), (self.G_ba, real_b))
        images |= {"fake_a": fake_a, "fake_b": fake_b}
        if c.lambda_cycle:
            (rec_b,), (rec_a,) = apply_side_by_side((self.G_ab, fake_a), (self.G_ba, fake_b))
            images |= {"rec_a": rec_a, "rec_b": rec_b}
            terms["cycle_a"] = lambda_cycle * self.pixel_loss_a.exact(rec_a, real_a)
            terms["cycle_b"] = lambda_cycle * self.pixel_loss_b.exact(rec_b, real_b)
        with frozen(self.D_a, self.D_b):
            terms["gan_ab"] = c.lambda_gan * generator_loss(self.D_b(fake_b, self._queue("fake_b").past()), c.gan)
            terms["gan_ba"] = c.lambda_gan * generator_loss(self.D_a(fake_a, self._queue("fake_a").past()), c.gan)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * self.pixel_loss_b(fake_b, real_b, batch.known)
            terms["pair_ba"] = c.lambda_pair * self.pixel_loss_a(fake_a, real_a, batch.known)
        yield "G", terms | self.extra(**images)
        of_a = self._judge(self.D_a, "a", real_a, fake_a.detach())
        of_b = self._judge(self.D_b, "b", real_b, fake_b.detach())
        yield "D", of_both(of_a, of_b)

    def _judge(self, D: nn.Module, side: str, real: Tensor, fake: Tensor) -> Terms:
        c = self.config
        reals, fakes = self._queue(f"real_{side}"), self._queue(f"fake_{side}")
        past_real, past_fake = reals.past(), fakes.past()
        on_real, on_fake = D(real, past_real, reals), D(fake, past_fake, fakes)
        observe_real(D, on_real, c.gan)
        terms = {
            "real": 0.5 * discriminator_loss(on_real, True, c.gan),
            "fake": 0.5 * discriminator_loss(on_fake, False, c.gan),
        }
        if c.lambda_gp:
            alpha = torch.rand((), device=real.device)
            between, past = torch.lerp(fake, real, alpha.to(real.dtype)), past_real.mixed(past_fake, alpha)
            terms["gp"] = RANGE**2 * c.lambda_gp * zero_centred_penalty(lambda x: D(x, past), between)
        return terms

    def _queue(self, name: str) -> FeatureQueue:
        queue = self.queues[name]
        assert isinstance(queue, FeatureQueue)
        return queue

r"""StegoGAN: Leveraging Steganography for Non-Bijective Image-to-Image Translation (Wu et al. 2024, arXiv 2403.20142).

For domains that do not match one to one: b holds things that a does not show, such as names on a map. CycleGAN hides them in a
as a faint pattern, and learns to invent them where nothing is hidden. Here they go another way: G_ba keeps them apart,
u_b = M f, and G_ab is given them where b is to be restored, and not where a is translated.

    L = CycleGAN's terms, with rec_b = G_ab(G_ba(b) + 0.01 eps, u_b) and fake_b = G_ab(a, u_b) for the judge
      + lambda_mask E[sqrt(m)], of the masks of b and of fake_b                            as little as possible is kept apart
      + lambda_clean (E|(G_ab(G_ba(b)) - b) (1 - m)|_1 + E|(G_ab(a) - fake_b) (1 - m)|_1)   elsewhere nothing is missing

m is the largest of M's channels at each place, of the image that is compared with a clean translation: b, and fake_b. What
users get is the clean translation G_ab(a). Where m of G_ba is high, an image of b shows what no image of a can say: the
hallucination map.

Deliberate differences from the authors' code: what is kept apart is M f, as in the paper, and not M (1 - M) f; the generators
take one step, where their code takes two with the same gradients; a term of theirs that never reaches the sum is left out; a
mask is enlarged by the areas of its pixels, and not from corner to corner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, generator_loss
from diptych.methods.base import Batch, Method, Terms, discriminator_terms, frozen, of_both, with_identity
from diptych.methods.pool import ImagePool
from diptych.nets import Init, PatchGAN, ResNetName, StegoResNet, Upsample, initialise
from diptych.nets.modes import Mode
from diptych.nets.stego import Role, spread
from diptych.pixels import Domain
from diptych.settings import Count, PairWeight, PenaltyWeight, Positive, Size, Weight, Whole, check_settings, sides


@dataclass(frozen=True)
class StegoGANConfig:
    """Settings of StegoGAN; the defaults are the published ones.

    ``lambda_mask`` and ``lambda_clean`` are those of the authors' command for Google_mismatch; their other recipes have a
    ``lambda_mask`` from 0.25 on. Their code's own defaults, 0.2 and 3, which these recipes change, let the mask stay on where
    nothing is to be hidden.

    ``lambda_identity`` is relative to the cycle weights, as in CycleGAN. ``lambda_pair`` is the weight of the pixel loss on known
    pairs, which only ``data.pairs`` has. ``lambda_gp`` has an effect only with ``gan: wgan``.
    """

    name: ClassVar[str] = "stegogan"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = (
        *("real_a", "real_b", "fake_a", "fake_b", "clean_b", "rec_a", "rec_b", "rec_clean_b", "idt_a", "idt_b"),
    )

    generator: ResNetName = "resnet_9"
    ngf: Count = 64
    upsample: Upsample = "transposed"
    num_layers: Whole = 3
    ndf: Count = 64
    init: Init = "normal"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Weight = 1.0
    lambda_cycle_a: Weight = 10.0
    lambda_cycle_b: Weight = 10.0
    lambda_identity: Weight = 0.5
    lambda_mask: Weight = 0.3
    lambda_clean: Weight = 1.0
    hidden_noise: Weight = 0.01
    pixel_loss: PixelLoss = L1
    lambda_pair: PairWeight = 10.0
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0
    pool_size: Whole = 50

    def __post_init__(self) -> None:
        check_settings(self, "method")
        if not (self.lambda_cycle_a and self.lambda_cycle_b):
            raise ConfigError(
                "stegogan: what is kept apart is learnt from both cycles; set lambda_cycle_a and lambda_cycle_b above 0"
            )

    def build(self, a: Domain, b: Domain, crop_size: Size) -> StegoGAN:
        """G_ab, which restores, G_ba, which hides, and D_a, D_b with their pools of crops."""
        num_blocks = int(self.generator.removeprefix("resnet_"))

        def translator(source: Domain, target: Domain, role: Role) -> StegoResNet:
            shape: dict[str, Any] = {"width": self.ngf, "num_blocks": num_blocks, "upsample": self.upsample, "mask_layers": 3}
            net = StegoResNet(source.channels, target.channels, role=role, **shape)
            initialise(net, self.init, self.init_gain)
            return net

        def judge(domain: Domain) -> nn.Module | None:
            net = PatchGAN(domain.channels, width=self.ndf, num_layers=self.num_layers)
            return initialise(net, self.init, self.init_gain) if self.lambda_gan else None

        def pool(domain: Domain) -> ImagePool:
            return ImagePool(self.pool_size if self.lambda_gan else 0, domain.channels, *sides(crop_size))

        identity = with_identity(self.lambda_identity, a, b)
        generators = translator(a, b, "restores"), translator(b, a, "hides")
        pixel_losses = self.pixel_loss.on(a), self.pixel_loss.on(b)
        return StegoGAN(self, *generators, judge(a), judge(b), pool(a), pool(b), identity, pixel_losses)


@final
class StegoGAN(Method):
    """G_ab, G_ba and, unless lambda_gan is 0, D_a, D_b with their pools; phases G, then D."""

    def __init__(
        self,
        config: StegoGANConfig,
        G_ab: StegoResNet,
        G_ba: StegoResNet,
        D_a: nn.Module | None,
        D_b: nn.Module | None,
        pool_a: ImagePool,
        pool_b: ImagePool,
        identity: bool,
        pixel_losses: tuple[PixelLoss, PixelLoss],
    ) -> None:
        super().__init__()
        self.pixel_loss_a, self.pixel_loss_b = pixel_losses
        self.config, self.identity = config, identity
        self.G_ab, self.G_ba, self.D_a, self.D_b = G_ab, G_ba, D_a, D_b
        self.pool_a, self.pool_b = pool_a, pool_b

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def phases(self) -> dict[str, list[nn.Module]]:
        judges: dict[str, list[nn.Module]] = {"D": [self.D_a, self.D_b]} if self.D_a and self.D_b else {}
        return {"G": [self.G_ab, self.G_ba], **judges}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b, n = self.config, batch.a, batch.b, len(batch.a)
        idt_a = idt_b = None
        # InstanceNorm is per sample, so passes through one generator that do not wait for each other are one joined call.
        from_b = torch.cat([real_b, real_a]) if self.identity else real_b
        made_a, hidden, masks = self.G_ba.hide(from_b)
        made_a = batch.filled(made_a)
        fake_a, hidden_b, mask_b = made_a[:n], hidden[:n], masks[:n]
        noisy_a = fake_a + c.hidden_noise * torch.randn_like(fake_a)
        made_b = self.G_ab.restore(torch.cat([real_a, noisy_a]), torch.cat([hidden_b.detach(), hidden_b]))
        fake_b, rec_b = batch.filled(made_b).split(n)
        clean = torch.cat([real_a, fake_a, real_b] if self.identity else [real_a, fake_a])
        clean_b, rec_clean_b, *more = self.G_ab(clean).split(n)
        rec_a, _, mask_of_fake = self.G_ba.hide(fake_b)
        rec_a = batch.filled(rec_a)

        terms: Terms = {
            "cycle_a": c.lambda_cycle_a * self.pixel_loss_a.exact(rec_a, real_a),
            "cycle_b": c.lambda_cycle_b * self.pixel_loss_b.exact(rec_b, real_b),
        }
        if self.identity:
            idt_a, idt_b = made_a[n:], more[0]
            terms["idt_a"] = c.lambda_identity * c.lambda_cycle_a * self.pixel_loss_a.exact(idt_a, real_a)
            terms["idt_b"] = c.lambda_identity * c.lambda_cycle_b * self.pixel_loss_b.exact(idt_b, real_b)
        terms["mask"] = c.lambda_mask * (sparsity(mask_b) + sparsity(mask_of_fake))
        missing = [
            (clean - image).abs() * (1 - spread(mask, image))
            for clean, image, mask in ((rec_clean_b, real_b, mask_b), (clean_b, fake_b, mask_of_fake))
        ]
        terms["clean"] = c.lambda_clean * (missing[0].mean() + missing[1].mean())
        if self.D_a and self.D_b:
            with frozen(self.D_a, self.D_b):
                terms["gan_ab"] = c.lambda_gan * generator_loss(self.D_b(fake_b), c.gan)
                terms["gan_ba"] = c.lambda_gan * generator_loss(self.D_a(fake_a), c.gan)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * self.pixel_loss_b(clean_b, real_b, batch.known)
            terms["pair_ba"] = c.lambda_pair * self.pixel_loss_a(fake_a, real_a, batch.known)
        images = {"real_a": real_a, "real_b": real_b, "fake_a": fake_a, "fake_b": fake_b, "clean_b": clean_b}
        images |= {"rec_a": rec_a, "rec_b": rec_b, "rec_clean_b": rec_clean_b}
        yield "G", terms | self.extra(**images, idt_a=idt_a, idt_b=idt_b)
        if self.D_a and self.D_b:
            weights = c.gan, c.lambda_gp, c.lambda_r1
            of_a = discriminator_terms(self.D_a, real_a, self.pool_a(fake_a), *weights)
            of_b = discriminator_terms(self.D_b, real_b, self.pool_b(fake_b), *weights)
            yield "D", of_both(of_a, of_b)


def sparsity(mask: Tensor) -> Tensor:
    """E[sqrt(m)], whose slope is steep near 0, so that little of the mask stays on; m is the largest channel of the mask.

    The mean over channels would let one of them be on everywhere at next to no cost, and the mask would say nothing.
    """
    largest = mask.amax(1)
    return (largest.to(torch.promote_types(mask.dtype, torch.float32)) + 1e-10).sqrt().mean()

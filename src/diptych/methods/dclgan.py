r"""DCLGAN: Dual Contrastive Learning for Unsupervised Image-to-Image Translation (Han, Shoeiby, Petersson, Armin 2021, arXiv
2104.07689).

    L = (L_GAN(G_ab, D_b) + L_GAN(G_ba, D_a)) / 2 + lambda_nce (L_NCE(a) + L_NCE(b)) / 2
      + lambda_identity (E|G_ab(b) - b|_1 + E|G_ba(a) - a|_1) / 2                                           (eqs. 1-6)

    L_NCE(a) = PatchNCE of  H_b(encoder of G_ba (G_ab(a)))  against  H_a(encoder of G_ab (a)),  and mirrored for b

Two generators as in CycleGAN, tied by patches instead of cycles: each image is encoded by the generator that leaves its domain.
The generators and H take one step, then both discriminators.

SimDCL is the same with ``lambda_similarity`` 10, for small or unbalanced sets, where modes collapse (section 3.4):

    + lambda_similarity (E|S_a(a) - S_fake_a(G_ba(b))|_1 + E|S_b(b) - S_fake_b(G_ab(a))|_1)

Each S is a small network that sums up the projected patches of an image (diptych.nets.Digest), so that images of one domain are
alike as a whole, real ones and translations.

Deliberate differences from the authors' code: keys come from the pass that translates, and the passes through one generator that
do not wait for each other are joined, which gives the same numbers; the identity term is off when a and b differ in channels;
known pairs among unpaired images (``data.pairs``) add a pixel loss of their translations; SimDCL draws the places of real images
anew, and sums up each image of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from diptych.contrastive import patch_nce_of_maps, patches_at, random_places
from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, generator_loss
from diptych.methods.base import Batch, Method, Terms, discriminator_terms, frozen, of_both, with_identity
from diptych.nets import (
    Digest,
    Downsample,
    Init,
    PatchGAN,
    Projector,
    ResNet,
    ResNetName,
    Upsample,
    cut_taps,
    generator,
    initialise,
    tapped,
    taps,
)
from diptych.nets.blocks import SampleNorm
from diptych.nets.modes import Mode
from diptych.nets.resnet import tap_channels
from diptych.pixels import Domain
from diptych.settings import Count, PairWeight, PenaltyWeight, Positive, Size, Weight, Whole, check_settings

SMALLEST_DIGESTED = 3  # a side of what Digest's convolution can look at


@dataclass(frozen=True)
class DCLGANConfig:
    """Settings of DCLGAN; the defaults are the published ones. ``lambda_similarity`` 10 makes it SimDCL.

    ``lambda_pair`` is the weight of the pixel loss on known pairs, which only ``data.pairs`` has. ``lambda_gp`` has an effect
    only with ``gan: wgan``.
    """

    name: ClassVar[str] = "dclgan"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_a", "fake_b", "idt_a", "idt_b")

    generator: ResNetName = "resnet_9"
    ngf: Count = 64
    downsample: Downsample = "blur"
    upsample: Upsample = "blur"
    num_layers: Whole = 3
    ndf: Count = 64
    norm: SampleNorm = "instance"
    init: Init = "xavier"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Weight = 1.0
    lambda_nce: Weight = 2.0
    lambda_identity: Weight = 1.0
    lambda_similarity: Weight = 0.0
    temperature: Positive = 0.07
    num_patches: Count = 256
    projection: Count = 256
    pixel_loss: PixelLoss = L1
    lambda_pair: PairWeight = 10.0
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        if not self.lambda_nce:
            raise ConfigError("dclgan: lambda_nce is 0, so nothing ties a translation to its source; set it greater than 0")
        if self.lambda_similarity and min(self.num_patches, self.projection) < SMALLEST_DIGESTED:
            raise ConfigError(
                f"dclgan: lambda_similarity needs at least {SMALLEST_DIGESTED} patches by {SMALLEST_DIGESTED} features, found "
                f"num_patches {self.num_patches} and projection {self.projection}; raise them"
            )

    def build(self, a: Domain, b: Domain, crop_size: Size) -> DCLGAN:
        """G_ab, G_ba, H_a, H_b, and D_a, D_b."""
        shape = {"width": self.ngf, "norm": self.norm, "downsample": self.downsample, "upsample": self.upsample}
        places = encoder_taps(int(self.generator.removeprefix("resnet_")))

        def translator(source: Domain, target: Domain) -> ResNet:
            net = generator(self.generator, source.channels, target.channels, **shape)
            assert isinstance(net, ResNet)
            initialise(net, self.init, self.init_gain)
            return net

        def projector(domain: Domain) -> nn.Module:
            H = Projector(tap_channels(places, domain.channels, self.ngf), self.projection)
            return initialise(H, self.init, self.init_gain)

        def judge(domain: Domain) -> nn.Module | None:
            net = PatchGAN(
                domain.channels, width=self.ndf, num_layers=self.num_layers, norm=self.norm, downsample=self.downsample
            )
            return initialise(net, self.init, self.init_gain) if self.lambda_gan else None

        identity = with_identity(self.lambda_identity, a, b)
        nets = translator(a, b), translator(b, a), projector(a), projector(b), judge(a), judge(b)
        pixel_losses = self.pixel_loss.on(a), self.pixel_loss.on(b)
        digests = nn.ModuleDict()
        if self.lambda_similarity:
            of = ("real_a", "fake_a", "real_b", "fake_b")
            digests.update({name: initialise(Digest(len(places)), self.init, self.init_gain) for name in of})
        return DCLGAN(self, *nets, digests, identity, pixel_losses)


def encoder_taps(num_blocks: int) -> tuple[str, ...]:
    """The taps of CUT without the image itself: the published layers 4, 8, 12 and 16."""
    return cut_taps(num_blocks)[1:]


@final
class DCLGAN(Method):
    """G_ab, G_ba, H_a, H_b, unless lambda_gan is 0 D_a, D_b, and for SimDCL four digests S; phases G, then D."""

    def __init__(
        self,
        config: DCLGANConfig,
        G_ab: ResNet,
        G_ba: ResNet,
        H_a: nn.Module,
        H_b: nn.Module,
        D_a: nn.Module | None,
        D_b: nn.Module | None,
        S: nn.ModuleDict,
        identity: bool,
        pixel_losses: tuple[PixelLoss, PixelLoss],
    ) -> None:
        super().__init__()
        self.config, self.identity = config, identity
        self.pixel_loss_a, self.pixel_loss_b = pixel_losses
        self.G_ab, self.G_ba, self.H_a, self.H_b, self.D_a, self.D_b, self.S = G_ab, G_ba, H_a, H_b, D_a, D_b, S
        self.taps = encoder_taps(len(G_ab.blocks))

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab, "b2a": self.G_ba}

    def phases(self) -> dict[str, list[nn.Module]]:
        judges = {"D": [self.D_a, self.D_b]} if self.D_a and self.D_b else {}
        digests = [self.S] if self.S else []
        return {"G": [self.G_ab, self.G_ba, self.H_a, self.H_b, *digests]} | judges

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        fake_b, idt_b, of_a = self._translated(self.G_ab, real_a, real_b, batch)
        fake_a, idt_a, of_b = self._translated(self.G_ba, real_b, real_a, batch)
        of_fake_a, of_fake_b = taps(self.G_ab, fake_a, self.taps), taps(self.G_ba, fake_b, self.taps)
        how = c.num_patches, c.temperature
        terms: Terms = {
            "nce_a": 0.5 * c.lambda_nce * patch_nce_of_maps(of_fake_b, of_a, self.H_b, self.H_a, *how),
            "nce_b": 0.5 * c.lambda_nce * patch_nce_of_maps(of_fake_a, of_b, self.H_a, self.H_b, *how),
        }
        if self.S:
            for side, H, real, fake in (("a", self.H_a, of_a, of_fake_a), ("b", self.H_b, of_b, of_fake_b)):
                apart = self._digest(f"real_{side}", H, real) - self._digest(f"fake_{side}", H, fake)
                terms[f"similarity_{side}"] = c.lambda_similarity * apart.abs().mean()
        if idt_a is not None and idt_b is not None:
            terms["idt_a"] = 0.5 * c.lambda_identity * self.pixel_loss_a.exact(idt_a, real_a)
            terms["idt_b"] = 0.5 * c.lambda_identity * self.pixel_loss_b.exact(idt_b, real_b)
        if self.D_a and self.D_b:
            with frozen(self.D_a, self.D_b):
                terms["gan_ab"] = 0.5 * c.lambda_gan * generator_loss(self.D_b(fake_b), c.gan)
                terms["gan_ba"] = 0.5 * c.lambda_gan * generator_loss(self.D_a(fake_a), c.gan)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * self.pixel_loss_b(fake_b, real_b, batch.known)
            terms["pair_ba"] = c.lambda_pair * self.pixel_loss_a(fake_a, real_a, batch.known)
        terms |= self.extra(real_a=real_a, real_b=real_b, fake_a=fake_a, fake_b=fake_b, idt_a=idt_a, idt_b=idt_b)
        yield "G", terms
        if self.D_a and self.D_b:
            weights = c.gan, c.lambda_gp, c.lambda_r1
            sides = (self.D_a, real_a, fake_a), (self.D_b, real_b, fake_b)
            yield "D", of_both(*(discriminator_terms(D, real, fake.detach(), *weights) for D, real, fake in sides))

    def _translated(self, G: ResNet, x: Tensor, already: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """G(x), G of images that are already of its target (None without the identity term), and the encoder's maps of x."""
        out, maps = tapped(G, torch.cat([x, already]) if self.identity else x, self.taps)  # G has no BatchNorm
        out = batch.filled(out)
        return out[: len(x)], out[len(x) :] if self.identity else None, [y[: len(x)] for y in maps]

    def _digest(self, name: str, H: nn.Module, maps: list[Tensor]) -> Tensor:
        """What a digest says of an image whose maps these are: as many random patches of each as the smallest has."""
        count = min(self.config.num_patches, *(x.shape[-2] * x.shape[-1] for x in maps))
        patches = H([patches_at(x, random_places(x, count)) for x in maps])
        return self.S[name](torch.stack(patches, 1))

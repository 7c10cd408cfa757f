r"""CUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park, Efros, Zhang, Zhu 2020, arXiv 2007.15651).

    L = L_GAN(G, D) + (lambda_nce L_PatchNCE(G, H, a) + lambda_nce_idt L_PatchNCE(G, H, b)) / 2             (eq. 5)

    L_PatchNCE(G, H, x) = mean over taps l of  CE(H_l(G_l(G(x)))  against  H_l(G_l(x)))                     (eqs. 3, 4)

G_l is a feature map of the generator's own encoder, H_l a small network for it. One direction, a to b, and no second generator.
D is updated first, then G and H together. With one of the two PatchNCE terms off, the other is not halved.

FastCUT is ``lambda_nce: 10, lambda_nce_idt: 0, flip_equivariance: true``; single images (SinCUT) are learnt with ``generator:
stylegan2, gan: vanilla, num_patches: 1, negatives: batch, lambda_nce: 4, lambda_nce_idt: 4, lambda_identity: 1, lambda_r1: 1``,
where every update of D has R1, |grad D|^2 / 2. Options of later papers on the same taps:
``lambda_src`` and ``contrast: hdce`` (Jung et al. 2022, arXiv 2203.01532), ``queries: attention`` (QS-Attn, Hu et al. 2022,
arXiv 2203.08483).

Deliberate differences from the authors' code: keys come from the pass that translates, which gives the same numbers as another
pass of the encoder; both PatchNCE terms compare the same places; a patch's own key is left out of its negatives, where their
code gives it the cosine -10; hdce's gamma changes from step to step, where theirs does from epoch to epoch; SinCUT's
noise is drawn in training alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, final

import torch
from torch import Tensor, nn

from diptych.contrastive import (
    Negatives,
    hard_dce,
    most_certain_attention,
    patch_nce,
    patches_at,
    patches_by,
    random_places,
    semantic_relation,
)
from diptych.errors import ConfigError
from diptych.losses import L1, Gan, PixelLoss, generator_loss
from diptych.methods.base import Batch, Method, Terms, discriminator_terms, frozen
from diptych.nets import (
    RESNET_RULE,
    Downsample,
    Init,
    PatchGAN,
    Projector,
    ResNet,
    StyleGAN2Discriminator,
    StyleGAN2Generator,
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
from diptych.settings import Count, Needs, PairWeight, PenaltyWeight, Positive, Rule, Size, Weight, Whole, check_settings, sides

STYLEGAN2 = "stylegan2"
Generator = Annotated[str, Rule(lambda name: name == STYLEGAN2 or RESNET_RULE.holds(name), f"{STYLEGAN2}, or {RESNET_RULE.text}")]
RESNET = Needs(lambda recipe: recipe.method.generator != STYLEGAN2, "a resnet as method.generator")
HARD = Needs(lambda recipe: recipe.method.contrast == "hdce", "method.contrast hdce")
SINCUT_TAPS: tuple[str, ...] = ("input", "down_1", "block_2")  # numbers 0, 2 and 4 of its encoder


@dataclass(frozen=True)
class CUTConfig:
    """Settings of CUT; the defaults are the published ones.

    ``num_patches`` places of each tap are compared, and ``negatives`` are the others of the image or of the whole batch.
    ``queries: attention`` takes the places that attend to themselves most certainly at the two deepest taps. ``lambda_src`` keeps
    the relations among patches, and ``contrast: hdce`` weights hard negatives by a gamma that goes in a straight line from
    ``hdce_gamma`` to ``hdce_gamma_end`` over the training. ``lambda_identity`` is the weight of the pixel loss between b and
    G(b), ``lambda_pair`` that on known pairs, which only ``data.pairs`` has. ``lambda_gp`` has an effect only with ``gan: wgan``.

    ``generator: stylegan2`` brings SinCUT's two networks, for square crops of 8, 16, 32 ... pixels; downsample, upsample, norm
    and num_layers have no effect on them, and init is that of H alone.
    """

    name: ClassVar[str] = "cut"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b", "idt_b")

    generator: Generator = "resnet_9"
    ngf: Count = 64
    downsample: Annotated[Downsample, RESNET] = "blur"
    upsample: Annotated[Upsample, RESNET] = "blur"
    num_layers: Annotated[Whole, RESNET] = 3
    ndf: Count = 64
    norm: Annotated[SampleNorm, RESNET] = "instance"
    init: Init = "xavier"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Weight = 1.0
    lambda_nce: Weight = 1.0
    lambda_nce_idt: Weight = 1.0
    lambda_src: Weight = 0.0
    contrast: Literal["nce", "hdce"] = "nce"
    hdce_gamma: Annotated[Positive, HARD] = 50.0
    hdce_gamma_end: Annotated[Positive, HARD] = 10.0
    temperature: Positive = 0.07
    num_patches: Count = 256
    negatives: Negatives = "image"
    queries: Literal["random", "attention"] = "random"
    projection: Count = 256
    flip_equivariance: bool = False
    pixel_loss: PixelLoss = L1
    lambda_identity: Weight = 0.0
    lambda_pair: PairWeight = 10.0
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        if not (self.lambda_nce or self.lambda_nce_idt or self.lambda_src):
            raise ConfigError(
                "cut: lambda_nce, lambda_nce_idt and lambda_src are all 0, so nothing ties a translation to its source; set one"
            )

    def build(self, a: Domain, b: Domain, crop_size: Size) -> CUT:
        """G_ab, H and D_b. Raises ConfigError for domains of different channels: G's encoder sees images of both."""
        if a.channels != b.channels:
            raise ConfigError(
                f"cut compares images of both domains, which must have the same channels; found {a.channels} and {b.channels}; "
                "convert one of them"
            )
        G_ab: ResNet | StyleGAN2Generator
        if self.generator == STYLEGAN2:
            size = min(sides(crop_size))
            G_ab = StyleGAN2Generator(a.channels, b.channels, width=self.ngf, size=size)
            D_b: nn.Module = StyleGAN2Discriminator(b.channels, width=self.ndf, size=size)
            names, channels = SINCUT_TAPS, [a.channels, *2 * G_ab.channels[1:2]]
        else:
            shape = {"width": self.ngf, "norm": self.norm, "downsample": self.downsample, "upsample": self.upsample}
            net = generator(self.generator, a.channels, b.channels, **shape)
            assert isinstance(net, ResNet)
            G_ab, names = net, cut_taps(len(net.blocks))
            D_b = PatchGAN(b.channels, width=self.ndf, num_layers=self.num_layers, norm=self.norm, downsample=self.downsample)
            channels = tap_channels(names, a.channels, self.ngf)
        H = Projector(channels, self.projection)
        for each in (G_ab, H, D_b):  # StyleGAN2's layers have drawn their own weights
            initialise(each, self.init, self.init_gain)
        return CUT(replace(self, pixel_loss=self.pixel_loss.on(b)), G_ab, H, D_b if self.lambda_gan else None, names)


@final
class CUT(Method):
    """G_ab, H and, unless lambda_gan is 0, D_b; phases D, then G."""

    def __init__(
        self,
        config: CUTConfig,
        G_ab: ResNet | StyleGAN2Generator,
        H: Projector,
        D_b: nn.Module | None,
        taps: Sequence[str],
    ) -> None:
        super().__init__()
        self.config, self.G_ab, self.H, self.D_b, self.taps = config, G_ab, H, D_b, taps
        self.identity = bool(config.lambda_nce_idt or config.lambda_identity)
        self.computes = 2 if config.contrast == "hdce" else 1  # 1 kept hDCE's gamma as it was at the start

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return ({"D": [self.D_b]} if self.D_b else {}) | {"G": [self.G_ab, self.H]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        flipped = torch.rand((), device=real_a.device) < 0.5 if c.flip_equivariance else None

        def mirrored(x: Tensor) -> Tensor:
            return x if flipped is None else torch.where(flipped, x.flip(-1), x)

        real = torch.cat([real_a, real_b]) if self.identity else real_a  # G has no BatchNorm: one pass translates both
        fake, source = tapped(self.G_ab, mirrored(real), self.taps)
        fake = fake if batch.valid is None else mirrored(batch.filled(mirrored(fake)))
        if self.D_b:
            fakes = fake[: len(real_a)].detach()
            yield "D", discriminator_terms(self.D_b, real_b, fakes, c.gan, c.lambda_gp, c.lambda_r1)

        terms: Terms = {}
        if self.D_b:
            with frozen(self.D_b):
                terms["gan"] = c.lambda_gan * generator_loss(self.D_b(fake[: len(real_a)]), c.gan)
        target = [mirrored(x) for x in taps(self.G_ab, fake, self.taps)]
        if c.flip_equivariance:
            with torch.no_grad():
                source = taps(self.G_ab, real, self.taps)
        terms |= self._contrasts(source, target, len(real_a))
        fake_b, idt_b = mirrored(fake[: len(real_a)]), mirrored(fake[len(real_a) :]) if self.identity else None
        if c.lambda_identity and idt_b is not None:
            terms["idt_b"] = c.lambda_identity * c.pixel_loss.exact(idt_b, real_b)
        if batch.known is not None:
            terms["pair_ab"] = c.lambda_pair * c.pixel_loss(fake_b, real_b, batch.known)
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b, idt_b=idt_b)

    def _contrasts(self, source: list[Tensor], target: list[Tensor], n: int) -> Terms:
        """The terms between maps of sources and of translations; the first n images are of a, the others of b."""
        c = self.config
        pairs = [
            self._patches(x.detach(), y, deep=index >= len(source) - 2)
            for index, (x, y) in enumerate(zip(source, target, strict=True))
        ]
        with torch.no_grad():
            keys = self.H([key for key, _ in pairs])
        queries = self.H([query for _, query in pairs])
        share = 0.5 if c.lambda_nce and c.lambda_nce_idt else 1.0
        terms: Terms = {}
        for name, weight, part in (("nce", c.lambda_nce, slice(n)), ("nce_idt", c.lambda_nce_idt, slice(n, None))):
            if weight:
                found = [self._contrast(q[part], k[part]) for q, k in zip(queries, keys, strict=True)]
                terms[name] = share * weight * torch.stack(found).mean()
        if c.lambda_src:
            relations = [semantic_relation(q[:n], k[:n]) for q, k in zip(queries, keys, strict=True)]
            terms["src"] = c.lambda_src * torch.stack(relations).mean()
        return terms

    def _patches(self, x: Tensor, y: Tensor, deep: bool) -> tuple[Tensor, Tensor]:
        """Features of a source and of its translation at the same places, or by the same rows of the source's attention."""
        if deep and self.config.queries == "attention":
            rows = most_certain_attention(x, self.config.num_patches)
            return patches_by(rows, x), patches_by(rows, y)
        places = random_places(x, self.config.num_patches)
        return patches_at(x, places), patches_at(y, places)

    def _contrast(self, query: Tensor, key: Tensor) -> Tensor:
        c = self.config
        if c.contrast == "hdce":
            gamma = c.hdce_gamma + (c.hdce_gamma_end - c.hdce_gamma) * self.pace.progress_on(query.device)
            return hard_dce(query, key, c.temperature, gamma, c.negatives)
        return patch_nce(query, key, c.temperature, c.negatives)

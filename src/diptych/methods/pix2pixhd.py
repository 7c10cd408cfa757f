r"""pix2pixHD: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (Wang et al. 2018).

arXiv 1711.11585, eqs. 2 to 5:

    min_G  sum_k L_GAN(G, D_k) + lambda_features sum_k L_FM(G, D_k) + lambda_perceptual L_VGG(G(a), b)
    L_FM = 4 / (layers + 1) / scales * sum over scales and layers of E|D_k^i(a, b) - D_k^i(a, G(a))|_1     (as in the code)

D_k is a PatchGAN on the image halved k times; the objectives of the scales add up, least squares, halved for D. G is the global
generator, or with ``enhancers`` the coarse-to-fine one. As published the global part is trained first, in a run of its own; a
run with enhancers takes its weights (``global_snapshot``) and lets the enhancers learn alone for the share ``fix_global`` of the
training, then all together (section 3.1).

With ``instances`` the networks see the outlines of objects beside the labels (section 3.3): of those in instance maps where
``data.instances`` names them, as published, and else of the connected regions of one label. With ``num_features`` (3 as
published) G is given features of each object besides, which an encoder E finds in b and averages over the object (section 3.4).
A translation takes them from clusters of what E found: `diptych translate --style`.

G's terms are of D before its own update, as in the authors' code, whose step computes both objectives first.

Deliberate differences from the authors' code: an outline is 1 among -1, as labels are; looks are kept while training goes
on and clustered when they are asked for, where theirs are found by a program of its own; one style is given to all instances of
a label, where theirs draws one for each; the perceptual term is a loss that every method may have, so that a recipe adds it as
``extra`` with VGG16 (theirs is VGG19); label maps become one channel for each label where the data are read; biases begin at 0,
where theirs begin at random; of several enhancers all learn alone together, where theirs lets the last one do so, and Adam's
moments stay when the global part joins them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, final

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError, SnapshotError
from diptych.losses import L1, Gan, PixelLoss, feature_distance, generator_loss
from diptych.methods.base import Batch, Method, Terms, check_critic, discriminator_terms, frozen
from diptych.methods.discriminators import logits_and_features
from diptych.nets import GlobalGenerator, Init, InstanceGenerator, LocalEnhancer, MultiscaleDiscriminator, Norm, initialise
from diptych.nets.instances import means_of_regions, spread
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, Fraction, Needs, PenaltyWeight, Positive, Size, Weight, Whole, check_settings
from diptych.stored_weights import restored
from diptych.trees import read_tree


@dataclass(frozen=True)
class Pix2PixHDConfig:
    """Settings of pix2pixHD; the defaults are those of the global generator at 1024x512.

    ``ngf`` is the width of the global generator; each of ``enhancers`` has half of the one before. ``lambda_l1`` is the weight of
    ``pixel_loss``, which the paper does without. ``instances`` are for label maps (data.labels), those of data.instances where
    it names a folder; ``num_features`` need them, and ``nef`` is the width of their encoder. ``lambda_gp`` has an effect only
    with ``gan: wgan``, ``global_snapshot`` (a snapshot of a run without enhancers, direction a2b) and ``fix_global`` only with
    enhancers.
    """

    name: ClassVar[str] = "pix2pixhd"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b")

    ngf: Count = 64
    num_downs: Count = 4
    num_blocks: Count = 9
    enhancers: Whole = 0
    local_blocks: Annotated[Count, Needs(lambda recipe: recipe.method.enhancers > 0, "method.enhancers")] = 3
    global_snapshot: str = ""
    fix_global: Fraction = 0.0
    ndf: Count = 64
    num_layers: Count = 3
    num_scales: Count = 2
    instances: bool = False
    num_features: Whole = 0
    nef: Annotated[Count, Needs(lambda recipe: recipe.method.num_features > 0, "method.num_features")] = 16
    norm: Norm = "instance"
    init: Init = "normal"
    init_gain: Positive = 0.02
    gan: Gan = "lsgan"
    lambda_gan: Positive = 1.0
    lambda_features: Weight = 10.0
    lambda_l1: Weight = 0.0
    pixel_loss: PixelLoss = L1
    lambda_gp: PenaltyWeight = 10.0
    lambda_r1: Weight = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "method")
        check_critic(self.gan, self.norm)
        if (self.global_snapshot or self.fix_global) and not self.enhancers:
            raise ConfigError(
                "method.global_snapshot and method.fix_global need enhancers above the global part; set method.enhancers"
            )
        if self.num_features and not self.instances:
            raise ConfigError(
                "method.num_features are averaged over instances of label maps; set method.instances true and data.labels a, or "
                "num_features 0"
            )
        if self.num_features and self.global_snapshot:
            raise ConfigError(
                "method.global_snapshot holds no encoder, which method.num_features need; leave it out, and train all together"
            )
        if self.enhancers and self.ngf % 2**self.enhancers:
            raise ConfigError(f"method.ngf must be halved {self.enhancers} times (method.enhancers), found {self.ngf}")

    def build(self, a: Domain, b: Domain, crop_size: Size) -> Pix2PixHD:
        """G_ab from a to b, and D_b judging a beside b at several scales."""
        shape: dict[str, Any] = {"num_downs": self.num_downs, "num_blocks": self.num_blocks, "norm": self.norm}
        labels = len(a.classes) or a.channels
        seen = labels + self.instances  # what D sees of a; G sees features besides
        channels: dict[str, Any] = {"in_channels": seen + self.num_features, "out_channels": b.channels}
        if self.enhancers:
            local: dict[str, Any] = {"num_enhancers": self.enhancers, "num_local_blocks": self.local_blocks}
            width = self.ngf // 2**self.enhancers
            G_ab: Any = LocalEnhancer(width=width, **channels, **local, **shape)
        else:
            G_ab = GlobalGenerator(width=self.ngf, **channels, **shape)
        if self.instances:
            of_labels: dict[str, Any] = {"num_features": self.num_features, "num_labels": labels if a.classes else 1}
            G_ab = InstanceGenerator(a.channels, b.channels, inner=G_ab.spec, **of_labels, mapped=a.instances)
        D_b = MultiscaleDiscriminator(
            seen + b.channels, width=self.ndf, num_layers=self.num_layers, num_scales=self.num_scales, norm=self.norm
        )
        config = replace(self, pixel_loss=self.pixel_loss.on(b))
        for net in (G_ab, D_b):
            initialise(net, self.init, self.init_gain)
        E = None
        if self.num_features:
            E = GlobalGenerator(b.channels, self.num_features, width=self.nef, **shape | {"num_blocks": 0})
            initialise(E, self.init, self.init_gain)
        if self.global_snapshot:
            load_global(inside(G_ab), self.global_snapshot)
        return Pix2PixHD(config, G_ab, D_b, E)


@final
class Pix2PixHD(Method):
    """G_ab, D_b, which judges at several scales, and with ``num_features`` E; phases G with E, then D."""

    def __init__(self, config: Pix2PixHDConfig, G_ab: nn.Module, D_b: nn.Module, E: nn.Module | None = None) -> None:
        super().__init__()
        self.config, self.G_ab, self.D_b, self.E = config, G_ab, D_b, E
        self.turns = (config.fix_global,) if config.fix_global else ()
        self.computes = 2  # 1 updated D before G's terms

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab, self.E] if self.E else [self.G_ab], "D": [self.D_b]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        net, seen = inside(self.G_ab), real_a
        fixed = [net.coarse] if isinstance(net, LocalEnhancer) and self.pace.progress < c.fix_global else []
        with frozen(*fixed):
            if isinstance(self.G_ab, InstanceGenerator):
                fake_b, real_a, seen = self._of_instances(self.G_ab, batch)
            else:
                fake_b = self.G_ab(real_a)
        real, fake = torch.cat([seen, real_b], 1), torch.cat([seen, fake_b], 1)
        with frozen(self.D_b):
            logits, found = logits_and_features(self.D_b, fake)
            with torch.no_grad():
                wanted = self.D_b.features(real) if c.lambda_features else []  # type: ignore[operator]
        terms: Terms = {"gan": c.lambda_gan * generator_loss(logits, c.gan)}
        if c.lambda_features:
            # There are layers + 1 activations in front of the logits, so that the published factor makes 4 times the mean.
            terms["features"] = c.lambda_features * 4.0 * feature_distance(found, wanted)
        if c.lambda_l1:
            terms[c.pixel_loss.kind] = c.lambda_l1 * c.pixel_loss(fake_b, real_b)
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b)
        yield "D", discriminator_terms(self.D_b, real, fake.detach(), c.gan, c.lambda_gp, c.lambda_r1)

    def _of_instances(self, G_ab: InstanceGenerator, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The translation with the looks that E finds in b, the labels, and the labels beside the outlines of their instances."""
        (labels, numbers), looks = G_ab.parted(batch.a), None
        if self.E:
            means = means_of_regions(self.E(batch.b), numbers)
            G_ab.remember(labels, numbers, means)
            looks = spread(means, numbers)
        seen = G_ab.beside(labels, numbers)
        return batch.filled(G_ab.translate(seen, looks)), labels, seen


def inside(G_ab: nn.Module) -> nn.Module:
    """The global or coarse-to-fine generator, which may stand in one for instances."""
    return G_ab.G if isinstance(G_ab, InstanceGenerator) else G_ab


def load_global(G_ab: nn.Module, snapshot: str) -> None:
    """Give the global part of a generator with enhancers the weights of a snapshot of a run without.

    Raises SnapshotError for a damaged file, ConfigError for one of another generator.
    """
    assert isinstance(G_ab, LocalEnhancer)
    generators = read_tree(Path(snapshot)).get("generators", {})
    found = generators.get("a2b", {})
    wanted = {key: value.shape for key, value in G_ab.coarse.state_dict().items()}
    try:
        given = restored("a2b", found)
    except ValueError as error:
        raise SnapshotError(f"{snapshot}: no whole snapshot: {error}; use another copy") from error
    named = {key.removeprefix("G."): value for key, value in given.items() if key not in ("looks", "seen")}
    weights = {key: value for key, value in named.items() if not key.startswith("head.")}
    if {key: value.shape for key, value in weights.items()} != wanted:
        spec = found.get("spec", {}).get("net", "no generator a2b")
        raise ConfigError(
            f"method.global_snapshot {snapshot}: expected the global generator with these ngf, num_downs, num_blocks and norm, "
            f"found {spec}; give a snapshot of pix2pixhd with enhancers 0"
        )
    G_ab.coarse.load_state_dict(weights)

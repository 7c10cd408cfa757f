r"""A method as CUT (Park et al. 2020, arXiv 2007.15651): all that somebody writes who adds a method, and nothing else names it.

    L_G = lambda_gan L_GAN(G_ab, D_b) + lambda_nce sum_l L_PatchNCE(H_l(G_l(a)), H_l(G_l(G_ab(a))))        (eqs. 1, 3, 5)

One direction, a to b. H, a small network for each feature map of the generator's encoder, is trained together with G_ab.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import Gan, generator_loss
from diptych.methods import Batch, Method, Terms
from diptych.methods.base import discriminator_terms, frozen
from diptych.nets import PatchGAN, ResNet, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, Positive, Weight


@dataclass(frozen=True)
class CutLikeConfig:
    """Settings; the published ones but for the taps, which are three here."""

    name: ClassVar[str] = "cut-like"
    paired: ClassVar[bool] = False
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b")

    num_blocks: Count = 2
    ngf: Count = 64
    ndf: Count = 64
    gan: Gan = "lsgan"
    lambda_gan: Weight = 1.0
    lambda_nce: Weight = 1.0
    num_patches: Count = 256
    temperature: Positive = 0.07

    def __post_init__(self) -> None:
        if not (self.lambda_gan and self.lambda_nce):
            raise ConfigError("cut-like: lambda_gan and lambda_nce must both be greater than 0")

    def build(self, a: Domain, b: Domain, crop_size: int) -> CutLike:
        """G_ab, D_b and H. Raises ConfigError for domains of different channels: the encoder sees images of both."""
        if a.channels != b.channels:
            raise ConfigError(f"cut-like: domains must have the same channels, found {a.channels} and {b.channels}; convert one")
        G_ab = ResNet(a.channels, b.channels, width=self.ngf, num_blocks=self.num_blocks)
        heads = (nn.Sequential(nn.Linear(c, 32), nn.ReLU(), nn.Linear(32, 32)) for c in (self.ngf, 4 * self.ngf, 4 * self.ngf))
        return CutLike(
            self, initialise(G_ab), initialise(PatchGAN(b.channels, width=self.ndf, num_layers=1)), nn.ModuleList(heads)
        )


@final
class CutLike(Method):
    """G_ab, D_b and H; phases D, then G with H."""

    def __init__(self, config: CutLikeConfig, G_ab: nn.Module, D_b: nn.Module, H: nn.ModuleList) -> None:
        super().__init__()
        self.config, self.G_ab, self.D_b, self.H = config, G_ab, D_b, H

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D_b], "G": [self.G_ab, self.H]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, real_a, real_b = self.config, batch.a, batch.b
        fake_b = self.G_ab(real_a)
        yield "D", discriminator_terms(self.D_b, real_b, fake_b.detach(), c.gan, lambda_gp=10.0, lambda_r1=0.0)
        with frozen(self.D_b):
            terms = {"gan": c.lambda_gan * generator_loss(self.D_b(fake_b), c.gan)}
        taps = zip(self._encoded(fake_b), self._encoded(real_a), self.H, strict=True)
        terms["nce"] = c.lambda_nce * torch.stack([self._patch_nce(q, k, head) for q, k, head in taps]).mean()
        yield "G", terms | self.extra(real_a=real_a, real_b=real_b, fake_b=fake_b)

    def _encoded(self, x: Tensor) -> list[Tensor]:
        stem = self.G_ab.stem(x)
        down = self.G_ab.down(stem)
        return [stem, down, self.G_ab.blocks(down)]

    def _patch_nce(self, query: Tensor, key: Tensor, head: nn.Module) -> Tensor:
        """Cross-entropy of finding each patch of query among those of key, at the same places of both (eq. 3)."""
        places = torch.randperm(query[0, 0].numel(), device=query.device)[: self.config.num_patches]
        q, k = (F.normalize(head(x.flatten(2).mT[:, places]), dim=-1) for x in (query, key.detach()))
        logits = q @ k.detach().mT / self.config.temperature
        return F.cross_entropy(logits.flatten(0, 1), torch.arange(len(places), device=q.device).repeat(len(q)))

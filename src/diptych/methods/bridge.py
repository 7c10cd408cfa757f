r"""A paired diffusion bridge: from each source image a random walk to its target, which a network learns to undo.

    x_t = a_t y + b_t x0 + c_t eps,   L = E |F(x_t, y, t) - (x0 - skip_t x_t) / out_t|^p,   t uniform from 0 to 1

One network, one phase, no discriminator. ``bridge: vp`` is DDBM (Zhou et al. 2024, arXiv 2309.16948, preconditioned, p = 2);
``brownian`` is BBDM (Li et al. 2023, arXiv 2205.07680, p = 1); ``flow`` is rectified flow on pairs (Liu et al. 2023, arXiv
2209.03003, p = 2), where nothing is random. Translations are drawn by DBIM (Zheng et al. 2024, arXiv 2405.15885) in ``steps``
passes. Coefficients and sampler: nets/bridge.py. Averaged weights are part of the method: set train.ema and train.ema_warm_up.

Deliberate differences from the authors' code: one U-Net for all three; BBDM's source is given at full size instead of in a latent
space; images of one step are x0's estimate at a random time (``fake_b``), between which a recipe may add losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.methods.base import Batch, Method, Terms
from diptych.nets.bridge import EARLIEST, BridgeKind, BridgeSampler, coefficients, over_images, scaling
from diptych.nets.modes import Mode
from diptych.nets.time_unet import TimeUNet
from diptych.pixels import Domain
from diptych.settings import Count, Positive, Size, Whole, check_settings

DROPOUT = 0.1


@dataclass(frozen=True)
class BridgeConfig:
    """Settings of a bridge. The published networks have ``ngf`` 192 at 64 px and 256 at 256 px, and three ``num_blocks`` a level.

    ``steps`` is the number of passes of a translation; more are slower and add detail. ``num_attention`` of the ``num_levels``
    attend over the whole image. ``dropout`` leaves out a tenth of the features, as DDBM did for small sets.
    """

    name: ClassVar[str] = "bridge"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "paper"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b")

    bridge: BridgeKind = "vp"
    steps: Count = 10
    ngf: Count = 64
    num_levels: Count = 4
    num_blocks: Count = 2
    num_attention: Whole = 1
    dropout: bool = False
    lambda_bridge: Positive = 1.0

    def __post_init__(self) -> None:
        check_settings(self, "method")

    def build(self, a: Domain, b: Domain, crop_size: Size) -> Bridge:
        """The sampler from a to b. Raises ConfigError for domains of different channels, between which there is no mixture."""
        if a.channels != b.channels:
            raise ConfigError(
                f"bridge: domains must have the same channels, found {a.channels} and {b.channels}; convert one or take pix2pix"
            )
        shape = {"num_levels": self.num_levels, "num_blocks": self.num_blocks, "num_attention": self.num_attention}
        unet = TimeUNet(2 * a.channels, b.channels, width=self.ngf, dropout=DROPOUT if self.dropout else 0.0, **shape)
        G_ab = BridgeSampler(kind=self.bridge, steps=self.steps, unet=unet.spec)
        return Bridge(self, G_ab)


@final
class Bridge(Method):
    """G_ab, the sampler of the bridge; its one phase is G."""

    def __init__(self, config: BridgeConfig, G_ab: BridgeSampler) -> None:
        super().__init__()
        self.config, self.G_ab = config, G_ab

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        c, y, x0 = self.config, batch.a, batch.b
        t = torch.rand(len(y), dtype=y.dtype, device=y.device) * (1 - EARLIEST) + EARLIEST
        a, b, noise = (over_images(value) for value in coefficients(c.bridge, t))
        x = a * y + b * x0 + noise * torch.randn_like(y)
        skip, out, _, _ = (over_images(value) for value in scaling(c.bridge, t))
        said = self.G_ab.raw(x, y, t)
        error = batch.filled(said - (x0 - skip * x) / out, 0.0)
        loss = error.abs().mean() if c.bridge == "brownian" else error.square().mean()
        terms: Terms = {"bridge": c.lambda_bridge * loss}
        yield "G", terms | self.extra(real_a=y, real_b=x0, fake_b=batch.filled(skip * x + out * said))

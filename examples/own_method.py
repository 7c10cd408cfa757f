"""A method of one's own in one file: L1 regression with a total-variation prior, no discriminator.

L = lambda_l1 E|b - G(a)|_1 + lambda_tv E(|dx G(a)|_1 + |dy G(a)|_1)          (Rudin, Osher, Fatemi 1992, as a loss)

diptych train examples.own_method:SmoothConfig pairs/ --method.lambda_tv 0.5
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from diptych.losses import l1
from diptych.methods import Batch, Method, Terms
from diptych.nets import GeneratorName, generator, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Count, Weight


@dataclass(frozen=True)
class SmoothConfig:
    """The settings, each of them a flag of the command: --method.generator, --method.ngf ..."""

    name: ClassVar[str] = "smooth"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "eval"
    images: ClassVar[tuple[str, ...]] = ("real_a", "real_b", "fake_b")

    generator: GeneratorName = "resnet_6"
    ngf: Count = 64
    lambda_l1: Weight = 1.0
    lambda_tv: Weight = 0.1

    def build(self, a: Domain, b: Domain, crop_size: int) -> "Smooth":
        """G_ab from a to b, for any number of channels."""
        return Smooth(self, initialise(generator(self.generator, a.channels, b.channels, width=self.ngf, norm="instance")))


@final
class Smooth(Method):
    """G_ab alone; one phase, G."""

    def __init__(self, config: SmoothConfig, G_ab: nn.Module) -> None:
        super().__init__()
        self.config, self.G_ab = config, G_ab

    def generators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G_ab}

    def phases(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G_ab]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        fake_b = self.G_ab(batch.a)
        tv = l1(fake_b[..., 1:, :], fake_b[..., :-1, :]) + l1(fake_b[..., 1:], fake_b[..., :-1])
        terms = {"l1": self.config.lambda_l1 * l1(fake_b, batch.b), "tv": self.config.lambda_tv * tv}
        yield "G", terms | self.extra(real_a=batch.a, real_b=batch.b, fake_b=fake_b)

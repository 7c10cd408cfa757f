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
from diptych.nets import generator, initialise
from diptych.nets.modes import Mode
from diptych.pixels import Domain


@dataclass(frozen=True)
class SmoothConfig:
    """The settings, each of them a flag of the command: --method.generator, --method.ngf ..."""

    name: ClassVar[str] = "smooth"
    paired: ClassVar[bool] = True
    mode: ClassVar[Mode] = "eval"

    generator: str = "resnet_6"
    ngf: int = 64
    lambda_l1: float = 1.0
    lambda_tv: float = 0.1

    def build(self, a: Domain, b: Domain, crop_size: int) -> "Smooth":
        """G_ab from a to b, for any number of channels."""
        net = generator(self.generator, a.channels, b.channels, width=self.ngf, norm="instance")
        return Smooth(self, initialise(net, "normal", 0.02))


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
        yield "G", {"l1": self.config.lambda_l1 * l1(fake_b, batch.b), "tv": self.config.lambda_tv * tv}

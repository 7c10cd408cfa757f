"""Dropout whose random choices depend on the place in the image, so that a window of an image drops what the image drops."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets.modes import SeededDropout

LOW_31_BITS = 2**31 - 1


@final
class PositionDropout(nn.Module):
    """Dropout that keeps a value or not by a hash of the seed, the number of the layer, the channel, the row and the column.

    Every image of a batch has the same choices.
    """

    def __init__(self, p: float, seed: int, layer: int) -> None:
        super().__init__()
        self.p, self.seed, self.layer = p, seed, layer

    def extra_repr(self) -> str:
        """The probability with which a value is dropped, for the network's description."""
        return f"p={self.p}"

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Drop values of a whole map."""
        return self.at(x, 0, 0)

    def at(self, x: Float[Tensor, "n c h w"], top: int, left: int) -> Float[Tensor, "n c h w"]:
        """Drop values of a window of a map, whose first row and column are given."""
        place = torch.tensor(self.seed & LOW_31_BITS, device=x.device)
        channels, rows, columns = (torch.arange(size, device=x.device) for size in x.shape[1:])
        for number in (self.seed >> 31 & LOW_31_BITS, self.layer, channels[:, None, None], (rows + top)[:, None], columns + left):
            place = _mixed(place ^ _mixed(number + torch.tensor(0x9E3779B9, device=x.device)))
        kept = place >= round(self.p * 2**31)
        return x * kept / (1 - self.p)


def _mixed(x: Tensor) -> Tensor:
    """A hash of integers below 2^33 to integers of 31 bits (two rounds of multiply and xor-shift, as in SplitMix)."""
    for factor in (0x2C1B3C6D, 0x297A2D39):
        x = (x ^ x >> 15) * factor & 2**62 - 1
        x = x ^ x >> 31
    return x & LOW_31_BITS


def drop_by_position(net: nn.Module, seed: int) -> None:
    """Replace the seeded dropout of a translator's network (see `diptych.nets.modes.as_translator`) by dropout by position."""
    found = [(parent, name, layer) for parent in net.modules() for name, layer in parent.named_children()]
    seeded = [(parent, name, layer) for parent, name, layer in found if isinstance(layer, SeededDropout)]
    for number, (parent, name, layer) in enumerate(seeded):
        setattr(parent, name, PositionDropout(layer.p, seed, number))

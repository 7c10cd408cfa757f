"""The small networks that bring feature maps into the space in which a contrastive loss compares them (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets.blocks import full_precision, own_precision


class Projector(nn.Module):
    """H: for each tap Linear, ReLU, Linear, then division by the length, which is computed in at least float32."""

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(c, width), nn.ReLU(), nn.Linear(width, width)) for c in channels)

    def forward(self, patches: Sequence[Tensor]) -> list[Tensor]:
        """Unit vectors (n, p, width) of each tap's patches (n, p, c)."""
        return [unit(head(x)) for head, x in zip(self.heads, patches, strict=True)]


class Digest(nn.Module):
    """SimDCL's summary of an image: unit vectors of patches of all taps become one vector of length 1 (Han et al. 2021).

    Taps are the channels of a map of patches by features: a 3x3 convolution of stride 2, ReLU, the mean over the map, and two
    linear layers with a ReLU between them.
    """

    def __init__(self, num_taps: int, width: int = 64) -> None:
        super().__init__()
        mean = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        layers = [nn.Conv2d(num_taps, width, 3, 2), nn.ReLU(), *mean, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, patches: Float[Tensor, "n taps p d"]) -> Float[Tensor, "n width"]:
        return unit(self.layers(patches))


def unit(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """x / (|x| + 1e-7), in at least float32."""
    with own_precision(x):
        x = full_precision(x)
        return x / (x.norm(dim=-1, keepdim=True) + 1e-7)

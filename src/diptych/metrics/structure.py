"""Structure distance: whether an output keeps the arrangement of its input, whatever its colours and textures (F-LSeSim).

Zheng, Cham and Cai, The Spatially-Correlative Loss for Various Image Translation Tasks, 2021.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import DataError
from diptych.files import sha256_of
from diptych.metrics.weights import find_weights
from diptych.nets.backbones import VGG16, AlexNet, full_precision, load_backbone

TAP = 2  # of VGG16: relu3_3, whose places are four pixels apart
MAX_QUERIES = 1024  # places of an image whose maps are compared, evenly chosen: all places of 128 x 128 pixels


@final
class StructureDistance(nn.Module):
    """``structure_distance`` in relu3_3 of VGG16: 0 for equal structure, less than 1. Frozen, but differentiable.

    ``sha256`` is that of the weight file.
    """

    def __init__(self, net: AlexNet | VGG16, sha256: str) -> None:
        super().__init__()
        self.net = net
        self.sha256 = sha256

    @classmethod
    def load(cls, weights: str | Path | None = None, *, fetch: bool = True) -> StructureDistance:
        """Load the weights in a file, or the published ones of `find_weights`; in eval mode on the CPU.

        Raises WeightsError when the weights cannot be had or are another network's.
        """
        path = Path(weights) if weights is not None else find_weights("vgg16", fetch=fetch)
        return cls(load_backbone("vgg16", path), sha256_of(path)).eval()

    def forward(self, x: Float[Tensor, "n c _ _"], y: Float[Tensor, "n d _ _"]) -> Float[Tensor, " n"]:
        """The distance of each input in [-1, 1] from its output, gray or RGB.

        Raises DataError when their sizes differ, or they are smaller than the network can look at.
        """
        if x.shape[2:] != y.shape[2:]:
            sizes = " and ".join(f"{image.shape[3]} x {image.shape[2]}" for image in (x, y))
            raise DataError(f"structure distance compares images of one size, found {sizes}")
        with full_precision(x.device):
            taps = zip(self.net(x)[TAP], self.net(y)[TAP], strict=True)
            return torch.stack([structure_distance(one[None], other[None])[0] for one, other in taps])  # maps are large


def structure_distance(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """The mean over places of 1 - cosine between the self-similarity maps of two images' features (eq. 4).

    The map of a place holds the cosine similarities of its features with those of all places. Beyond MAX_QUERIES places, the
    maps of evenly chosen ones are compared. 0 for features of equal arrangement; adding nothing to what both share, it knows
    neither colour nor texture by name.
    """
    x, y = (F.normalize(features.flatten(2), dim=1) for features in (x, y))
    places = x.shape[2]
    chosen = torch.linspace(0, places - 1, min(places, MAX_QUERIES), device=x.device).round().long()
    map_x, map_y = (features[..., chosen].transpose(1, 2) @ features for features in (x, y))
    return (1 - F.cosine_similarity(map_x, map_y, dim=2)).mean(dim=1)

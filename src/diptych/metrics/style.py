"""Distance of style: how different two images' textures and colours are, wherever they are (Gatys et al. 2016)."""

from __future__ import annotations

from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from diptych.files import sha256_of
from diptych.metrics.weights import find_weights
from diptych.nets.backbones import VGG16, AlexNet, full_precision, gram, load_backbone, style_distance

__all__ = ["StyleDistance", "gram"]


@final
class StyleDistance(nn.Module):
    """The squared Frobenius distance of Gram matrices summed over five taps of VGG16 (relu1_2 ... relu5_3), unweighted.

    0 for equal images; only ratios mean something, as the scale is that of the activations. `gram` states its normalisation, with
    which the two images of a pair may differ in size. ``sha256`` is that of the weight file. Frozen, but differentiable.
    """

    def __init__(self, net: AlexNet | VGG16, sha256: str) -> None:
        super().__init__()
        self.net = net
        self.sha256 = sha256

    @classmethod
    def load(cls, weights: str | Path | None = None, *, fetch: bool = True) -> StyleDistance:
        """Load the weights in a file, or the published ones of `find_weights`; in eval mode on the CPU.

        A file is taken as it is: `find_weights` is what verifies one, and ``sha256`` says which it was. Raises WeightsError when
        the weights cannot be had or are another network's.
        """
        path = Path(weights) if weights is not None else find_weights("vgg16", fetch=fetch)
        return cls(load_backbone("vgg16", path), sha256_of(path)).eval()

    def forward(self, x: Float[Tensor, "n c _ _"], y: Float[Tensor, "n c _ _"]) -> Float[Tensor, " n"]:
        """The distance of each pair of images in [-1, 1], gray or RGB.

        Raises DataError when the images have other channels, or are smaller than the network can look at.
        """
        with full_precision(x.device):
            return style_distance(self.net(x), self.net(y))

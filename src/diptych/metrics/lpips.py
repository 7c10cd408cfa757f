"""LPIPS, version 0.1: how different two images look to a network that was calibrated with people (Zhang et al. 2018).

The calibrated heads of AlexNet and VGG16 are part of the package (lpips_v0.1.safetensors, see NOTICE.md); the networks themselves
are torchvision's weight files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.files import sha256_of
from diptych.metrics.weights import find_weights
from diptych.nets.backbones import VGG16, AlexNet, Backbone, full_precision, load_backbone
from diptych.state_dicts import read_state_dict

HEADS = Path(__file__).with_name("lpips_v0.1.safetensors")
BACKBONES: dict[str, Backbone] = {"alex": "alexnet", "vgg": "vgg16"}  # the authors' names -> ours


@final
class LPIPS(nn.Module):
    """The LPIPS distance, equal to that of the authors' package; 0 for equal images. Its two backbones are two metrics.

    ``sha256`` is that of the weight file, to be stated beside every number. Frozen, but differentiable in the images.
    """

    def __init__(self, net: AlexNet | VGG16, heads: Sequence[Float[Tensor, " _"]], sha256: str) -> None:
        super().__init__()
        self.net = net
        self.sha256 = sha256
        for tap, head in enumerate(heads):
            self.register_buffer(f"head{tap}", head)

    @classmethod
    def load(cls, backbone: Literal["alex", "vgg"], weights: str | Path | None = None, *, fetch: bool = True) -> LPIPS:
        """Load LPIPS with the weights in a file, or with the published ones of `find_weights`; in eval mode on the CPU.

        A file is taken as it is: `find_weights` is what verifies one, and ``sha256`` says which it was. Raises WeightsError when
        the weights cannot be had or are another network's.
        """
        if backbone not in BACKBONES:
            raise ConfigError(f"the backbone of LPIPS must be {' or '.join(BACKBONES)}, found {backbone!r}")
        name = BACKBONES[backbone]
        path = Path(weights) if weights is not None else find_weights(name, fetch=fetch)
        net = load_backbone(name, path)
        heads = read_state_dict(HEADS)
        return cls(net, [heads[f"{backbone}.{tap}"] for tap in range(len(net.taps))], sha256_of(path)).eval()

    def forward(self, x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """The distance of each pair of images in [-1, 1], gray or RGB (eq. 1, its weights squared).

        Raises DataError when the images have other channels, or are smaller than the network can look at.
        """
        with full_precision(x.device):
            # Two passes of one shape, so that equal images have equal activations to the last bit.
            taps = enumerate(zip(self.net(x), self.net(y), strict=True))
            distances = [_distance(a, b, self.get_buffer(f"head{tap}")) for tap, (a, b) in taps]
            return torch.stack(distances).sum(dim=0)


def _distance(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"], head: Float[Tensor, " c"]) -> Float[Tensor, " n"]:
    return (_unit(a) - _unit(b)).square().mean(dim=(2, 3)) @ head


def _unit(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Scale to unit length over the channels of each place; zero where nothing is active (the authors add 1e-10)."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)

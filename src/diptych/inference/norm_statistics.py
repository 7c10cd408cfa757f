"""Statistics of a network's norms, measured once in one or several images and then the same for every image.

The images are measured as one batch: each norm takes the mean and the biased variance of every channel over all of them and
normalises all of them by these, before the next norm measures. For a single image this is what instance norm does by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.inference.maps import Moments
from diptych.nets.fixed_norm import FixedNorm, Norm, measuring_norms, with_norms

NOTHING_TO_FIX = "the network has no norm that takes statistics from its image, so none can be fixed; leave out --norm-from"


@final
@dataclass(frozen=True)
class NormStatistics:
    """The mean and the biased variance of every channel (c,), in float32 on the CPU, by the name of the norm."""

    layers: Mapping[str, tuple[Tensor, Tensor]]

    @classmethod
    def of_moments(cls, moments: Mapping[str, Moments]) -> NormStatistics:
        """The statistics that moments of float64 amount to."""
        return cls({name: (found.mean.float(), found.variance.float()) for name, found in moments.items()})

    def mixed(self, other: NormStatistics, share: float) -> NormStatistics:
        """Statistics between these (share 0) and others (share 1) of the same network, such as those of the next frame."""
        pairs = {name: zip(self.layers[name], other.layers[name], strict=True) for name in self.layers}
        mixed = {name: [torch.lerp(own, new, share) for own, new in pair] for name, pair in pairs.items()}
        return NormStatistics({name: (mean, variance) for name, (mean, variance) in mixed.items()})

    @property
    def sha256(self) -> str:
        """A hash of all numbers and names."""
        digest = hashlib.sha256()
        for name, numbers in self.layers.items():
            digest.update(name.encode())
            for tensor in numbers:
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def measure_norms(net: nn.Module, images: Float[Tensor, "n c h w"]) -> NormStatistics:
    """Measure the statistics of every norm that takes them from its images, over all images together.

    ``net`` is a network in the mode in which it translates (see `diptych.nets.modes.as_translator`), and ``images`` are what it
    takes, in [-1, 1]. Raises ConfigError where it has no such norm, or applies one several times to an image.
    """
    layers = {name: Measuring(norm) for name, norm in measuring_norms(net).items()}
    if not layers:
        raise ConfigError(NOTHING_TO_FIX)
    with torch.inference_mode():
        with_norms(net, lambda name, norm: layers[name], layers)(images)
    refuse_repeated(max(len(layer.moments) for layer in layers.values()))
    return NormStatistics.of_moments({name: layer.moments[0] for name, layer in layers.items() if layer.moments})


def refuse_repeated(times: int) -> None:
    """Raise ConfigError where a norm is applied several times to an image, each time with other statistics."""
    if times > 1:
        raise ConfigError(
            f"the network applies a norm {times} times to an image, each time with other statistics, which cannot be fixed; "
            "leave out --norm-from"
        )


def fix_norms(net: nn.Module, statistics: NormStatistics) -> nn.Module:
    """Modules over the weights of ``net`` whose norms have given statistics instead of those of the image.

    Raises ConfigError where the statistics are of another network.
    """
    found = {name: module for name, module in net.named_modules() if isinstance(module, nn.InstanceNorm2d | nn.BatchNorm2d)}
    for name, (mean, _) in statistics.layers.items():
        if name not in found or found[name].num_features != len(mean):
            raise ConfigError(f"the statistics of norms are of another network, which has a norm {name} of {len(mean)} channels")
    return with_norms(net, lambda name, norm: FixedNorm(norm, *statistics.layers[name]), statistics.layers)


def set_norms(net: nn.Module, statistics: NormStatistics) -> None:
    """Give a network that `fix_norms` made other statistics, in place, as from frame to frame."""
    for name, (mean, variance) in statistics.layers.items():
        norm = net.get_submodule(name)
        assert isinstance(norm, FixedNorm), f"{name} measures its statistics; make the network by fix_norms first"
        norm.set(mean, variance)


@final
class Measuring(nn.Module):
    """A norm over all images together that keeps the moments which it measured, those of each call."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.norm, self.moments = norm, list[Moments]()

    @property
    def bias(self) -> Tensor | None:
        """What the norm adds, as the hook of `flat.py` asks for it."""
        return self.norm.bias

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        moments = Moments(x.shape[1])
        for image in x.split(1):
            moments.add(image)
        self.moments.append(moments)
        return FixedNorm(self.norm, moments.mean.to(x.device), moments.variance.to(x.device))(x)

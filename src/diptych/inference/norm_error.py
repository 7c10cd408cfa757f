"""How far a translation with the norms of a sample is from the exact one, found from the windows of the translation itself.

While an image is translated in windows, each norm sees the whole image, so its moments over all of it are known at the end. They
are those of maps that norms with the statistics of the sample made before. What exact statistics would be follows from them and
from the sampled windows, which are run once more: each norm takes what it measures in the windows, and adds how far the moments
of the whole image were from those of the same windows. The difference between both translations of the sampled windows is the
error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.inference.maps import Moments
from diptych.inference.norm_statistics import NormStatistics, fix_norms
from diptych.nets.fixed_norm import FixedNorm, Norm, with_norms

SAFETY = 1.3
"""What the estimate is multiplied by, so that it is an upper figure; tests/inference/test_norm_error.py has the true errors."""


@final
class SeenNorms:
    """The moments of what each fixed norm of a network sees of an image that passes through it window by window."""

    def __init__(self, net: nn.Module, moments: Mapping[str, Moments]) -> None:
        self.norms = {name: module for name, module in net.named_modules() if isinstance(module, FixedNorm)}
        self.moments = dict(moments)

    @contextmanager
    def watching(self, size: tuple[int, int], rows: slice, columns: slice) -> Iterator[None]:
        """Take in the rows and columns of a window of a size, both in pixels of the network's input, without its margins."""

        def look(name: str, inputs: tuple[Any, ...]) -> None:
            x = inputs[0]
            own = [
                slice(part.start * length // whole, part.stop * length // whole)
                for part, length, whole in zip((rows, columns), x.shape[2:], size, strict=True)
            ]
            self.moments.setdefault(name, Moments(x.shape[1])).add(x[:, :, own[0], own[1]])

        def hook(name: str) -> Any:
            return lambda norm, inputs: look(name, inputs)

        hooks = [norm.register_forward_pre_hook(hook(name)) for name, norm in self.norms.items()]
        try:
            yield
        finally:
            for each in hooks:
                each.remove()


@torch.inference_mode()
def sampling_error(
    net: nn.Module, batches: Iterable[Float[Tensor, "n c h w"]], norms: NormStatistics, whole: Mapping[str, Moments]
) -> float:
    """The mean absolute difference, in [0, 2] of [-1, 1], that the statistics of a sample make, as an upper figure.

    ``net`` measures its norms, ``batches`` are the sampled windows in [-1, 1], ``norms`` their statistics, and ``whole`` the
    moments that SeenNorms saw of the whole image.
    """
    fixed = fix_norms(net, norms)
    differences = []
    for images in batches:
        seen = SeenNorms(fixed, {})
        height, width = images.shape[2:]
        with seen.watching((height, width), slice(0, height), slice(0, width)):
            sampled = torch.cat([fixed(image) for image in images.split(1)])
        differences.append((_corrected(net, seen.moments, whole)(images) - sampled).abs().mean(dtype=torch.float64))
    return SAFETY * float(torch.stack(differences).mean())


def _corrected(net: nn.Module, here: Mapping[str, Moments], whole: Mapping[str, Moments]) -> nn.Module:
    return with_norms(net, lambda name, norm: _Corrected(norm, here[name], whole[name]), here)


@final
class _Corrected(nn.Module):
    """A norm over all windows together, corrected by how far the whole image was from the same windows.

    ``here`` are the moments of the windows and ``whole`` those of the image, both behind norms with the statistics of the sample.
    The norms before this one changed the scale of the maps since, and with it the distance of the two means.
    """

    def __init__(self, norm: Norm, here: Moments, whole: Moments) -> None:
        super().__init__()
        self.norm, self.here, self.whole = norm, here, whole

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        found, eps = Moments(x.shape[1]), self.norm.eps
        for image in x.split(1):
            found.add(image)
        scale = (found.variance + eps) / (self.here.variance + eps)
        mean = found.mean + (self.whole.mean - self.here.mean) * scale.sqrt()
        variance = (self.whole.variance + eps) * scale - eps
        return FixedNorm(self.norm, mean.to(x.device), variance.clamp_min(0.0).to(x.device))(x)

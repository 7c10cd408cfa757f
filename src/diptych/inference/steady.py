"""Norms that do not flicker: their statistics are fixed or smoothed over a shot.

Instance norms take mean and variance from each image, so that a thing which enters a frame changes the colours of everything in
it. In a film they are held (``fixed``: those of the shot's first frame) or follow slowly (``smooth``: an exponential moving
average).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.choices import FilmNorms
from diptych.errors import ConfigError

HALF_LIFE = 4.0  # seconds after which smoothed statistics have gone half of the way


@final
class SteadyNorm(nn.Module):
    """An instance norm whose statistics are an average over a shot so far; ``follow`` is a new frame's weight in it.

    A shot's first frame is normalised by its own statistics, as the norm does that this one stands for.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.BatchNorm2d, follow: float) -> None:
        super().__init__()
        self.eps, self.weight, self.bias, self.follow = norm.eps, norm.weight, norm.bias, follow
        self.mean: Tensor | None = None
        self.variance: Tensor | None = None
        self.begins: Sequence[bool] = ()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        one = torch.ones(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        frames = []
        for frame, begins in zip(x.split(1), self.begins, strict=True):
            # native_batch_norm's statistics are fast in either memory layout, which var_mean's are not.
            _, mean, inverse = torch.ops.aten.native_batch_norm(frame, one, None, None, None, True, 0.0, self.eps)
            variance = inverse.pow(-2) - self.eps
            if self.mean is None or self.variance is None or begins:
                self.mean, self.variance = mean, variance
            elif self.follow:
                self.mean = self.mean.lerp(mean, self.follow)
                self.variance = self.variance.lerp(variance, self.follow)
            frames.append(
                F.batch_norm(frame, self.mean, self.variance.clamp_min(0), self.weight, self.bias, False, 0.0, self.eps)
            )
        return frames[0] if len(frames) == 1 else torch.cat(frames)


@final
class SteadyNorms:
    """All norms of a network that take their statistics from the image, held or smoothed from frame to frame.

    The network is changed in place, so it should be a translator's own modules. Raises ConfigError where a network has no such
    norms.
    """

    def __init__(self, net: nn.Module, norms: FilmNorms, rate: float) -> None:
        follow = 0.0 if norms == "fixed" else 1 - 0.5 ** (1 / max(1.0, HALF_LIFE * rate))
        self.layers: list[SteadyNorm] = []
        if norms != "frame":
            self._replace(net, follow)

    def _replace(self, parent: nn.Module, follow: float) -> None:
        for name, layer in parent.named_children():
            if takes_its_own(layer):
                assert isinstance(layer, nn.InstanceNorm2d | nn.BatchNorm2d)
                self.layers.append(SteadyNorm(layer, follow))
                setattr(parent, name, self.layers[-1])
            else:
                self._replace(layer, follow)

    def next(self, begins: Sequence[bool]) -> None:
        """Say of each frame of the coming batch whether it begins a shot."""
        for layer in self.layers:
            layer.begins = begins

    def state(self) -> list[Tensor]:
        """The statistics so far, for `restore`; empty before the first frame."""
        return [tensor.cpu() for layer in self.layers for tensor in (layer.mean, layer.variance) if tensor is not None]

    def restore(self, state: Sequence[Tensor], device: torch.device) -> None:
        """Go on from where `state` was taken."""
        if not state:
            return
        if len(state) != 2 * len(self.layers):
            raise ConfigError(
                f"the film's state has {len(state)} statistics and the network {2 * len(self.layers)}; use --overwrite"
            )
        for layer, mean, variance in zip(self.layers, state[::2], state[1::2], strict=True):
            layer.mean, layer.variance = mean.to(device), variance.to(device)


def takes_its_own(layer: nn.Module) -> bool:
    """Whether a layer normalises by the statistics of the image at hand."""
    if isinstance(layer, nn.BatchNorm2d):
        return layer.training or not layer.track_running_stats
    return isinstance(layer, nn.InstanceNorm2d) and not layer.track_running_stats

"""A generator whose forward is a procedure: the Schrödinger bridge of UNSB, several passes with noise between them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import crop_centre, pad_to_multiple
from diptych.nets.timed import TimedResNet

TAU = 0.01


def bridge_times(num: int = 5) -> list[float]:
    """When the passes begin, from 0 to below 1: for 5, 0, 0.5, 0.74, 0.86 and 0.94.

    After 0 they go from 1/2 to 1 in steps that shrink as 1, 1/2, 1/3 ...; the last of them, 1, is where the bridge ends.
    """
    harmonic = [sum(1.0 / k for k in range(1, count + 1)) for count in range(num)]
    return [0.0, *(0.5 + 0.5 * sum_ / harmonic[-1] for sum_ in harmonic[:-1])][:num]


def bridge_step(times: list[float], index: int, tau: float = TAU) -> tuple[float, float]:
    """How a pass at an index moves on to the next: the share of its result, and the deviation of the noise.

    x_(k+1) = (1 - s) x_k + s G(x_k) + sqrt(tau delta (1 - delta / d)) eps with delta = t_(k+1) - t_k, d = 1 - t_k, s = delta / d.
    """
    delta, left = times[index + 1] - times[index], 1.0 - times[index]
    return delta / left, (tau * delta * (1.0 - delta / left)) ** 0.5


class BridgeChain(nn.Module):
    """x -> G(x_(steps - 1)): each pass translates the state, which moves towards the translation with noise in between.

    The noise of an image depends on ``seed`` and on its size alone, so that an image has one translation, in any batch and on any
    device. More steps change more. Its time is that of ``steps`` generators.
    """

    adjustable = ("steps", "seed")
    draws_noise = True

    def __init__(
        self, in_channels: int, out_channels: int, *, num_times: int = 5, steps: int = 5, tau: float = TAU, **options: Any
    ) -> None:
        super().__init__()
        if not 1 <= steps <= num_times:
            raise ConfigError(f"steps must be from 1 to {num_times}, the times that this generator was trained at; found {steps}")
        self.G = TimedResNet(in_channels, out_channels, **options)
        self.spec: dict[str, Any] = {"net": "bridge_chain", **self.G.spec, "num_times": num_times, "steps": steps, "tau": tau}
        self.num_times, self.steps, self.tau, self.seed = num_times, steps, tau, 0
        self.times = bridge_times(num_times)
        self.multiple, self.smallest = self.G.multiple, self.G.smallest

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        padded = pad_to_multiple(x, self.multiple, smallest=self.smallest)
        random = torch.Generator().manual_seed(self.seed)
        state = fake = padded
        for index in range(self.steps):
            if index:
                share, deviation = bridge_step(self.times, index - 1, self.tau)
                state = (1 - share) * state + share * fake + deviation * self._noise(padded, random, padded.shape[1:])
            z = self._noise(padded, random, (self.G.noise,)).expand(len(x), -1)
            fake = self.G(state, torch.full((len(x),), index, device=x.device), z)
        return crop_centre(fake, *x.shape[-2:])

    def adjusted(self, steps: int | None = None, seed: int = 0) -> BridgeChain:
        """The same weights in so many steps, with the noise of a seed. Raises ConfigError for steps that it has no times for."""
        spec = {key: value for key, value in self.spec.items() if key != "net"}
        with torch.device("meta"):
            other = BridgeChain(**spec | ({} if steps is None else {"steps": steps}))
        other.load_state_dict(self.state_dict(), assign=True)
        other.seed = seed
        return other.train(self.training).requires_grad_(False)

    def _noise(self, like: Tensor, random: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Normal noise for one image, the same for each of the batch."""
        return torch.randn(1, *shape, generator=random).to(like.device, like.dtype)

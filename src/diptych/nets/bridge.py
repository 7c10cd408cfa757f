"""Bridges between pairs of images, and the sampler that walks over one.

x_t = a_t y + b_t x0 + c_t eps, where y is the source image, x0 the target and eps normal noise.
DDBM (Zhou et al. 2024, arXiv 2309.16948), BBDM (Li et al. 2023, arXiv 2205.07680) and rectified flow (Liu et al. 2023, arXiv
2209.03003) are three choices of the coefficients; DBIM (Zheng et al. 2024, arXiv 2405.15885) samples any of them in few steps.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, NamedTuple, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.modes import Noise
from diptych.nets.time_unet import TimeUNet

BridgeKind = Literal["vp", "brownian", "flow"]
Times = Float[Tensor, " n"]
EARLIEST = 1e-4  # of the times that are trained on, from 0 (the target) to 1 (the source)
BETA_D, BETA_MIN, SIGMA_DATA = 2.0, 0.1, 0.5  # DDBM's published values


class Coefficients(NamedTuple):
    """x_t = a y + b x0 + c eps at some times."""

    a: Times
    b: Times
    c: Times


class Scaling(NamedTuple):
    """The estimate of x0 is skip * x_t + out * F(into * x_t, y, clock), for a network F."""

    skip: Times
    out: Times
    into: Times
    clock: Times


def coefficients(kind: BridgeKind, t: Times) -> Coefficients:
    """At time 0 x_t is the target and at time 1 the source, exactly.

    vp: DDBM's variance-preserving bridge (its table 1). brownian: BBDM's (eq. 4 with s = 1). flow: a straight line without noise.
    """
    if kind == "vp":
        # noise is exp(-logsnr_t), ratio exp(logsnr_1 - logsnr_t), scale exp(log s_t); expm1 keeps small times exact.
        noise = torch.expm1(0.5 * BETA_D * t**2 + BETA_MIN * t)
        ratio = noise / torch.expm1(torch.as_tensor(0.5 * BETA_D + BETA_MIN, dtype=t.dtype, device=t.device))
        scale = torch.exp(-0.25 * BETA_D * t**2 - 0.5 * BETA_MIN * t)
        at_the_end = torch.exp(torch.as_tensor(-0.25 * BETA_D - 0.5 * BETA_MIN, dtype=t.dtype, device=t.device))
        a, b = ratio * scale / at_the_end, (1.0 - ratio) * scale
        return Coefficients(a, b, ((1.0 - ratio).clamp(min=0.0) * noise).sqrt() * scale)
    if kind == "brownian":
        return Coefficients(t, 1.0 - t, (2.0 * t * (1.0 - t)).clamp(min=0.0).sqrt())
    if kind == "flow":
        return Coefficients(t, 1.0 - t, torch.zeros_like(t))
    raise ConfigError(f"the kind of a bridge must be one of {', '.join(get_args(BridgeKind))}, found {kind!r}")


def scaling(kind: BridgeKind, t: Times) -> Scaling:
    """How a network's output becomes an estimate of x0 (DDBM, section 4.1 with covariance 0; BBDM, eq. 11; flow's velocity)."""
    one = torch.ones_like(t)
    if kind == "vp":
        a, b, c = coefficients(kind, t)
        variance, data = (a**2 + b**2) * SIGMA_DATA**2 + c**2, SIGMA_DATA**2
        out = (a**2 * data**2 + data * c**2).sqrt() / variance.sqrt()
        return Scaling(b * data / variance, out, variance.rsqrt(), 250.0 * t.clamp(min=EARLIEST).log())
    return Scaling(one, -one if kind == "brownian" else t, one, 1000.0 * t)


def over_images(values: Times) -> Float[Tensor, "n 1 1 1"]:
    """One number for each image, shaped to multiply it."""
    return values[:, None, None, None]


@final
class BridgeSampler(nn.Module):
    """The translator of a bridge: from a source image in [-1, 1] to one answer, in ``steps`` passes of the network.

    The first step leaves the source by a random draw, the others are deterministic (DBIM with eta 0). In mode paper the draw
    comes from the translator's seed, so that each seed is another answer; in mode eval it is always the same. One step draws
    nothing and gives the mean of all answers.
    """

    adjustable = ("steps",)

    def __init__(self, *, kind: BridgeKind, steps: int, unet: dict[str, Any]) -> None:
        super().__init__()
        if steps < 1:
            raise ConfigError(f"a bridge is walked over in at least 1 step, found {steps}")
        arguments = {key: value for key, value in unet.items() if key != "net"}
        self.unet = TimeUNet(**arguments)
        self.kind, self.steps = kind, steps
        self.noise = Noise()
        channels = self.unet.spec["out_channels"]
        self.spec = {"net": "bridge", "kind": kind, "steps": steps, "unet": self.unet.spec}
        self.in_channels = self.out_channels = channels
        self.multiple = self.unet.multiple

    @property
    def has_many_answers(self) -> bool:
        """Whether seeds differ: a flow has no noise, and a single step gives the mean of all answers."""
        return self.steps > 1 and self.kind != "flow"

    def adjusted(self, steps: int | None = None) -> BridgeSampler:
        """This sampler, over the same weights, with another number of steps. Raises ConfigError unless it is at least 1."""
        if steps is None:
            return self
        if steps < 1:
            raise ConfigError(f"a bridge is walked over in at least 1 step, found {steps}")
        sampler = copy.copy(self)
        sampler.steps, sampler.spec = steps, self.spec | {"steps": steps}
        return sampler

    def estimate(self, x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], t: Times) -> Float[Tensor, "n c h w"]:
        """The network's estimate of the target from the bridge at time t."""
        skip, out, _, _ = scaling(self.kind, t)
        return over_images(skip) * x + over_images(out) * self.raw(x, y, t)

    def raw(self, x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], t: Times) -> Float[Tensor, "n c h w"]:
        """What the network says, before it is scaled to an estimate."""
        _, _, into, clock = scaling(self.kind, t)
        answer: Tensor = self.unet(torch.cat([(over_images(into) * x).to(y.dtype), y], 1), clock)
        return answer

    def forward(self, y: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        times = torch.linspace(1.0, 0.0, self.steps + 1, dtype=torch.promote_types(y.dtype, torch.float32), device=y.device)
        x = y
        for step, (s, t) in enumerate(zip(times[:-1].split(1), times[1:].split(1), strict=True)):
            x0 = self.estimate(x, y, s.expand(len(y)))
            now, then = coefficients(self.kind, s), coefficients(self.kind, t)
            if step == 0:
                drawn = self.noise(y) if self.has_many_answers else 0.0
                x = then.a * y + then.b * x0 + then.c * drawn
                continue
            kept = then.a / now.a if self.kind == "flow" else then.c / now.c
            x = (then.a - kept * now.a) * y + (then.b - kept * now.b) * x0 + kept * x
        return x.clamp(-1.0, 1.0)

"""Adversarial losses and the penalties of discriminators: one function for each formula, scalars in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.errors import ConfigError
from diptych.losses.precision import without_autocast

Gan = Literal["vanilla", "lsgan", "hinge", "wgan"]
Logits = Float[Tensor, "n 1 p q"]
Judgement = Logits | Sequence[Float[Tensor, "_ 1 _ _"]]
"""What a discriminator says: logits, or those of each scale."""


def check_gan(kind: str) -> None:
    """Raise ConfigError unless kind is one of the adversarial losses."""
    if kind not in get_args(Gan):
        raise ConfigError(f"gan must be one of {', '.join(get_args(Gan))}, found {kind!r}")


def discriminator_loss(logits: Judgement, real: bool, kind: Gan = "vanilla") -> Float[Tensor, ""]:
    """What D minimises on logits of real or of generated patches; the sum over scales where there are several.

    vanilla: binary cross-entropy (Goodfellow et al. 2014, eq. 1). lsgan: (D - 1)^2 and D^2 (Mao et al. 2017, eq. 9 without
    the 1/2). hinge: max(0, 1 -+ D) (Lim & Ye 2017). wgan: -+D (Arjovsky et al. 2017), which needs gradient_penalty beside it.
    """
    check_gan(kind)
    if not isinstance(logits, Tensor):
        return torch.stack([discriminator_loss(scale, real, kind) for scale in logits]).sum()
    if kind == "vanilla":
        return F.softplus(-logits if real else logits).mean()
    if kind == "lsgan":
        return ((logits - float(real)) ** 2).mean()
    if kind == "hinge":
        return F.relu(1.0 - logits if real else 1.0 + logits).mean()
    return -logits.mean() if real else logits.mean()


def generator_loss(logits: Judgement, kind: Gan = "vanilla") -> Float[Tensor, ""]:
    """What G minimises on D's logits of its images: non-saturating for vanilla (-log D), (D - 1)^2 for lsgan, -D otherwise.

    The sum over scales where there are several.
    """
    check_gan(kind)
    if kind in ("vanilla", "lsgan"):
        return discriminator_loss(logits, True, kind)
    return -logits.mean() if isinstance(logits, Tensor) else torch.stack([-scale.mean() for scale in logits]).sum()


def gradient_penalty(
    judge: Callable[[Tensor], Judgement], real: Float[Tensor, "n c h w"], fake: Float[Tensor, "n c h w"]
) -> Float[Tensor, ""]:
    """(|grad D| - 1)^2 at random points between real and fake inputs of D (Gulrajani et al. 2017, eq. 3).

    One random point per sample; the norm is over all of a sample's inputs. Neither images nor generator receive a gradient.
    """
    mix = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
    between = torch.lerp(fake.detach(), real.detach(), mix).requires_grad_()
    gradient = _input_gradient(judge, between)
    return ((gradient.flatten(1).norm(dim=1) - 1.0) ** 2).mean()


def r1_penalty(judge: Callable[[Tensor], Judgement], real: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """|grad D|^2 / 2 at real inputs of D (Mescheder et al. 2018, eq. 9 with gamma = 1)."""
    gradient = _input_gradient(judge, real.detach().requires_grad_())
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2.0


def zero_centred_penalty(judge: Callable[[Tensor], Judgement], between: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """|grad y|^2 at points between real and fake inputs, y the mean of an image's logits (Torbunov et al. 2023, section 3.2)."""

    def mean_logit(x: Tensor) -> Tensor:
        logits = judge(x)
        assert isinstance(logits, Tensor)
        return logits.mean((1, 2, 3))

    gradient = _input_gradient(mean_logit, between.detach().requires_grad_())
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def _input_gradient(judge: Callable[[Tensor], Judgement], x: Tensor) -> Tensor:
    with without_autocast(x.device):  # a gradient of a gradient needs full precision
        judged = judge(x)
        logits = [judged] if isinstance(judged, Tensor) else judged
        return torch.autograd.grad([scale.sum() for scale in logits], x, create_graph=True)[0]

"""The losses of the papers: one function per formula, scalars in float32, nothing weighted here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.errors import ConfigError

Gan = Literal["vanilla", "lsgan", "hinge", "wgan"]
Pixel = Literal["l1", "bce"]
Logits = Float[Tensor, "n 1 p q"]
Images = Float[Tensor, "n c h w"]
NEVER = 1e-7  # a probability whose logarithm is still a number in float32


def check_gan(kind: str) -> None:
    """Raise ConfigError unless kind is one of the adversarial losses."""
    if kind not in get_args(Gan):
        raise ConfigError(f"gan must be one of {', '.join(get_args(Gan))}, found {kind!r}")


def check_pixel(kind: str, foreground: float) -> None:
    """Raise ConfigError unless kind is one of the pixel losses and the weight is positive."""
    if kind not in get_args(Pixel):
        raise ConfigError(f"pixel must be one of {', '.join(get_args(Pixel))}, found {kind!r}")
    if not foreground > 0:
        raise ConfigError(f"foreground is the weight of what is no background, more than 0, found {foreground}")


def discriminator_loss(logits: Logits, real: bool, kind: Gan = "vanilla") -> Float[Tensor, ""]:
    """What D minimises on logits of real or of generated patches.

    vanilla: binary cross-entropy (Goodfellow et al. 2014, eq. 1). lsgan: (D - 1)^2 and D^2 (Mao et al. 2017, eq. 9 without
    the 1/2). hinge: max(0, 1 -+ D) (Lim & Ye 2017). wgan: -+D (Arjovsky et al. 2017), which needs gradient_penalty beside it.
    """
    if kind == "vanilla":
        return F.softplus(-logits if real else logits).mean()
    if kind == "lsgan":
        return ((logits - float(real)) ** 2).mean()
    if kind == "hinge":
        return F.relu(1.0 - logits if real else 1.0 + logits).mean()
    return -logits.mean() if real else logits.mean()


def generator_loss(logits: Logits, kind: Gan = "vanilla") -> Float[Tensor, ""]:
    """What G minimises on D's logits of its images: non-saturating for vanilla (-log D), (D - 1)^2 for lsgan, -D otherwise."""
    if kind in ("vanilla", "lsgan"):
        return discriminator_loss(logits, True, kind)
    return -logits.mean()


def gradient_penalty(
    judge: Callable[[Tensor], Tensor], real: Float[Tensor, "n c h w"], fake: Float[Tensor, "n c h w"]
) -> Float[Tensor, ""]:
    """(|grad D| - 1)^2 at random points between real and fake inputs of D (Gulrajani et al. 2017, eq. 3).

    One random point per sample; the norm is over all of a sample's inputs. Neither images nor generator receive a gradient.
    """
    mix = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
    between = torch.lerp(fake.detach(), real.detach(), mix).requires_grad_()
    gradient = _input_gradient(judge, between)
    return ((gradient.flatten(1).norm(dim=1) - 1.0) ** 2).mean()


def r1_penalty(judge: Callable[[Tensor], Tensor], real: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """|grad D|^2 / 2 at real inputs of D (Mescheder et al. 2018, eq. 9 with gamma = 1)."""
    gradient = _input_gradient(judge, real.detach().requires_grad_())
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2.0


def _input_gradient(judge: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # a gradient of a gradient needs full precision
        return torch.autograd.grad(judge(x).sum(), x, create_graph=True)[0]


def l1(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return (x - y).abs().mean()


def pixel_loss(
    x: Images, y: Images, kind: Pixel = "l1", foreground: float = 1.0, counts: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """How far images x are from their targets y, both in [-1, 1]: a mean over all values.

    l1: the absolute difference. bce: the binary cross-entropy of values read as probabilities (v + 1) / 2. What differs from its
    image's background counts ``foreground`` times: of a drawing with few lines the plain mean is least for an empty page.
    Each image counts ``counts`` times, all once where it is not given.
    """
    if kind == "bce":
        p, t = ((x + 1) / 2).clamp(NEVER, 1 - NEVER), (y + 1) / 2
        losses = -(t * p.log() + (1 - t) * (1 - p).log())
    else:
        losses = (x - y).abs()
    losses = losses * weights_of(y, foreground) if foreground != 1.0 else losses
    return (losses if counts is None else losses * counts[:, None, None, None]).mean()


def structure_loss(x: Images, y: Float[Tensor, "n d h w"], enough: float = 0.2, rows: float = 0.7) -> Float[Tensor, ""]:
    """How much of what is drawn in x does not stand at the same place in y: enough - r, or 0 where r is more, and so for rows.

    r is the correlation of ink in an image and its translation, pooled over 2 pixels. Ink is the distance of a pixel from the
    background of its row, the median of each channel, whatever the colours of the two domains: staff lines, paper and black are
    background, and strokes of one pixel do not count. For rows it is the correlation of how far each is from the background
    of the image in the mean: lines must stay where they stand, and what is between them. Two drawings of one thing reach
    ``enough`` and ``rows``, and are free from there on. It keeps an unpaired translator from moving or exchanging what it sees,
    as the self-regularisation of Shrivastava et al. 2017 (eq. 3) does for domains of one kind.
    """
    ink = F.relu(enough - _correlation(*(F.avg_pool2d(_solid_ink(z), 2, 1).flatten(1) for z in (x, y))))
    return (ink + F.relu(rows - _correlation(*(_row_ink(z) for z in (x, y))))).mean()


def _correlation(x: Float[Tensor, "n k"], y: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
    return F.cosine_similarity(x, y, dim=1, eps=1e-6)


def _row_ink(x: Images) -> Float[Tensor, "n h"]:
    return (x - background(x)).abs().mean((1, 3))


def _solid_ink(x: Images) -> Float[Tensor, "n 1 p q"]:
    ink = (x - x.median(3, keepdim=True).values).abs().mean(1, keepdim=True)
    return -F.max_pool2d(-ink, 2, 1)


def weights_of(y: Images, foreground: float) -> Images:
    """1 where a target has its background, the median of each image's channel, and ``foreground`` elsewhere."""
    return torch.where(y == background(y), 1.0, foreground)


def background(x: Images) -> Float[Tensor, "n c 1 1"]:
    """The median of each image's channels, which a drawing's paper is."""
    return x.flatten(2).median(2).values[..., None, None]

"""The losses of the papers: one function or value per formula, scalars in float32. Weights are the callers' business.

LOSSES is the table of those that compare two images of a training step; a recipe adds any of them to any method (``extra``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.errors import ConfigError
from diptych.settings import Positive, Rule, check_settings

Gan = Literal["vanilla", "lsgan", "hinge", "wgan"]
Logits = Float[Tensor, "n 1 p q"]
Judgement = Logits | Sequence[Logits]
"""What a discriminator says: logits, or those of each scale."""
Images = Float[Tensor, "n c h w"]
Correlation = Annotated[float, Rule(lambda r: -1.0 <= r <= 1.0, "between -1 and 1, as correlations are")]
SMALLEST_PROBABILITY = 2.0**-23  # next to 1 in float32; its logarithm is still a number


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


def _input_gradient(judge: Callable[[Tensor], Judgement], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # a gradient of a gradient needs full precision
        judged = judge(x)
        logits = [judged] if isinstance(judged, Tensor) else judged
        return torch.autograd.grad([scale.sum() for scale in logits], x, create_graph=True)[0]


def l1(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return (x - y).abs().mean()


class Loss(Protocol):
    """How far an image x that a generator made is from an image y of the same step: a scalar to be made small.

    Each is a class whose constructor's arguments are its options: a frozen dataclass, or an nn.Module where a network judges.
    Such a network is frozen; it is neither trained nor saved with the method, and moves to where the images are. x and y may also
    be what networks found in two images, such as lists of features, where a method names those.
    """

    def __call__(self, x: Tensor, y: Tensor) -> Float[Tensor, ""]: ...


@dataclass(frozen=True)
class PixelLoss:
    """The mean distance of images from their targets, pixel by pixel; it takes the place of L1 in a method's objective.

    ``kind``: l1 is the absolute difference; bce is the binary cross-entropy of values read as probabilities (v + 1) / 2.
    ``foreground``: the weight of non-background pixels, those that differ from the median of their image's channel. An empty page
    minimises the plain mean of a drawing with few lines; a weight above 1 mends that.
    """

    kind: Literal["l1", "bce"] = "l1"
    foreground: Positive = 1.0

    def __post_init__(self) -> None:
        check_settings(self, "pixel_loss")

    def __call__(self, x: Images, y: Images, counts: Float[Tensor, " n"] | None = None) -> Float[Tensor, ""]:
        """The loss of images x against targets y, both in [-1, 1]; ``counts`` weights each image, 1 where it is not given."""
        if self.kind == "bce":
            p, t = (x + 1) / 2, (y + 1) / 2
            # A saturated probability is kept from 0 and 1, and its gradient passes: nets.blocks.bounded makes it the logit's.
            p = p + (p.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY) - p).detach()
            losses = -(t * p.log() + (1 - t) * (1 - p).log())
        else:
            losses = (x - y).abs()
        if self.foreground != 1.0:
            losses = losses * torch.where(y == background(y), 1.0, self.foreground)
        return (losses if counts is None else losses * counts[:, None, None, None]).mean()


@dataclass(frozen=True)
class StructureLoss:
    """Keeps what is drawn in an image where it stands in another: max(0, enough - r), and the same for rows.

    r is the correlation of the ink in an image and in its translation, pooled over 2 pixels. Ink is the distance of a pixel from
    the background of its row, the median of each channel, whatever the colours of the two domains are: staff lines, paper and
    black are background, and strokes of one pixel do not count. For rows, r is the correlation of how far each row is from the
    background of the image on average, so that lines stay in their rows. Two drawings of one thing reach the correlations
    ``enough`` and ``rows`` and are free from there on. The loss keeps an unpaired translator from moving or exchanging what it
    sees, as the self-regularisation of Shrivastava et al. 2017 (eq. 3) does for domains of one kind.
    """

    enough: Correlation = 0.2
    rows: Correlation = 0.7

    def __post_init__(self) -> None:
        check_settings(self, "structure")

    def __call__(self, x: Images, y: Float[Tensor, "n d h w"]) -> Float[Tensor, ""]:
        """The mean over images; x and y have the same size and may differ in channels."""
        ink = F.relu(self.enough - _correlation(*(F.avg_pool2d(_solid_ink(z), 2, 1).flatten(1) for z in (y, x))))
        return (ink + F.relu(self.rows - _correlation(*(_row_ink(z) for z in (y, x))))).mean()


L1 = PixelLoss()
"""The pixel loss of the published objectives."""
LOSSES: dict[str, Callable[..., Loss]] = {"pixel": PixelLoss, "structure": StructureLoss}
"""Losses between two images, by the name that a recipe's ``extra`` gives them; called with their options, each makes a Loss."""


def _correlation(x: Float[Tensor, "n k"], y: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
    return F.cosine_similarity(x, y, dim=1, eps=1e-6)


def _row_ink(x: Images) -> Float[Tensor, "n h"]:
    return (x - background(x)).abs().mean((1, 3))


def _solid_ink(x: Images) -> Float[Tensor, "n 1 p q"]:
    ink = (x - x.median(3, keepdim=True).values).abs().mean(1, keepdim=True)
    return -F.max_pool2d(-ink, 2, 1)


def background(x: Images) -> Float[Tensor, "n c 1 1"]:
    """The median of each channel of each image, which is the paper of a drawing."""
    return x.flatten(2).median(2).values[..., None, None]

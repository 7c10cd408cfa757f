"""What a method is: its networks, which of them each phase updates, and its losses in update order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import Gan, NextFrames, discriminator_loss, gradient_penalty, r1_penalty
from diptych.methods.discriminators import PLAIN, EquippedDiscriminator, Pace
from diptych.methods.extra import ExtraLosses
from diptych.nets import Norm, apply_each
from diptych.nets.frozen import frozen as frozen
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.settings import Size

log = logging.getLogger(__name__)
FILL = -1.0  # what Domain.encode makes of pixels without data
Terms = dict[str, Tensor]
"""Scalar losses by name, already weighted: they add up to the phase's loss."""


class Batch(NamedTuple):
    """Images of both domains in [-1, 1]; for paired data ``a[i]`` belongs to ``b[i]``.

    ``known``: 1 where it does also among unpaired data, else 0; None where no pairs are known. ``valid``: where both images
    of a sample have data; elsewhere they hold one value, and so do the generators' images; None where all pixels have.
    ``next_a`` and ``next_b`` are the frames that follow the images in their films, where an added loss asks for them.
    """

    a: Float[Tensor, "n ca h w"]
    b: Float[Tensor, "n cb h w"]
    known: Float[Tensor, " n"] | None = None
    valid: Bool[Tensor, "n 1 h w"] | None = None
    next_a: NextFrames | None = None
    next_b: NextFrames | None = None

    def filled(self, x: Float[Tensor, "m c h w"], fill: float = FILL) -> Float[Tensor, "m c h w"]:
        """Put one value where the batch has no data into what was made of its samples, once or several times in their order."""
        return x if self.valid is None else x.where(self.valid.repeat(len(x) // len(self.valid), 1, 1, 1), fill)


class Method(nn.Module, ABC):
    """Networks and losses of one paper. Abstract; every subclass is final.

    ``extra`` makes the terms that a recipe adds: the generators' phase yields ``terms | self.extra(fake_b=fake_b, ...)`` with
    every image that its configuration's ``images`` names. ``masks``: pixels without data are in none of its losses. Training
    sees to that where its losses call generators (diptych.training.masking); what else makes images, it gives to Batch.filled.
    """

    masks: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.extra = ExtraLosses()  # Recipe.build puts the recipe's in its place, here and in the next line
        self.pace = Pace(PLAIN)
        self.turns: tuple[float, ...] = ()  # shares of the training after which the step computes something else
        self.computes = 1  # raised where the same settings train otherwise than in an earlier version; a resumed run says so

    @abstractmethod
    def generators(self) -> dict[str, nn.Module]:
        """The translators that a snapshot keeps, by direction: ``a2b``, ``b2a`` or both."""

    @abstractmethod
    def phases(self) -> dict[str, list[nn.Module]]:
        """Which networks each optimizer step updates; together they hold every parameter once."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[tuple[str, Terms]]:
        """Yield each phase's terms in update order. The loop takes one optimizer step on that phase before the next line runs."""


class MethodConfig(Protocol):
    """A frozen dataclass of a method's settings that can build it.

    ``paired``: it needs aligned pairs. ``mode``: how its translators are applied unless asked otherwise (diptych.nets.modes).
    ``images``: the names of the images in its step, between which a recipe may add losses; empty where it offers none.
    """

    name: ClassVar[str]
    paired: ClassVar[bool]
    mode: ClassVar[Mode]
    images: ClassVar[tuple[str, ...]]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def build(self, a: Domain, b: Domain, crop_size: Size) -> Method:
        """The method with freshly initialised networks, for training crops of crop_size: a side, or (height, width)."""
        ...


def check_critic(gan: Gan, norm: Norm) -> None:
    """Raise ConfigError for wgan with BatchNorm: its penalty is on each sample's own gradient (Gulrajani et al. 2017)."""
    if gan == "wgan" and norm == "batch":
        raise ConfigError(
            "method.gan wgan penalises each image's own gradient, which BatchNorm mixes with others'; set method.norm instance"
        )


def with_identity(weight: float, a: Domain, b: Domain) -> bool:
    """Whether a method has its identity terms, which compare images across domains. Where that cannot be, it is said."""
    if weight and a.channels != b.channels:
        log.warning("identity loss is off: domain a has %d channels and b has %d", a.channels, b.channels)
    return bool(weight) and a.channels == b.channels


def of_both(of_a: Terms, of_b: Terms) -> Terms:
    """The terms of both domains' discriminators, each named by its domain."""
    return {f"{name}_a": term for name, term in of_a.items()} | {f"{name}_b": term for name, term in of_b.items()}


def discriminator_terms(D: nn.Module, real: Tensor, fake: Tensor, gan: Gan, lambda_gp: float, lambda_r1: float) -> Terms:
    """A discriminator's objective, with wgan's gradient penalty and R1 where it is asked for.

    It is halved as in both papers to slow D against G, except for wgan, whose critic should be ahead and whose penalty has the
    published weight against the whole of it. real and fake are what D takes, (n, c, h, w); fake must come without gradient.
    D may judge at several scales and return a list of logits; its objective is then the sum over scales.
    """
    on_fake, on_real = apply_each(D, fake, real)
    share = 1.0 if gan == "wgan" else 0.5
    terms = {"real": share * discriminator_loss(on_real, True, gan), "fake": share * discriminator_loss(on_fake, False, gan)}
    if gan == "wgan":
        terms["gp"] = lambda_gp * gradient_penalty(D, real, fake)
    observe_real(D, on_real, gan)
    every = 1
    if isinstance(D, EquippedDiscriminator):
        every = D.pace.config.r1_every if D.pace.regularised else 0
    if lambda_r1 and every:
        terms["r1"] = lambda_r1 * every * r1_penalty(D, real)
    return terms


def observe_real(D: nn.Module, on_real: Any, gan: Gan) -> None:
    """Let adaptive augmentation, where a recipe asks for it, follow D's logits on real images, of one or several scales."""
    if isinstance(D, EquippedDiscriminator) and D.probability:
        scales = [on_real] if isinstance(on_real, Tensor) else on_real
        D.probability.adapt(torch.cat([logits.flatten(1) for logits in scales], 1), boundary=0.5 if gan == "lsgan" else 0.0)

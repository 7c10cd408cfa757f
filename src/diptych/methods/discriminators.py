"""What a recipe adds to the discriminators of any method: spectral norm, augmentation, and how often they learn.

    train:
      discriminator: {spectral_norm: true, augment: "color,translation,cutout", ada_target: 0.6, r1_every: 16, updates: 5}

A method needs no word for it: `equip` finds its discriminators in the phases that train no generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, final

import torch
from torch import Tensor, nn

from diptych.diffaugment import AUGMENTATIONS, AdaptiveProbability, augment, kinds_of
from diptych.errors import ConfigError
from diptych.nets.spectral import spectrally_normed
from diptych.settings import Count, Fraction, Needs, Rule, check_settings

if TYPE_CHECKING:
    from diptych.methods.base import Method

Policy = Annotated[
    str,
    Rule(
        lambda text: all(word in AUGMENTATIONS for word in kinds_of(text)),
        f"words among {', '.join(AUGMENTATIONS)}, with commas between them",
    ),
]
"""Augmentations of what a discriminator sees, such as ``color,translation,cutout``; empty for none."""
ADAPTIVE = Needs(lambda recipe: recipe.train.discriminator.ada_target > 0, "train.discriminator.ada_target above 0")
R1 = Needs(lambda recipe: getattr(recipe.method, "lambda_r1", 0.0) > 0, "method.lambda_r1 above 0")


@dataclass(frozen=True)
class DiscriminatorConfig:
    """How discriminators are regularised, whatever the method; the defaults add nothing.

    ``spectral_norm`` divides each of their weights by its largest singular value (Miyato et al. 2018). ``augment`` names
    the augmentations of real and generated images (DiffAugment); an ``ada_target`` above 0 makes their probability follow D's
    overfitting (ADA; the published target is 0.6), from 0 to 1 in no less than ``ada_images`` images. ``r1_every``: R1, where
    the method's lambda_r1 asks for it, is computed in every so many steps and counts as much more there (Karras et al. 2020).
    ``updates``: discriminators learn in every step, generators in every so many; WGAN-GP's published number is 5.
    """

    spectral_norm: bool = False
    augment: Policy = ""
    ada_target: Fraction = 0.0
    ada_images: Annotated[Count, ADAPTIVE] = 500_000
    r1_every: Annotated[Count, R1] = 1
    updates: Count = 1

    def __post_init__(self) -> None:
        check_settings(self, "train.discriminator")
        if self.ada_target and not self.augment:
            raise ConfigError(
                "train.discriminator.ada_target adapts the probability of augmentations, and there are none; "
                "set train.discriminator.augment, such as color,translation,cutout"
            )


PLAIN = DiscriminatorConfig()
"""Discriminators as their method builds them."""


@final
class Pace:
    """Which of its rarer parts a step has, and how far the training is; the loop says which step it is.

    ``progress`` is the share of the training that is over, from 0 to 1.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        self.config, self.step, self.progress = config, 0, 0.0
        self._on_device: dict[torch.device, Tensor] = {}  # where a CUDA graph reads the progress

    def set_progress(self, share: float) -> None:
        """Say which share of the training is over."""
        self.progress = share
        for progress in self._on_device.values():
            progress.fill_(share)

    def progress_on(self, device: torch.device) -> Tensor:
        """The progress as a number on a device: a formula of it stays right where the step is replayed as a CUDA graph."""
        if device not in self._on_device:
            self._on_device[device] = torch.full((), self.progress, device=device)
        return self._on_device[device]

    @property
    def generators_learn(self) -> bool:
        """Whether generators are updated in this step; their discriminators have learnt from as many batches by then."""
        return (self.step + 1) % self.config.updates == 0

    @property
    def regularised(self) -> bool:
        """Whether R1 is computed in this step."""
        return self.step % self.config.r1_every == 0

    def kind(self, turns: Sequence[float] = ()) -> tuple[bool, bool, int]:
        """Steps of one kind compute the same; a CUDA graph is recorded for each. ``turns`` are a method's own, as progress."""
        return self.generators_learn, self.regularised, sum(self.progress >= turn for turn in turns)


@final
class EquippedDiscriminator(nn.Module):
    """A discriminator that sees augmented images; its first input is the image, and other inputs pass as they are."""

    def __init__(self, net: nn.Module, config: DiscriminatorConfig, pace: Pace) -> None:
        super().__init__()
        self.net, self.policy, self.pace = net, config.augment, pace
        self.probability = AdaptiveProbability(config.ada_target, config.ada_images) if config.ada_target else None

    def forward(self, x: Tensor, *rest: Any) -> Any:
        return self.net(augment(x, self.policy, self.probability.value if self.probability else 1.0), *rest)

    def features(self, x: Tensor) -> Any:
        """What the layers find in images as they are: two images that are compared must not be augmented each in its own way."""
        return self.net.features(x)  # type: ignore[operator]


def equip(method: Method, config: DiscriminatorConfig) -> Method:
    """Give a method's discriminators what a recipe asks for, in place: all networks of the phases that train no generator.

    Raises ConfigError when there is something to do and no discriminator.
    """
    method.pace = Pace(config)
    if config == PLAIN:
        return method
    judges = {id(net) for phase in discriminator_phases(method) for net in method.phases()[phase]}
    if not judges:
        raise ConfigError(
            "train.discriminator changes how discriminators learn, and with these settings the method has none; leave it out"
        )
    for name, net in list(method.named_children()):
        if id(net) not in judges:
            continue
        net = spectrally_normed(net) if config.spectral_norm else net
        setattr(method, name, EquippedDiscriminator(net, config, method.pace))
    return method


def discriminator_phases(method: Method) -> list[str]:
    """The phases that train no generator."""
    generators = {id(net) for net in method.generators().values()}
    return [phase for phase, nets in method.phases().items() if not generators & {id(net) for net in nets}]


def logits_and_features(D: nn.Module, x: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
    """What a discriminator of several scales says of images, and what its layers find in them as they are.

    That is one pass, unless a recipe lets it judge augmented images.
    """
    found = D.features(x)  # type: ignore[operator]
    augmented = isinstance(D, EquippedDiscriminator) and D.policy
    return (D(x) if augmented else [scale[-1] for scale in found]), found

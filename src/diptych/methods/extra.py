"""Terms that a recipe adds to any method's own: weight * loss(x, y) between two images that the method's step names.

    extra:
    - {loss: structure, between: [fake_b, real_a], weight: 10, enough: 0.2}

Losses come from the table diptych.losses.LOSSES, names from the method (``MethodConfig.images``).
``schedule: [[0, 0], [0.1, 1]]`` lets the weight grow from 0 to its whole over the first tenth of the training: points of (share
of the training, factor), linear between them. ``beside: real_a`` puts that image beside both, as a discriminator of pairs sees
them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import LOSSES, Loss, NeedsNetwork, NeedsSize, NeedsTranslator, Networks, NextFrames
from diptych.messages import nearest
from diptych.settings import Size, Weight, check_settings, sides

SETTINGS = ("loss", "between", "weight", "schedule", "beside")


@dataclass(frozen=True)
class Extra:
    """One added term. ``loss`` is a name in LOSSES, ``options`` its own settings by name; ``between`` names first the image that
    is to change and then the image that it is compared with.

    Raises ConfigError for a loss, an option or a value that is not known, naming the nearest.
    """

    loss: str
    between: tuple[str, ...]
    weight: Weight = 1.0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    schedule: tuple[tuple[float, float], ...] = ()
    beside: str = ""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(f"extra: no loss is called {self.loss!r}; {hint(self.loss, LOSSES)}")
        known = list(inspect.signature(LOSSES[self.loss]).parameters)
        for option in self.options:
            if option not in known:
                raise ConfigError(f"extra: {self.loss} has no option {option!r}; {hint(option, [*SETTINGS[1:], *known])}")
        check_settings(self, f"extra: {self.loss}")
        self._check_schedule()
        wanted = num_images(self.loss)
        if len(self.between) != wanted:
            few = (
                f"names one image, such as [{'real_a' if self.loss == 'temporal' else 'fake_b'}]"
                if wanted == 1
                else "names two images, such as [fake_b, real_b]"
            )
            raise ConfigError(f"extra: {self.loss}: between {few}; found {list(self.between)}")
        if is_dataclass(LOSSES[self.loss]):  # a network is made only where it is trained with
            self._configured()

    @classmethod
    def from_dict(cls, values: Any) -> Extra:
        """Undo to_dict; ``weight`` and options may be missing."""
        if not isinstance(values, Mapping) or not {"loss", "between"} <= values.keys():
            raise ConfigError(f"extra: a term needs loss and between, as in {{loss: pixel, between: [x, y]}}; found {values!r}")
        between, schedule = values["between"], values.get("schedule", [])
        if not isinstance(between, list | tuple) or not all(isinstance(name, str) for name in between):
            raise ConfigError(f"extra: {values['loss']}: between is a list of names, such as [fake_b, real_b]; found {between!r}")
        points = schedule if isinstance(schedule, list | tuple) else [schedule]
        if not all(isinstance(point, list | tuple) and len(point) == 2 for point in points):
            raise ConfigError(f"extra: {values['loss']}: schedule has points such as [[0, 0], [0.1, 1]]; found {schedule!r}")
        options = {name: value for name, value in values.items() if name not in SETTINGS}
        return cls(
            str(values["loss"]),
            tuple(between),
            values.get("weight", 1.0),
            options,
            tuple((share, factor) for share, factor in points),
            values.get("beside", ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the options stand beside the rest."""
        rarer: dict[str, Any] = {"schedule": [list(point) for point in self.schedule]} if self.schedule else {}
        rarer |= {"beside": self.beside} if self.beside else {}
        return {"loss": self.loss, "between": list(self.between), "weight": self.weight} | rarer | dict(self.options)

    def check_names(self, method: str, images: Collection[str]) -> None:
        """Raise ConfigError unless ``between`` names images of the method's step."""
        if not images:
            raise ConfigError(f"extra: {method} names no images of its step, so that no loss can be added to it")
        for name in (*self.between, *filter(None, [self.beside])):
            if name not in images:
                raise ConfigError(f"extra: {self.loss}: {method} has no image called {name!r}; {hint(name, images)}")

    def check_crop(self, crop_size: Size) -> None:
        """Raise ConfigError where training crops are too small for the loss."""
        made = self._configured() if is_dataclass(LOSSES[self.loss]) else None
        if isinstance(made, NeedsSize):
            made.check_size(*sides(crop_size))

    def make(self, networks: Networks | None = None) -> Loss:
        """The loss with its options; one that compares by a network asks ``networks`` for it."""
        made = self._configured()
        if not isinstance(made, NeedsNetwork | NeedsTranslator):
            return made
        assert networks is not None, "recipes hand in what finds networks"
        try:
            if isinstance(made, NeedsTranslator):
                return made.with_translator(networks.translator(self.loss, self.between[0]))
            return made.with_network(networks)
        except ConfigError as error:
            raise ConfigError(f"extra: {error}") from error

    def _configured(self) -> Any:
        try:
            return LOSSES[self.loss](**self.options)
        except ConfigError as error:  # pixel is also the setting method.pixel_loss
            raise ConfigError(f"extra: {str(error).replace('pixel_loss.', 'pixel.')}") from error

    def factor_at(self, share: float) -> float:
        """By what the weight is multiplied after a share of the training, from 0 to 1: linear between the schedule's points."""
        if not self.schedule:
            return 1.0
        shares, factors = zip(*self.schedule, strict=True)
        return float(np.interp(share, shares, factors))

    def _check_schedule(self) -> None:
        shares = [share for share, _ in self.schedule]
        numbers = all(isinstance(x, int | float) and math.isfinite(x) and x >= 0 for point in self.schedule for x in point)
        if not numbers or shares != sorted(set(shares)) or any(share > 1 for share in shares):
            found = [list(point) for point in self.schedule]
            raise ConfigError(
                f"extra: {self.loss}.schedule must have growing shares of the training from 0 to 1 and factors of at least 0, "
                f"found {found}"
            )

    @property
    def name(self) -> str:
        """What the term is called in statistics: ``structure_fake_b_real_a``."""
        return "_".join((self.loss, *self.between))


@final
class ExtraLosses:
    """Makes the added terms from the images of a step.

    It is deliberately no module: a loss that is a network is neither trained nor saved with the method.
    """

    def __init__(self, wanted: Sequence[Extra] = (), networks: Networks | None = None) -> None:
        self.losses = [(extra, extra.make(networks)) for extra in wanted]
        self.progress = 0.0
        self.factors: dict[str, Tensor] = {}  # on the device, where a CUDA graph reads them
        self.following: dict[str, NextFrames | None] = {}  # by source image

    def set_progress(self, share: float) -> None:
        """Say which share of the training is over, from 0 to 1, for weights that follow a schedule."""
        self.progress = share
        for extra, _ in self.losses:
            if extra.name in self.factors:
                self.factors[extra.name].fill_(extra.factor_at(share))

    @contextmanager
    def beside(self, next_a: NextFrames | None, next_b: NextFrames | None) -> Iterator[None]:
        """Inside this block, compare the step's images with the frames that follow them, where a term asks for that.

        So a method's step need not know of them.
        """
        self.following = {"real_a": next_a, "real_b": next_b}
        try:
            yield
        finally:
            self.following = {}

    def __call__(self, **images: Any) -> dict[str, Tensor]:
        """The terms, weighted, from the images of a step by name; an image that this step does not make may be None.

        Raises ConfigError where a term needs that image.
        """
        terms, learns = {}, any(image is not None and image.requires_grad for image in images.values())
        for extra, loss in self.losses:
            for name in (*extra.between, *filter(None, [extra.beside])):
                if images.get(name) is None:
                    had = ", ".join(found for found, image in images.items() if image is not None)
                    raise ConfigError(f"extra: {extra.loss}: with these settings the step makes no {name}; it has {had}")
            compared = [images[name] for name in extra.between]
            if extra.beside:
                compared = [torch.cat([images[extra.beside], image], 1) for image in compared]
            if isinstance(loss, nn.Module):
                loss.to(compared[0].device)
            _check_channels(extra, compared)
            following = self.following.get(extra.between[0]) if extra.loss == "temporal" else None
            value = loss(*compared) if following is None else loss(*compared, following)
            if learns and not value.requires_grad and torch.is_grad_enabled():
                raise ConfigError(
                    f"extra: {extra.loss} between {' and '.join(extra.between)}: no network learns from it; name first an image "
                    "that a network makes and that is to change, such as fake_b"
                )
            terms[extra.name] = extra.weight * self._factor(extra, compared[0]) * value
        return terms

    def _factor(self, extra: Extra, image: Tensor) -> Tensor | float:
        if not extra.schedule:
            return 1.0
        if extra.name not in self.factors:
            self.factors[extra.name] = torch.full((), extra.factor_at(self.progress), device=image.device)
        return self.factors[extra.name]


def _check_channels(extra: Extra, compared: Sequence[Tensor]) -> None:
    """Raise ConfigError where a loss compares channel by channel and the images have other numbers of channels."""
    channels = [image.shape[1] for image in compared]
    if len(set(channels)) > 1 and not getattr(LOSSES[extra.loss], "any_channels", False):
        found = " and ".join(f"{name} has {count}" for name, count in zip(extra.between, channels, strict=True))
        able = ", ".join(name for name, loss in LOSSES.items() if getattr(loss, "any_channels", False))
        raise ConfigError(f"extra: {extra.loss} compares channel by channel, and {found}; {able} do not")


def num_images(loss: str) -> int:
    """How many images a loss looks at: two, or one."""
    return int(getattr(LOSSES[loss], "num_images", 2))


def hint(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the closest match, or all that are known."""
    near = nearest(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"

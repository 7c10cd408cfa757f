"""Terms that a recipe adds to any method's own: weight * loss(x, y) between two images that the method's step names.

    extra:
    - {loss: structure, between: [fake_b, real_a], weight: 10, enough: 0.2}

Losses come from the table diptych.losses.LOSSES, names from the method (``MethodConfig.images``).
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from difflib import get_close_matches
from typing import Any, final

from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.losses import LOSSES, Loss
from diptych.settings import Weight, check_settings

SETTINGS = ("loss", "between", "weight")


@dataclass(frozen=True)
class Extra:
    """One added term. ``loss`` is a name in LOSSES, ``options`` its own settings by name; ``between`` names first the image that
    is to change and then the image that it is compared with.

    Raises ConfigError for a loss, an option or a value that is not known, naming the nearest.
    """

    loss: str
    between: tuple[str, str]
    weight: Weight = 1.0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(f"extra: no loss is called {self.loss!r}; {nearest(self.loss, LOSSES)}")
        known = list(inspect.signature(LOSSES[self.loss]).parameters)
        for option in self.options:
            if option not in known:
                raise ConfigError(f"extra: {self.loss} has no option {option!r}; {nearest(option, [*SETTINGS[1:], *known])}")
        check_settings(self, f"extra: {self.loss}")
        if is_dataclass(LOSSES[self.loss]):  # a network is made only where it is trained with
            self.make()

    @classmethod
    def from_dict(cls, values: Any) -> Extra:
        """Undo to_dict; ``weight`` and options may be missing."""
        if not isinstance(values, Mapping) or not {"loss", "between"} <= values.keys():
            raise ConfigError(f"extra: a term needs loss and between, as in {{loss: pixel, between: [x, y]}}; found {values!r}")
        between = values["between"]
        if not isinstance(between, list | tuple) or len(between) != 2 or not all(isinstance(name, str) for name in between):
            raise ConfigError(f"extra: {values['loss']}: between names two images, such as [fake_b, real_b]; found {between!r}")
        options = {name: value for name, value in values.items() if name not in SETTINGS}
        return cls(str(values["loss"]), (between[0], between[1]), values.get("weight", 1.0), options)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the options stand beside the rest."""
        return {"loss": self.loss, "between": list(self.between), "weight": self.weight} | dict(self.options)

    def check_names(self, method: str, images: Collection[str]) -> None:
        """Raise ConfigError unless ``between`` names images of the method's step."""
        if not images:
            raise ConfigError(f"extra: {method} names no images of its step, so that no loss can be added to it")
        for name in self.between:
            if name not in images:
                raise ConfigError(f"extra: {self.loss}: {method} has no image called {name!r}; {nearest(name, images)}")

    def make(self) -> Loss:
        """The loss, with its options."""
        try:
            return LOSSES[self.loss](**self.options)
        except ConfigError as error:
            raise ConfigError(f"extra: {error}") from error

    @property
    def name(self) -> str:
        """What the term is called in statistics: ``structure_fake_b_real_a``."""
        return "_".join((self.loss, *self.between))


@final
class ExtraLosses:
    """Makes the added terms from the images of a step.

    It is deliberately no module: a loss that is a network is neither trained nor saved with the method.
    """

    def __init__(self, wanted: Sequence[Extra] = ()) -> None:
        self.losses = [(extra, extra.make()) for extra in wanted]

    def __call__(self, **images: Any) -> dict[str, Tensor]:
        """The terms, weighted, from the images of a step by name; an image that this step does not make may be None.

        Raises ConfigError where a term needs that image.
        """
        terms = {}
        for extra, loss in self.losses:
            for name in extra.between:
                if images.get(name) is None:
                    had = ", ".join(found for found, image in images.items() if image is not None)
                    raise ConfigError(f"extra: {extra.loss}: with these settings the step makes no {name}; it has {had}")
            x, y = (images[name] for name in extra.between)
            if isinstance(loss, nn.Module):
                loss.to(y.device)
            terms[extra.name] = extra.weight * loss(x, y)
        return terms


def nearest(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the closest match, or all that are known."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"

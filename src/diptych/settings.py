"""The rules that settings follow, as types of their fields: ``ngf: Count = 64`` must be at least 1.

A configuration is a frozen dataclass that calls ``check_settings(self, "method")`` in its ``__post_init__``. A wrong value is
then one line that names the setting, the rule and the value, before anything is read or built. A setting that has an effect only
beside others says so in its type too, by ``Needs``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from diptych.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """Which values a setting may have. ``text`` completes the sentence "it must be ..."."""

    holds: Callable[[Any], bool]
    text: str


@dataclass(frozen=True)
class Needs:
    """What else a recipe must say before a setting has an effect. ``text`` completes "it has no effect without ..."."""

    holds: Callable[[Any], bool]
    text: str


Count = Annotated[int, Rule(lambda n: n >= 1, "at least 1")]
"""How many of something that must be there."""
Whole = Annotated[int, Rule(lambda n: n >= 0, "at least 0")]
"""How many of something that may be absent."""
Seed = Annotated[Whole, Rule(lambda n: n < 2**63, "below 2^63")]
"""The seed of a random generator."""
Weight = Annotated[float, Rule(lambda x: x >= 0.0, "at least 0")]
"""The weight of a term; 0 leaves the term out."""
PairWeight = Annotated[Weight, Needs(lambda recipe: recipe.data.pairs > 0, "data.pairs above 0")]
"""The weight of a loss on known pairs."""
PenaltyWeight = Annotated[Weight, Needs(lambda recipe: recipe.method.gan == "wgan", "method.gan wgan")]
"""The weight of the gradient penalty of WGAN-GP."""
Positive = Annotated[float, Rule(lambda x: x > 0.0, "greater than 0")]
"""A factor that cannot be 0."""
Fraction = Annotated[float, Rule(lambda x: 0.0 <= x < 1.0, "at least 0 and below 1")]
"""How much of a running average is kept in each step."""
Size = int | tuple[int, int]
"""The side of a square, or a height and a width, in pixels."""


def sides(size: Size) -> tuple[int, int]:
    """The height and width that a size means."""
    return (size, size) if isinstance(size, int) else size


def check_settings(settings: Any, part: str) -> None:
    """Raise ConfigError unless every field of a dataclass has a value of its type that follows the rules of its annotation.

    Checked are None (which only a type that names it may have), numbers (finite, and whole where the type is int), Literals,
    tuples of numbers, and Rules in Annotated.
    ``part`` is the settings' place in a recipe, such as ``method``; messages begin with ``method.ngf``.
    """
    hints = get_type_hints(type(settings), include_extras=True)
    for field in fields(settings):
        _check(f"{part}.{field.name}", getattr(settings, field.name), hints[field.name])


def without_effect(recipe: Any, names: Iterable[str]) -> Iterator[str]:
    """One line for each of the named settings of a recipe, such as ``method.lambda_gp``, that has no effect beside the others."""
    for name in names:
        settings = recipe
        for key in name.split("."):
            hint = get_type_hints(type(settings), include_extras=True).get(key)
            for need in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
                if isinstance(need, Needs) and not need.holds(recipe):
                    yield f"{name} has no effect without {need.text}; set that too, or leave this out"
            settings = getattr(settings, key, None)


def _check(name: str, value: Any, hint: Any) -> None:
    kind, *rules = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if value is None and kind is not Any and not {None, type(None)} & set(get_args(kind)):
        raise ConfigError(f"{name} must have a value, found None")
    if get_origin(kind) is tuple and Ellipsis not in get_args(kind):
        for index, (item, item_hint) in enumerate(zip(value, get_args(kind), strict=False)):
            _check(f"{name}[{index}]", item, item_hint)
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ConfigError(f"{name} must be one of {', '.join(map(str, get_args(kind)))}, found {value!r}")
    if kind in (int, float) and not _is_number(value, kind):
        raise ConfigError(f"{name} must be a {'whole' if kind is int else 'finite'} number, found {value!r}")
    for rule in rules:
        if isinstance(rule, Rule) and not rule.holds(value):
            raise ConfigError(f"{name} must be {rule.text}, found {value!r}")


def _is_number(value: Any, kind: type) -> bool:
    allowed = int if kind is int else (int, float)
    try:
        return isinstance(value, allowed) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False

"""What files of a run must hold, as types: a file that was edited or damaged is refused at the door, in one line.

A schema is a pydantic TypeAdapter of a TypedDict; it stands beside the function that reads the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from diptych.choices import Alpha, Axis, Icc
from diptych.errors import DataError, DiptychError
from diptych.files import read_bounded
from diptych.messages import show

T = TypeVar("T")
MOST_PIXELS = 1_000_000  # of one side of an image
MOST_BYTES = 2**30  # of a JSON file
MOST = 8192  # channels, layers or anything else that a network counts
Finite = Annotated[float, Field(allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=0, lt=2**53, strict=True)]
"""A count that every program can read back from JSON."""
Pixels = Annotated[int, Field(ge=1, le=MOST_PIXELS, strict=True)]
"""The height or width of an image."""
MAPPING: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


class DomainValues(TypedDict):
    """The fields of a Domain, whose own rules come after the types; earlier versions wrote fewer."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    channels: NotRequired[Annotated[int, Field(ge=1, le=MOST, strict=True)]]
    dtype: NotRequired[str]
    low: NotRequired[Finite]
    high: NotRequired[Finite]
    classes: NotRequired[list[list[int]]]
    indices: NotRequired[list[int]]
    icc: NotRequired[Icc]
    alpha: NotRequired[Alpha]
    masked: NotRequired[bool]
    stored: NotRequired[str]
    nodata: NotRequired[float | None]
    axis: NotRequired[Axis]
    instances: NotRequired[bool]


def parse_json(text: str | bytes) -> Any:
    """What json.loads gives. Raises ValueError for every text that it cannot read, those nested too deeply among them."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def read_json(
    path: Path, schema: TypeAdapter[T], advice: str = "restore it from a copy", kind: type[DiptychError] = DataError
) -> T:
    """What a JSON file of a user's folder holds, as the schema's type.

    Raises FileNotFoundError or NotADirectoryError where there is none, and an error of this kind, with what to do as ``advice``,
    where it cannot be read or is not what the schema says.
    """
    try:
        return checked(parse_json(read_bounded(path, MOST_BYTES)), schema)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise kind(f"{show(path)}: cannot be read ({error.strerror}); {advice}") from error
    except ValueError as error:
        raise kind(f"{show(path)}: is damaged ({error}); {advice}") from error


def checked(value: Any, schema: TypeAdapter[T]) -> T:
    """The value as the schema's type. Raises ValueError that names the place, the rule and what was found, in one line."""
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        found = "" if first["type"] == "missing" else f", found {_short(first['input'])}"
        rule = re.sub(r"^Input should be (an object|a valid dictionary)$", "expected names with values", first["msg"])
        raise ValueError(f"{place + ': ' if place else ''}{rule[:1].lower()}{rule[1:]}{found}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _short(value: Any) -> str:
    """A found value in a few characters; a tensor by its shape."""
    return f"a tensor of shape {tuple(value.shape)}" if hasattr(value, "shape") else ascii(value)[:60]


def not_finite(tree: Any, place: str = "") -> Iterator[str]:
    """The places in nested dicts and lists whose tensors hold NaN or infinity."""
    import torch  # only here, as wrong words of a command are refused without it

    if isinstance(tree, torch.Tensor):
        if tree.is_floating_point() and not bool(torch.isfinite(tree).all()):
            yield place
    elif isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from not_finite(value, f"{place}.{key}" if place else str(key))

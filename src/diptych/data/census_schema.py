"""What a census.json must hold, so that one that was edited or damaged ends in one line (see Census.from_json)."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from diptych.data.splits import Half
from diptych.schemas import MOST, DomainValues, Finite, Pixels, checked, parse_json

OlderDomain = tuple[Annotated[int, Field(ge=1, le=MOST, strict=True)], str, Finite, Finite]
Side = list[
    tuple[str]
    | tuple[str, Half]
    | tuple[str, Half, str]
    | tuple[str, Half, str, list[Any]]
    | tuple[str, Half, str, list[Any], str]
]


class _Split(TypedDict):
    paired: Annotated[bool, Field(strict=True)]
    sides: tuple[Annotated[Side, Field(min_length=1)], Annotated[Side, Field(min_length=1)]]


class _Census(_Split):
    """The values that are used before or without the rules of their own classes; earlier versions wrote fewer."""

    val: NotRequired[_Split | None]
    domains: tuple[DomainValues | OlderDomain, DomainValues | OlderDomain]
    skipped: list[tuple[str, str]]
    flat: NotRequired[list[str]]
    outliers: NotRequired[list[str]]
    notes: NotRequired[list[str]]
    sizes: NotRequired[tuple[list[tuple[Pixels, Pixels] | None], list[tuple[Pixels, Pixels] | None]]]


CENSUS: TypeAdapter[Any] = TypeAdapter(_Census)


def parse_census(text: str) -> Any:
    """The values of a census.json. Raises ValueError that says in one line what is wrong."""
    found = parse_json(text)
    checked(found, CENSUS)
    for split in (found, found.get("val")):
        if split and split["paired"] and len(split["sides"][0]) != len(split["sides"][1]):
            raise ValueError(f"{len(split['sides'][0])} and {len(split['sides'][1])} images cannot be pairs")
    return found

"""The lines of a run's stats.jsonl: what each must hold, and which of them a kill or a power failure damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from diptych.files import read_text
from diptych.schemas import Whole, checked, parse_json


class _Line(TypedDict):
    """What readers of stats.jsonl rely on; what else a line says is for people."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    step: Whole
    images: NotRequired[Whole]
    epoch: NotRequired[Whole]
    losses: NotRequired[dict[str, float]]
    images_s: NotRequired[float]
    validation: NotRequired[dict[str, float]]
    health: NotRequired[dict[str, float]]
    verdicts: NotRequired[list[str]]


LINE: TypeAdapter[Any] = TypeAdapter(_Line)


def read_stats(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The undamaged lines of a stats.jsonl, and the number of damaged ones. A missing file has no lines.

    A kill or a power failure leaves a torn last line, or NUL bytes where the file had grown before its content was written. A
    line that follows NUL bytes is kept.
    """
    lines, damaged = [], 0
    *texts, torn = read_text(path).split("\n") if path.exists() else [""]
    for text in texts:
        try:
            line = checked(parse_json(text.lstrip("\0")), LINE)
            whole = True
        except ValueError:
            whole = False
        lines += [line] if whole else []
        damaged += not whole or text.startswith("\0")
    return lines, damaged + bool(torn)

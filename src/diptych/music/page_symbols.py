"""The symbols of a page: each with its class, its box and its staff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from diptych.music.page_geometry import SPACE, Staff

Map = UInt8[np.ndarray, "h w"]
Part = Bool[np.ndarray, "_ _"]
REACH = 7.0  # staff spaces from a staff's outer lines to its farthest symbols
BAR_REACH = 20.0  # the same to the middle of a bar line, which may join two staves that are far from each other
FAR = 10.0  # the same for heads, their stems and their accidentals
FAR_KINDS = ("head", "hollow head", "stem", "sharp", "flat", "natural")


@dataclass(frozen=True)
class Symbol:
    """One symbol: its class by name, the staff that it is nearest to, its box in pixels (ends included), centre and area."""

    kind: str
    staff: int
    left: float
    right: float
    top: float
    bottom: float
    x: float
    y: float
    area: int

    @property
    def height(self) -> float:
        """Its height in pixels."""
        return self.bottom - self.top + 1

    @property
    def width(self) -> float:
        """Its width in pixels."""
        return self.right - self.left + 1


def symbol_of(kind: str, part: Part, left: int, top: int, staves: Sequence[Staff]) -> Symbol | None:
    """Return the symbol of a connected part of a map, given the place of its upper left corner; None far from all staves."""
    rows, columns = np.nonzero(part)
    x, y = left + float(columns.mean()), top + float(rows.mean())
    reach = BAR_REACH if kind == "bar line" else FAR if kind in FAR_KINDS else REACH
    staff = _nearest(x, y, staves, reach)
    if staff is None:
        return None
    right, bottom = left + part.shape[1] - 1, top + part.shape[0] - 1
    return Symbol(kind, staff, left, right, top, bottom, x, y, len(rows))


def _nearest(x: float, y: float, staves: Sequence[Staff], reach: float) -> int | None:
    """Return the staff nearest to a point, None where all are out of reach, in staff spaces."""
    off = [
        max(0.0, abs(y - staff.middle_at(x)) / SPACE - 2) if staff.left - 2 * SPACE <= x <= staff.right + 2 * SPACE else np.inf
        for staff in staves
    ]
    best = int(np.argmin(off))
    return best if off[best] <= reach else None

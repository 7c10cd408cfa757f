"""Tell the dots of repeat signs, beside a double bar line, from those that lengthen notes."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_symbols import Symbol

BESIDE = 1.8  # staff spaces from a repeat's nearest stroke to its dots
DOUBLE = 0.6  # staff spaces: what all strokes near dots measure together, at least, one of them being thick
ONE_COLUMN = 0.4  # staff spaces between the middles of the two dots
OFF_PLACE = 0.6  # staff steps from the spaces around the middle line to the dots


def without_repeats(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[Symbol]:
    """Leave out the dots of repeats: two in one column, in the spaces around the middle line, beside a double bar line."""
    bars = [s for s in symbols if s.kind == "bar line" and s.height >= 3 * SPACE]
    inner: dict[int, list[Symbol]] = {1: [], -1: []}
    for s in symbols:
        if s.kind == "dot":
            place = staves[s.staff].position(s.x, s.y)
            for way, dots in inner.items():
                if abs(place - way) <= OFF_PLACE:
                    dots.append(s)
    repeats = set()
    for upper in inner[1]:
        for lower in inner[-1]:
            if upper.staff == lower.staff and abs(upper.x - lower.x) <= ONE_COLUMN * SPACE and _beside_double(upper, bars):
                repeats |= {id(upper), id(lower)}
    return [s for s in symbols if id(s) not in repeats]


def _beside_double(dot: Symbol, bars: Sequence[Symbol]) -> bool:
    """Whether the strokes of a double bar line stand next to a dot, on one of its sides."""
    for side in (-1, 1):
        near = [b for b in bars if b.staff == dot.staff and 0 < side * (b.x - dot.x) <= (BESIDE + 2 * DOUBLE) * SPACE]
        wide = max((b.right for b in near), default=0.0) - min((b.left for b in near), default=0.0)
        if wide >= DOUBLE * SPACE and min(abs(b.x - dot.x) for b in near) <= BESIDE * SPACE:
            return True
    return False

"""The stems of a page, joined where heads and beams cover them, and the beams at their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from diptych.music.page_geometry import SPACE
from diptych.music.page_symbols import Map, Symbol
from diptych.music.symbols import CLASS


def join_stems(symbols: Sequence[Symbol], seen: Map) -> list[Symbol]:
    """Join the pieces of stems that heads and beams cover, and extend stems to the outer edge of their beams."""
    beams, covers = seen == CLASS["beam"], np.isin(seen, [CLASS[name] for name in ("head", "hollow head", "beam", "stem")])
    stems = sorted((s for s in symbols if s.kind == "stem" and s.width <= 0.8 * SPACE), key=lambda s: (s.top, s.x))
    joined: list[Symbol] = []
    for stem in stems:
        above = next(
            (k for k, other in enumerate(joined) if abs(other.x - stem.x) <= 1.6 and _gap_is_covered(other, stem, covers)), None
        )
        if above is None:
            joined.append(stem)
        else:
            other = joined[above]
            joined[above] = replace(
                other,
                left=min(other.left, stem.left),
                right=max(other.right, stem.right),
                bottom=max(other.bottom, stem.bottom),
                x=(other.x * other.height + stem.x * stem.height) / (other.height + stem.height),
                area=other.area + stem.area,
            )
    return [replace(s, top=_extended(beams, s.x, s.top, -1), bottom=_extended(beams, s.x, s.bottom, 1)) for s in joined]


def _gap_is_covered(above: Symbol, below: Symbol, covers: Bool[np.ndarray, "h w"]) -> bool:
    top, end = int(above.bottom) + 1, int(below.top)
    if top >= end:
        return True
    if end - top > 6 * SPACE:
        return False
    x = round((above.x + below.x) / 2)
    return bool(covers[top:end, max(0, x - 2) : x + 3].any(1).mean() > 0.8)


def _extended(beams: Bool[np.ndarray, "h w"], x: float, y: float, way: int) -> float:
    """Return the end of a stem that goes on through beams from a height."""
    columns = slice(max(0, round(x) - 1), round(x) + 2)
    row, gap = int(y) + way, 0
    last = y
    while 0 <= row < len(beams) and gap <= 0.5 * SPACE:
        if beams[row, columns].any():
            last, gap = row, 0
        else:
            gap += 1
        row += way
    return last


def count_beams(seen: Map, stem: Symbol, *, up: bool, limit: float) -> int:
    """Return how many beams a stem has at its free end; ``limit`` is the height of the head nearest to it."""
    beams = seen == CLASS["beam"]
    tip = stem.top if up else stem.bottom
    top, end = (tip - SPACE, limit - SPACE * 0.7) if up else (limit + SPACE * 0.7, tip + SPACE)
    counts = [0]
    rows = slice(max(0, round(top)), max(0, round(end) + 1))
    for way in (-1, 1):
        x = round(stem.x) + 3 * way
        if 0 <= x < beams.shape[1] and end > top:
            near = beams[rows, x - way]  # the part of a beam that belongs to the next stem may end beside this one
            runs = [run for run in _runs(beams[rows, x]) if run[1] - run[0] >= 2]
            counts.append(sum(min(_beams_in(near[max(0, a - 1) : b + 1]), _beams_in(beams[rows, x][a:b])) for a, b in runs))
    return max(counts)


def _beams_in(column: Bool[np.ndarray, " n"]) -> int:
    """Return how many beams lie above each other in a column, by the height of what may be several that touch each other."""
    runs = [end - start for start, end in _runs(column)]
    return sum(max(1, round((run + 0.25 * SPACE) / (0.75 * SPACE))) for run in runs if run >= 2) or int(any(runs))


def _runs(column: Bool[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Return where runs of beams begin and end in a column, their ends not included."""
    steps = np.diff(np.pad(column, 1).astype(np.int8))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))

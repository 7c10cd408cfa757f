"""Find single accidentals in what a map shows as accidentals: those of a key or of a chord may touch each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_symbols import Part, Symbol, symbol_of

WIDTHS = {"sharp": 1.0, "flat": 0.85, "natural": 0.72}
"""The usual width of accidentals in staff spaces; what is much wider is several that touch each other."""
WIDTH_RANGE, WIDEST = (0.75, 2.0), 1.4  # of the usual width: for all of a row, and for one alone
HEIGHTS = {"sharp": 2.8, "flat": 2.4, "natural": 2.75}  # the usual height of accidentals in staff spaces
USUAL_HEIGHT = (2.0, 3.3)  # staff spaces of a single accidental; what is higher is several
LONG_NATURAL, WIDE, WIDE_ROWS = 4.0, 0.75, 0.5
"""Staff spaces of a natural with long stems, as Petaluma has it; the share of its width from which on a row is no stem, and the
share of such rows: fewer are between the stems of one natural, more in two of them."""
SAME_SIGN, OVERLAPPED, LEFT_OVER = 0.85, 0.6, 0.3
"""The share of an accidental's area that must lie within several that touch, the same for one that others overlap, and the
share of it that may remain of them in the end."""
OFF_EDGE = 2  # pixels from an edge between flats of equal width to that between two that are not
TOO_HIGH = 0.2  # what the share of parts that are higher than an accidental counts against areas that are uneven
FLAT_ANCHOR = 0.7  # staff spaces from the bottom of a flat to the step that it alters


def single_accidentals(found: Sequence[tuple[Symbol, Part]], staves: Sequence[Staff]) -> Iterator[Symbol]:
    """Yield the single accidentals of a page, given its connected parts; ``y`` is the height of the step that each alters."""
    shapes: dict[str, Part] = {}  # the single accidental of median area
    for kind in WIDTHS:
        single = sorted((part for s, part in found if s.kind == kind and _is_single(s, part)), key=np.count_nonzero)
        shapes |= {kind: single[len(single) // 2]} if single else {}
    for symbol, part in found:
        one = _is_single(symbol, part)
        shape = None if one or symbol.height < USUAL_HEIGHT[0] * SPACE else shapes.get(symbol.kind)
        if shape is not None:
            yield from _stacked(symbol, part, shape, staves)
        elif not one and symbol.height > USUAL_HEIGHT[1] * SPACE and symbol.width <= WIDEST * WIDTHS[symbol.kind] * SPACE:
            yield from _two_stacked(symbol)
        else:
            yield from _accidentals(symbol, part, staves)


def _is_single(symbol: Symbol, part: Part) -> bool:
    """Whether an accidental has the size of a single one."""
    low, high = (share * WIDTHS[symbol.kind] * SPACE for share in (WIDTH_RANGE[0], WIDEST))
    if not low <= symbol.width <= high or symbol.height < USUAL_HEIGHT[0] * SPACE:
        return False
    if symbol.height <= USUAL_HEIGHT[1] * SPACE:
        return True
    columns = [np.flatnonzero(row) for row in part]
    wide = sum(row[-1] - row[0] + 1 >= WIDE * part.shape[1] for row in columns if len(row))
    return symbol.kind == "natural" and symbol.height <= LONG_NATURAL * SPACE and wide < WIDE_ROWS * len(part)


def _accidentals(symbol: Symbol, part: Part, staves: Sequence[Staff]) -> Iterator[Symbol]:
    """Yield one accidental, or those that touch each other; ``y`` is the height of the step that each alters."""
    parted = [_equal_parts(part, number) for number in _possible_numbers(symbol)]
    edges = min(parted, key=lambda edges: _unevenness(part, edges) + TOO_HIGH * _too_high(part, edges))
    edges = _at_stems(part, edges) if symbol.kind == "flat" else edges
    for a, b in pairwise(edges):
        piece = part[:, a:b]
        rows = np.flatnonzero(piece.any(1))
        if not len(rows):
            continue
        kept = piece[rows[0] : rows[-1] + 1]
        found = symbol_of(symbol.kind, kept, int(symbol.left) + a, int(symbol.top) + int(rows[0]), staves)
        if found is not None:
            yield found if len(edges) > 2 and found.kind != "flat" else _anchored(found)


def _stacked(symbol: Symbol, part: Part, shape: Bool[np.ndarray, "m n"], staves: Sequence[Staff]) -> Iterator[Symbol]:
    """Yield the accidentals of a chord that touch each other: where the shape of a single one of the page covers them best."""
    high, wide = shape.shape
    area = np.pad(part, ((2, high), (2, wide))).astype(np.float32)
    inside = shape.astype(np.float32)
    total, least, found = float(inside.sum()), SAME_SIGN, 0
    while area.sum() > LEFT_OVER * total:
        cover = _covers(area, inside)
        row, column = np.unravel_index(int(cover.argmax()), cover.shape)
        if cover[row, column] < least * total:
            break
        least, found = OVERLAPPED, found + 1
        area[row : row + high, column : column + wide] *= ~shape
        one = symbol_of(symbol.kind, shape, int(symbol.left) + int(column) - 2, int(symbol.top) + int(row) - 2, staves)
        if one is not None:
            yield _anchored(one)
    if not found:
        yield from _accidentals(symbol, part, staves)


def _two_stacked(symbol: Symbol) -> Iterator[Symbol]:
    """Yield the upper and the lower one of two accidentals that touch each other, on a page without a single one."""
    height = HEIGHTS[symbol.kind] * SPACE
    for top in (symbol.top, symbol.bottom + 1 - height):
        yield _anchored(replace(symbol, top=top, bottom=top + height - 1))


def _covers(area: Float[np.ndarray, "a b"], shape: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "c d"]:
    """Return how much of an area lies within a shape at each place of its upper left corner."""
    windows = np.lib.stride_tricks.sliding_window_view(area, shape.shape)
    return np.einsum("abmn,mn->ab", windows, shape)


def _anchored(symbol: Symbol) -> Symbol:
    """Set the height of an accidental to that of the step that it alters."""
    flat = symbol.bottom + 0.5 - FLAT_ANCHOR * SPACE
    return replace(symbol, y=flat if symbol.kind == "flat" else (symbol.top + symbol.bottom) / 2)


def _possible_numbers(symbol: Symbol) -> list[int]:
    """Return how many accidentals may stand in a box, by the width of the widest and the narrowest of all fonts."""
    usual = WIDTHS[symbol.kind] * SPACE
    return [n for n in range(1, 8) if WIDTH_RANGE[0] * usual <= symbol.width / n <= WIDTH_RANGE[1] * usual] or [1]


def _equal_parts(part: Part, number: int) -> np.ndarray:
    return np.linspace(0, part.shape[1], number + 1).round().astype(int)


def _at_stems(part: Part, edges: np.ndarray) -> np.ndarray:
    """Move the edges between flats that touch each other to where a stem begins next to them: a column of much more ink."""
    rise = np.diff(part.sum(0).astype(int), prepend=0)
    moved = [edge + int(rise[edge - OFF_EDGE : edge + OFF_EDGE + 1].argmax()) - OFF_EDGE for edge in edges[1:-1].tolist()]
    return np.array([edges[0], *moved, edges[-1]])


def _too_high(part: Part, edges: np.ndarray) -> float:
    """Return the share of the parts that are higher than an accidental; rows of one pixel, perhaps of the next, do not count."""
    heights = [np.ptp(np.flatnonzero(part[:, a:b].sum(1) > 1)) for a, b in pairwise(edges) if (part[:, a:b].sum(1) > 1).any()]
    return float(np.mean([height >= USUAL_HEIGHT[1] * SPACE for height in heights])) if heights else 0.0


def _unevenness(part: Part, edges: np.ndarray) -> float:
    """Return how much the areas of the parts differ, relative to their mean: signs of one kind have equal areas."""
    areas = np.add.reduceat(part.sum(0), edges[:-1]).astype(float)
    return float(areas.std() / areas.mean()) + 0.02 * len(areas)

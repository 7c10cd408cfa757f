"""Find signs that stand for several measures of rest: blocks in the staff, or a thick bar, below their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from diptych.music.page_digits import numbers_in
from diptych.music.page_geometry import SPACE, Gray, Staff
from diptych.music.page_symbols import Symbol

SOLID = 140  # gray below which a pixel belongs to a block
BLOCK = {2: (0.75, 1.35), 4: (1.75, 2.5)}
"""Measures that a block stands for, and its least and greatest height in staff spaces: a breve and a long."""
BLOCK_WIDTH = (0.4, 0.9)  # staff spaces; heads are wider, stems thinner
BAR_WIDTH, BAR_HEIGHT = 3.0, (0.4, 1.7)  # staff spaces: the least width of a thick bar, and its height
FILLED = 0.9  # the share of a block's box that is ink
AROUND = 8  # staff steps from the middle line within which a sign stands
WITHIN = 4.5  # staff steps from the middle line within which a block without a number stands
NUMBER_AT = (4.6, 13.0)  # staff steps above the middle line between which its number stands
NUMBER_REACH = 0.15  # of the width of a measure, from the middle of a sign to that of its number, besides two staff spaces
HEADER = 14  # staff spaces from the beginning of a staff within which clef, key and meter stand
OWN_HEAD = 1.2  # staff spaces from a block to what may be a part of it that looks like a head
IN_HEADER = ("clef G", "clef F", "clef C", "sharp", "flat", "natural")
"""What consists of parts that look like blocks, as the digits of a meter do."""
SHORT_RESTS = ("quarter rest", "eighth rest", "16th rest", "32nd rest")
KEPT = (*IN_HEADER, "bar line")
"""What may stand in a measure beside a sign of rest."""


Block = tuple[float, int]
"""The column of a block, and for how many measures it stands."""


@dataclass(frozen=True)
class LongRest:
    """A sign of rest between two bar lines, at their columns, that stands for several measures."""

    left: float
    right: float
    measures: int


def find_long_rests(
    gray: Gray,
    symbols: Sequence[Symbol],
    staves: Sequence[Staff],
    edges: Sequence[float],
    meters: Sequence[tuple[float, float]] = (),
) -> list[LongRest]:
    """Find the rests of several measures of a system, given the ends of its measures and those of its meters.

    All staves show them.
    """
    found = []
    for left, right in zip([float(min(staff.left for staff in staves)), *edges], edges, strict=False):
        counts = set()
        for number, staff in enumerate(staves):
            own = [s for s in symbols if s.staff == number and left < s.x < right]
            counts.add(
                _measures(
                    gray, staff, max([left, *(min(end, right) for start, end in meters if left < start < right)]), right, own
                )
            )
        if len(counts) == 1 and (measures := counts.pop()) > 1:
            found.append(LongRest(left, right, measures))
    return found


def without_signs(symbols: Sequence[Symbol], staves: Sequence[Staff], rests: Sequence[LongRest]) -> list[Symbol]:
    """Leave out what looks like heads or rests in the signs of long rests, and their numbers."""

    def stays(s: Symbol) -> bool:
        meter = s.kind == "digit" and abs(staves[s.staff].position(s.x, s.y)) < 5
        return meter or s.kind in KEPT or not any(rest.left < s.x < rest.right for rest in rests)

    return [s for s in symbols if stays(s)]


def _measures(gray: Gray, staff: Staff, left: float, right: float, symbols: Sequence[Symbol]) -> int:
    """Return for how many measures a rest stands, 1 where it is a usual measure.

    The number counts where the sign agrees with it. Blocks without a number stand for what they add up to, with a whole rest.
    """
    top, bottom = max(0, round(staff.row(left, AROUND))), max(0, round(staff.row(left, -AROUND)))
    begin, end = max(0, round(left)) + 2, round(right) - 1
    if end - begin < 2 * SPACE or bottom - top < SPACE:
        return 1
    blocks, bar = _signs(gray[top:bottom, begin:end])
    blocks = [block for block in blocks if not any(_covers(s, begin + block[0], staff) for s in symbols)]
    signs = [begin + x for x, _ in blocks] + ([] if bar is None else [begin + bar])
    rows = [max(0, round(staff.row(left, at))) for at in (NUMBER_AT[1], NUMBER_AT[0])]
    numbers = numbers_in(gray[rows[0] : rows[1], begin:end])
    heads = [
        s for s in symbols if s.kind in ("head", "hollow head") and not _in_number(s, staff, [begin + x for x, _ in numbers])
    ]
    others = heads + [s for s in symbols if s.kind in SHORT_RESTS]
    if not signs or any(min(abs(s.x - x) for x in signs) > OWN_HEAD * SPACE for s in others if s.x > staff.left + HEADER * SPACE):
        return 1
    reach = NUMBER_REACH * (right - left) + 2 * SPACE
    if bar is not None:
        near = [(abs(x - bar), number) for x, number in numbers if number > 1 and abs(x - bar) <= reach]
        return min(near)[1] if near else 1
    found, first = 0, 0
    for x, number in numbers:  # from left to right; parts of a clef or a meter may look like blocks too
        end_of_sign = next((end for end in _ends(blocks, first) if _agrees(blocks[end[0] : end[1]], x, number, reach)), None)
        if end_of_sign:
            found, first = found + number, end_of_sign[1]
    if found or heads:
        return max(found, 1)
    rows = [max(0, round(staff.row(left, at))) for at in (WITHIN, -WITHIN)]  # above and below, letters have such strokes too
    blocks = [block for block in _signs(gray[rows[0] : rows[1], begin:end])[0] if block[0] + begin > staff.left + HEADER * SPACE]
    rests = [s for s in symbols if s.kind == "long rest" and s.height < BLOCK[2][0] * SPACE]
    blocks = [block for block in blocks if not any(abs(s.x - begin - block[0]) <= SPACE for s in rests)]  # a blurred whole rest
    sure = [measures for x, measures in blocks if not any(_covers(s, begin + x, staff) for s in symbols)]
    return sum(sure) + any(s.kind == "long rest" for s in symbols) if sure else 1


def _in_number(head: Symbol, staff: Staff, numbers: Sequence[float]) -> bool:
    """Whether what looks like a head is part of a number above a staff, given the columns of numbers: its digits have bows."""
    return staff.position(head.x, head.y) >= NUMBER_AT[0] and any(abs(head.x - x) <= SPACE for x in numbers)


def _covers(symbol: Symbol, x: float, staff: Staff) -> bool:
    """Whether a block at a column is part of a clef, a key, a meter's digit, or a rest that is higher than all blocks."""
    meter = symbol.kind == "digit" and abs(staff.position(symbol.x, symbol.y)) < 5
    short = symbol.kind in SHORT_RESTS and symbol.height > BLOCK[4][1] * SPACE
    return (meter or short or symbol.kind in IN_HEADER) and symbol.left - SPACE / 2 <= x <= symbol.right + SPACE / 2


def _ends(blocks: Sequence[Block], first: int) -> list[tuple[int, int]]:
    """Return the beginnings and ends of all signs that blocks from one on may be, the longest ones first."""
    pairs = [(a, b) for a in range(first, len(blocks)) for b in range(a + 1, len(blocks) + 1)]
    return sorted(pairs, key=lambda pair: pair[0] - pair[1])


def _agrees(sign: Sequence[Block], x: float, number: int, reach: float) -> bool:
    """Whether a number stands above a sign of so many measures; a whole rest may stand beside the blocks, for one more."""
    total, middle = sum(measures for _, measures in sign), float(np.mean([place for place, _ in sign]))
    return total <= number <= total + 1 and abs(x - middle) <= reach + 2 * SPACE * (number > total)


def _signs(gray: Gray) -> tuple[list[Block], float | None]:
    """Return the columns of blocks and the measures that each stands for, and the middle of a thick bar, if there is one."""
    ink = gray < SOLID
    labels, _ = ndimage.label(ndimage.binary_opening(ink, np.ones((SPACE // 2 + 1, 3))))
    blocks: list[Block] = []
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        high, wide = (rows.stop - rows.start) / SPACE, (columns.stop - columns.start) / SPACE
        measures = next((number for number, (low, most) in BLOCK.items() if low <= high <= most), 0)
        filled = (labels[rows, columns] == index).mean() >= FILLED
        if measures and filled and BLOCK_WIDTH[0] <= wide <= BLOCK_WIDTH[1]:
            blocks.append(((columns.start + columns.stop) / 2, measures))
    bar = None
    labels, _ = ndimage.label(ndimage.binary_opening(ink, np.ones((3, round(BAR_WIDTH * SPACE)))))
    for rows, columns in ndimage.find_objects(labels):
        thick = BAR_HEIGHT[0] <= (rows.stop - rows.start) / SPACE <= BAR_HEIGHT[1]
        if thick and abs((rows.start + rows.stop) / 2 - len(gray) / 2) <= SPACE:
            bar = (columns.start + columns.stop) / 2
    return sorted(blocks), bar

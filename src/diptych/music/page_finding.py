"""Take the map of a page apart: settle what a translator sees as a mixture of classes, and find the symbols."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from diptych.music.page_accidentals import WIDTHS, single_accidentals
from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_heads import heads_of
from diptych.music.page_symbols import Map, Part, Symbol, symbol_of
from diptych.music.symbols import CLASS, SYMBOLS

MIN_AREAS = {
    **{"head": 0.35, "hollow head": 0.35, "dot": 0.05, "stem": 0.05, "curve": 0.25, "flag": 0.15, "two flags": 0.2},
    **{"three flags": 0.2, "octave sign": 0.05},
}
"""The least area of a symbol in squares of a staff space; smaller ones are noise."""
MIN_AREA = 0.15  # of all other symbols
LEAST = {"quarter rest": 1.9, "eighth rest": 1.3, "16th rest": 1.9, "32nd rest": 2.4}
"""The least height of rests in staff spaces; a breath mark looks like a small one."""
SIGNS = (
    "digit",
    "long rest",
    "quarter rest",
    "eighth rest",
    "16th rest",
    "32nd rest",
    "clef G",
    "clef F",
    "clef C",
    "sharp",
    "flat",
    "natural",
)
"""Signs that touch no other kind of sign."""
CLEF_WIDTH, MIN_CLEF = 2.9, 0.2  # staff spaces of the narrowest clef, and squares of one that are surely a clef
LEFT_LINE = 3  # pixels from the left end of a system to the end of its line
PART_OF_HEAD = 0.55  # squares of a staff space: what is smaller is no head beside another
LINES = (4, 2, 0, -2, -4)  # the positions of staff lines, in staff steps above the middle one
LINE_WIDTH = 2  # pixels of a staff line at most; beams have three
WHOLE_SIGN = (2.0, 0.6)  # height in staff spaces and area in squares of one of what is a sign of its own


def find_symbols(seen: Map, staves: Sequence[Staff]) -> list[Symbol]:
    """Find the symbols of a page near its staves, from left to right."""
    found: list[Symbol] = []
    accidentals: list[tuple[Symbol, Part]] = []
    seen = _with_clefs(_one_head(_settled(seen)), staves) if staves else np.zeros_like(seen)
    for number, kind in enumerate(SYMBOLS):
        if not number or kind == "beam":
            continue
        mask = seen == number
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        boxes = ndimage.find_objects(labels)
        for index in range(count):
            part = labels[boxes[index]] == index + 1
            symbol = symbol_of(kind, part, boxes[index][1].start, boxes[index][0].start, staves)
            if (
                symbol is None
                or symbol.area < MIN_AREAS.get(kind, MIN_AREA) * SPACE**2
                or symbol.height < LEAST.get(kind, 0) * SPACE
            ):
                continue
            if kind in ("head", "hollow head"):
                found += heads_of(symbol, part, seen, staves[symbol.staff])
            elif kind in WIDTHS:
                accidentals.append((symbol, part))
            else:
                found.append(symbol)
    found += single_accidentals(accidentals, staves)
    return sorted(found, key=lambda symbol: symbol.x)


def without_lines(seen: Map, staves: Sequence[Staff]) -> Map:
    """Leave out beams as thin as the staff line that they lie on: a line of a page in black and white may look so."""
    cleared, beams = seen.copy(), seen == CLASS["beam"]
    for staff in staves:
        columns = np.arange(max(0, staff.left), min(staff.right + 1, seen.shape[1]))
        for position in LINES:
            rows = np.rint(staff.middle[columns] - position * staff.space / 2).astype(int)
            near = np.clip(rows + np.arange(-SPACE // 2, SPACE // 2 + 1)[:, None], 0, len(seen) - 1)
            there = beams[near, columns]
            on_line = there[SPACE // 2 - 1 : SPACE // 2 + 2].sum(0)
            thin = there & (on_line == there.sum(0)) & (on_line <= LINE_WIDTH)
            cleared[near[thin], np.broadcast_to(columns, near.shape)[thin]] = 0
    return cleared


def _settled(seen: Map) -> Map:
    """Give each connected sign that a translator sees as a mixture of classes the most frequent one of them.

    Two signs that touch each other stay what they are: each is as large as a sign.
    """
    numbers = [CLASS[name] for name in SIGNS]
    labels, count = ndimage.label(np.isin(seen, numbers), np.ones((3, 3)))
    if not count:
        return seen
    places = np.nonzero(labels)
    votes = np.zeros((count + 1, len(SYMBOLS)), np.int64)
    np.add.at(votes, (labels[places], seen[places]), 1)
    settled = seen.copy()
    settled[places] = votes.argmax(1)[labels[places]]
    boxes = ndimage.find_objects(labels)
    for label in np.flatnonzero((votes > 0).sum(1) > 1):
        box = boxes[label - 1]
        for number in np.flatnonzero(votes[label] >= WHOLE_SIGN[1] * SPACE**2):
            part = (labels[box] == label) & (seen[box] == number)
            if np.ptp(np.flatnonzero(part.any(1))) + 1 >= WHOLE_SIGN[0] * SPACE:
                settled[box][part] = number
    return settled


def _one_head(seen: Map) -> Map:
    """Give a head that a translator sees as filled in one part and hollow in the other the class of the larger part."""
    kinds = CLASS["head"], CLASS["hollow head"]
    labels, _ = ndimage.label(np.isin(seen, kinds), np.ones((3, 3)))
    settled = seen.copy()
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == label
        counts = [int((inside & (seen[box] == kind)).sum()) for kind in kinds]
        if 0 < min(counts) < PART_OF_HEAD * SPACE**2:
            settled[box][inside] = kinds[int(np.argmax(counts))]
    return settled


def _with_clefs(seen: Map, staves: Sequence[Staff]) -> Map:
    """Make one clef of all that stands at the beginning of a staff, where some of it is seen as a clef."""
    settled = seen.copy()
    numbers = [CLASS[name] for name in ("clef G", "clef F", "clef C")]
    for staff in staves:
        top, bottom = max(0, round(staff.row(staff.left, 9))), max(0, round(staff.row(staff.left, -10)))
        begin = max(0, staff.left - SPACE)
        start = settled[top:bottom, begin : begin + 6 * SPACE]
        edge = start[:, : staff.left - begin + LEFT_LINE + 1]  # the line at the left end of a system is no part of a clef
        edge[edge == CLASS["bar line"]] = 0
        columns = np.flatnonzero(np.isin(start, numbers).sum(0) >= 2)
        if not len(columns):
            continue
        left = int(columns[0])
        while left and left > columns[0] - SPACE and (start[:, left - 1] > 0).sum() >= 2:  # some of it may look like other signs
            left -= 1
        place = start[:, left : left + round(CLEF_WIDTH * SPACE)]
        counts = [int((place == number).sum()) for number in numbers]
        if max(counts) >= MIN_CLEF * SPACE**2:
            labels, _ = ndimage.label((place > 0) & (place != CLASS["octave sign"]), np.ones((3, 3)))
            seen_as_clef = np.isin(place, numbers)
            last = int(np.flatnonzero(seen_as_clef.any(0))[-1])
            parts = set(np.unique(labels[seen_as_clef])) | set(np.unique(labels[:, : last + 1]))  # a key may stand behind it
            place[np.isin(labels, list(parts - {0}))] = numbers[int(np.argmax(counts))]
    return settled

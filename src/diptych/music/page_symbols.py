"""Take the map of a page's symbols apart: heads, stems, rests, accidentals and other signs, each with its box and its staff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.symbols import CLASS, SYMBOLS

Map = UInt8[np.ndarray, "h w"]
MIN_AREAS = {"head": 0.35, "hollow head": 0.35, "dot": 0.05, "stem": 0.05, "curve": 0.25, "flag": 0.15, "two flags": 0.2}
"""The least area of a symbol in squares of a staff space; smaller ones are noise."""
MIN_AREA = 0.15  # of all other symbols
SIGNS = (
    "digit",
    "long rest",
    "quarter rest",
    "eighth rest",
    "16th rest",
    "clef G",
    "clef F",
    "clef C",
    "sharp",
    "flat",
    "natural",
)
"""Signs that touch no other kind of sign."""
REACH = 7.0  # staff spaces from a staff's outer lines to its farthest symbols
CLEF_WIDTH, MIN_CLEF = 2.9, 0.2  # staff spaces of the narrowest clef, and squares of one that are surely a clef
HEAD = (0.59, 0.5)  # half the width and half the height of a head, in staff spaces
WHOLE = 0.8  # half the width of the head of a whole note
SURE = 0.72  # the share of a head's ellipse that must be of its class
OFF_STEP = 0.06  # a head is a pixel off its step where so much more of its ellipse is of its class there
WIDTHS = {"sharp": 1.0, "flat": 0.85, "natural": 0.72}
"""The usual width of accidentals in staff spaces; what is much wider is several that touch each other."""
WIDTH_RANGE = (0.75, 2.0)  # of the usual width
WHOLE_SIGN = (2.0, 0.6)  # height in staff spaces and area in squares of one of what is a sign of its own
USUAL_HEIGHT = (2.0, 3.3)  # staff spaces of a single accidental; what is higher is several
SAME_SIGN, OVERLAPPED, LEFT_OVER = 0.85, 0.6, 0.3
"""The share of an accidental's area that must lie within several that touch, the same for one that others overlap, and the
share of it that may remain of them in the end."""
FLAT_ANCHOR = 0.7  # staff spaces from the bottom of a flat to the step that it alters


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


def find_symbols(seen: Map, staves: Sequence[Staff]) -> list[Symbol]:
    """Find the symbols of a page near its staves, from left to right."""
    found: list[Symbol] = []
    accidentals: list[tuple[Symbol, Bool[np.ndarray, "p q"]]] = []
    seen = _with_clefs(_settled(seen), staves) if staves else np.zeros_like(seen)
    for number, kind in enumerate(SYMBOLS):
        if not number or kind == "beam":
            continue
        mask = seen == number
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        boxes = ndimage.find_objects(labels)
        for index in range(count):
            part = labels[boxes[index]] == index + 1
            symbol = _symbol(kind, part, boxes[index][1].start, boxes[index][0].start, staves)
            if symbol is None or symbol.area < MIN_AREAS.get(kind, MIN_AREA) * SPACE**2:
                continue
            if kind in ("head", "hollow head"):
                found += _heads(symbol, part, seen, staves[symbol.staff])
            elif kind in WIDTHS:
                accidentals.append((symbol, part))
            else:
                found.append(symbol)
    shapes: dict[str, Bool[np.ndarray, "p q"]] = {}  # the single accidental of median area
    for kind in WIDTHS:
        single = sorted((part for s, part in accidentals if s.kind == kind and _is_single(s)), key=np.count_nonzero)
        shapes |= {kind: single[len(single) // 2]} if single else {}
    for symbol, part in accidentals:
        shape = None if _is_single(symbol) or symbol.height < USUAL_HEIGHT[0] * SPACE else shapes.get(symbol.kind)
        found += _accidentals(symbol, part, staves) if shape is None else _stacked(symbol, part, shape, staves)
    return sorted(found, key=lambda symbol: symbol.x)


def _is_single(symbol: Symbol) -> bool:
    """Whether an accidental has the size of a single one."""
    low, high = (share * WIDTHS[symbol.kind] * SPACE for share in (WIDTH_RANGE[0], 1.4))
    return low <= symbol.width <= high and USUAL_HEIGHT[0] * SPACE <= symbol.height <= USUAL_HEIGHT[1] * SPACE


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


def _with_clefs(seen: Map, staves: Sequence[Staff]) -> Map:
    """Make one clef of all that stands at the beginning of a staff, where some of it is seen as a clef."""
    settled = seen.copy()
    numbers = [CLASS[name] for name in ("clef G", "clef F", "clef C")]
    for staff in staves:
        top, bottom = max(0, round(staff.row(staff.left, 9))), max(0, round(staff.row(staff.left, -10)))
        begin = max(0, staff.left - SPACE)
        columns = np.flatnonzero((seen[top:bottom, begin : begin + 6 * SPACE] > 0).sum(0) >= 3)
        if not len(columns):
            continue
        left = begin + int(columns[0])
        place = settled[top:bottom, left : left + round(CLEF_WIDTH * SPACE)]
        counts = [int((place == number).sum()) for number in numbers]
        if max(counts) >= MIN_CLEF * SPACE**2:
            place[place > 0] = numbers[int(np.argmax(counts))]
    return settled


def _symbol(kind: str, part: Bool[np.ndarray, "p q"], left: int, top: int, staves: Sequence[Staff]) -> Symbol | None:
    rows, columns = np.nonzero(part)
    x, y = left + float(columns.mean()), top + float(rows.mean())
    staff = _nearest(x, y, staves)
    if staff is None:
        return None
    right, bottom = left + part.shape[1] - 1, top + part.shape[0] - 1
    return Symbol(kind, staff, left, right, top, bottom, x, y, len(rows))


def _nearest(x: float, y: float, staves: Sequence[Staff]) -> int | None:
    """Return the staff nearest to a point, None where all are out of reach."""
    off = [
        max(0.0, abs(y - staff.middle_at(x)) / SPACE - 2) if staff.left - 2 * SPACE <= x <= staff.right + 2 * SPACE else np.inf
        for staff in staves
    ]
    best = int(np.argmin(off))
    return best if off[best] <= REACH else None


def _heads(symbol: Symbol, part: Bool[np.ndarray, "p q"], seen: Map, staff: Staff) -> Iterator[Symbol]:
    """Yield one head, or those that touch each other in a chord: ellipses on steps of the staff that its area covers best."""
    wide = WHOLE if symbol.kind == "hollow head" and not _beside_stem(symbol, seen) else HEAD[0]
    if symbol.height <= 1.5 * SPACE and symbol.width <= (2 * wide + 0.55) * SPACE:
        yield symbol
        return
    half_width, half_height = wide * SPACE, HEAD[1] * SPACE
    y, x = np.mgrid[-round(half_height) : round(half_height) + 1, -round(half_width) : round(half_width) + 1]
    ellipse = ((x / (half_width + 0.3)) ** 2 + (y / (half_height + 0.3)) ** 2 <= 1).astype(np.float32)
    margin = max(ellipse.shape)
    area = np.pad(part, margin).astype(np.float32)
    lowest, highest = (round(staff.position(symbol.x, edge)) for edge in (symbol.bottom, symbol.top))
    for position in range(highest + 1, lowest - 2, -1):  # from the top, since what lies between two heads is as black
        for _ in range(2):  # the two heads of a second beside a stem
            row, column, cover = _best_cover(area, ellipse, staff, symbol, position, margin)
            lower = _best_cover(area, ellipse, staff, symbol, position - 1, margin)
            if cover < SURE or (lower[2] > cover + 0.05 and abs(lower[1] - column) < half_width):
                break
            x = symbol.left + column - margin
            y = (staff.row(x, position) + symbol.top + row - margin) / 2
            edges = {"left": x - half_width, "right": x + half_width, "top": y - half_height, "bottom": y + half_height}
            yield replace(symbol, x=x, y=y, **edges)
            high, wide = ellipse.shape[0] // 2, ellipse.shape[1] // 2
            area[row - high : row + high + 1, column - wide : column + wide + 1] *= 1 - ellipse


def _best_cover(
    area: Float[np.ndarray, "a b"], ellipse: Float[np.ndarray, "c d"], staff: Staff, symbol: Symbol, position: int, margin: int
) -> tuple[int, int, float]:
    """Return the row and the column at which an ellipse on a staff step lies best within an area, and the share that does."""
    row = round(staff.row(symbol.x, position) - symbol.top) + margin
    high = ellipse.shape[0] // 2
    best = (row, 0, 0.0)
    for near in (row, row - 1, row + 1):
        if high <= near < len(area) - high:
            cover = ndimage.correlate(area[near - high : near + high + 1], ellipse, mode="constant")[high] / ellipse.sum()
            if cover.max() > best[2] + (0.0 if near == row else OFF_STEP):
                best = near, int(np.flatnonzero(cover >= cover.max() - 1e-6).mean()), float(cover.max())
    return best


def _beside_stem(symbol: Symbol, seen: Map) -> bool:
    top, bottom = max(0, int(symbol.top) - 2), int(symbol.bottom) + 3
    left, right = max(0, int(symbol.left) - 2), int(symbol.right) + 3
    return bool((seen[top:bottom, left:right] == CLASS["stem"]).sum() >= 2)


def _accidentals(symbol: Symbol, part: Bool[np.ndarray, "p q"], staves: Sequence[Staff]) -> Iterator[Symbol]:
    """Yield one accidental, or those that touch each other; ``y`` is the height of the step that each alters."""
    edges = min((_equal_parts(part, number) for number in _possible_numbers(symbol)), key=lambda edges: _unevenness(part, edges))
    for a, b in pairwise(edges):
        piece = part[:, a:b]
        rows = np.flatnonzero(piece.any(1))
        if not len(rows):
            continue
        kept = piece[rows[0] : rows[-1] + 1]
        found = _symbol(symbol.kind, kept, int(symbol.left) + a, int(symbol.top) + int(rows[0]), staves)
        if found is not None:
            yield found if len(edges) > 2 and found.kind != "flat" else _anchored(found)


def _stacked(
    symbol: Symbol, part: Bool[np.ndarray, "p q"], shape: Bool[np.ndarray, "m n"], staves: Sequence[Staff]
) -> Iterator[Symbol]:
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
        one = _symbol(symbol.kind, shape, int(symbol.left) + int(column) - 2, int(symbol.top) + int(row) - 2, staves)
        if one is not None:
            yield _anchored(one)
    if not found:
        yield from _accidentals(symbol, part, staves)


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


def _equal_parts(part: Bool[np.ndarray, "p q"], number: int) -> np.ndarray:
    return np.linspace(0, part.shape[1], number + 1).round().astype(int)


def _unevenness(part: Bool[np.ndarray, "p q"], edges: np.ndarray) -> float:
    """Return how much the areas of the parts differ, relative to their mean: signs of one kind have equal areas."""
    areas = np.add.reduceat(part.sum(0), edges[:-1]).astype(float)
    return float(areas.std() / areas.mean()) + 0.02 * len(areas)


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
    for x in (round(stem.x) - 3, round(stem.x) + 3):
        if 0 <= x < beams.shape[1] and end > top:
            runs = _runs(beams[max(0, round(top)) : round(end) + 1, x])
            counts.append(sum(max(1, round((run + 0.25 * SPACE) / (0.75 * SPACE))) for run in runs if run >= 2))
    return max(counts)


def _runs(column: Bool[np.ndarray, " n"]) -> list[int]:
    steps = np.diff(np.pad(column, 1).astype(np.int8))
    return list((np.flatnonzero(steps == -1) - np.flatnonzero(steps == 1)).tolist())

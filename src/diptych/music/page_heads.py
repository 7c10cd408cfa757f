"""Find single heads in what a map shows as heads: those of a chord touch each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from diptych.music.page_accidentals import WIDTHS
from diptych.music.page_geometry import SPACE, Gray, Staff
from diptych.music.page_symbols import FAR, Map, Part, Symbol
from diptych.music.symbols import CLASS

HEAD = (0.59, 0.5)  # half the width and half the height of a head, in staff spaces
WHOLE = 0.8  # half the width of the head of a whole note
SURE = 0.72  # the share of a head's ellipse that must be of its class
LEDGER, LEDGER_CONTRAST = 6, 25  # staff steps from the middle to the first ledger line; gray levels from it to the paper
FAINT = 0.25  # contrast of the lines of a staff below which its ledger lines may not be seen
NEAR = 10  # staff steps from the middle line up to which a head stands there without one
LEDGERS_SEEN = 0.5  # the share of the ledger lines between a head and its staff that must be seen
BLACK = 128  # of 255: darkness above and below a row from which on the heads of a chord hide a ledger line between them
LEFT_OF, RIGHT_OF, LEVEL = 3.0, 2.6, 0.6
"""Staff spaces from a head to the left end of its accidental and to the right end of its dot, and of those above or below it."""
ENOUGH = 0.8  # the share at which a head of a column explains nothing; one that is covered better counts by how much
Cover = tuple[int, int, int, float]
"""A step of the staff, the row and the column at which an ellipse lies best there, and the share of it that does."""
ONE_HEAD = 1.75  # staff spaces: a lower area is one head; two in one column are a third apart at least, which is two spaces
OFF_STEP = 0.06  # a head is a pixel off its step where so much more of its ellipse is of its class there


def heads_of(symbol: Symbol, part: Part, seen: Map, staff: Staff) -> Iterator[Symbol]:
    """Yield one head, or those that touch each other in a chord: ellipses on steps of the staff that its area covers best."""
    wide = WHOLE if symbol.kind == "hollow head" and not _beside_stem(symbol, seen) else HEAD[0]
    if symbol.height <= ONE_HEAD * SPACE and symbol.width <= (2 * wide + 0.55) * SPACE:
        yield symbol
        return
    half_width, half_height = wide * SPACE, HEAD[1] * SPACE
    y, x = np.mgrid[-round(half_height) : round(half_height) + 1, -round(half_width) : round(half_width) + 1]
    ellipse = ((x / (half_width + 0.3)) ** 2 + (y / (half_height + 0.3)) ** 2 <= 1).astype(np.float32)
    margin = max(ellipse.shape)
    area = np.pad(part, margin).astype(np.float32)
    lowest, highest = (round(staff.position(symbol.x, edge)) for edge in (symbol.bottom, symbol.top))

    def head(position: int, row: int, column: int) -> Symbol:
        x = symbol.left + column - margin
        y = (staff.row(x, position) + symbol.top + row - margin) / 2
        edges = {"left": x - half_width, "right": x + half_width, "top": y - half_height, "bottom": y + half_height}
        return replace(symbol, x=x, y=y, **edges)

    if symbol.width <= (2 * wide + 0.55) * SPACE:
        steps = range(highest + 1, lowest - 2, -1)
        covers = [(position, *_best_cover(area, ellipse, staff, symbol, position, margin)) for position in steps]
        yield from (head(*cover[:3]) for cover in _one_column(covers))
        return
    for position in range(highest + 1, lowest - 2, -1):  # from the top, since what lies between two heads is as black
        for _ in range(2):  # the two heads of a second beside a stem
            row, column, cover = _best_cover(area, ellipse, staff, symbol, position, margin)
            lower = _best_cover(area, ellipse, staff, symbol, position - 1, margin)
            if cover < SURE or (lower[2] > cover + 0.05 and abs(lower[1] - column) < half_width):
                break
            yield head(position, row, column)
            above, beside = ellipse.shape[0] // 2, ellipse.shape[1] // 2
            area[row - above : row + above + 1, column - beside : column + beside + 1] *= 1 - ellipse


def _one_column(covers: Sequence[Cover]) -> list[Cover]:
    """Return the heads, one above the other and two steps apart at least, that explain an area best, given its steps from the
    top: what lies between two heads is as black as they are."""
    best: list[tuple[float, list[Cover]]] = [(0.0, []), (0.0, [])]
    for cover in covers:
        score, before = best[-2]
        best.append(max(best[-1], (score + cover[3] - ENOUGH, [*before, cover]), key=lambda value: value[0]))
    return best[-1][1]


def on_ledgers(symbol: Symbol, gray: Gray, staff: Staff) -> bool:
    """Whether a symbol is no head, or one that may be printed where it is: far from its staff there are ledger lines.

    The note of a tempo mark has none, nor have the letters that may look like heads. A scan that lost the lines of a staff
    has lost its ledger lines too.
    """
    position = staff.position(symbol.x, symbol.y)
    if (
        symbol.kind not in ("head", "hollow head")
        or abs(position) < LEDGER + 0.5
        or (staff.contrast < FAINT and abs(position) < NEAR)
    ):
        return True
    if round(symbol.left) < 3 or round(symbol.right) + 3 > gray.shape[1]:
        return True
    seen = _ledgers(symbol, gray, staff)
    return seen[0] and sum(seen) >= LEDGERS_SEEN * len(seen)


def by_ledgers(symbols: Sequence[Symbol], gray: Gray, staves: Sequence[Staff]) -> list[Symbol]:
    """Leave out heads that are on no ledger lines, but for those of the next staff, to which all of its ledger lines lead.

    Between two staves, a head may belong to the farther one. Its accidental and its dots then belong there as well.
    """
    found, moved = [], []
    for symbol in symbols:
        if on_ledgers(symbol, gray, staves[symbol.staff]):
            found.append(symbol)
            continue
        above = staves[symbol.staff].position(symbol.x, symbol.y) > 0
        other = symbol.staff + (-1 if above else 1)
        if 0 <= other < len(staves) and _leads_to(symbol, gray, staves[other]):
            moved.append((symbol, other))
            found.append(replace(symbol, staff=other))
    return [next((replace(s, staff=other) for head, other in moved if _goes_with(s, head)), s) for s in found]


def _leads_to(symbol: Symbol, gray: Gray, staff: Staff) -> bool:
    """Whether all ledger lines are seen between a head and a staff."""
    position = abs(staff.position(symbol.x, symbol.y))
    if not staff.left < symbol.left < symbol.right < staff.right or not LEDGER + 0.5 <= position <= 2 * (FAR + 2):
        return False
    return all(_ledgers(symbol, gray, staff))


def _goes_with(symbol: Symbol, head: Symbol) -> bool:
    """Whether a symbol is an accidental or a dot beside a head."""
    if symbol.staff != head.staff or abs(symbol.y - head.y) > LEVEL * SPACE:
        return False
    if symbol.kind == "dot":
        return head.right < symbol.x and symbol.right <= head.right + RIGHT_OF * SPACE
    return symbol.kind in WIDTHS and symbol.x < head.left and symbol.left >= head.left - LEFT_OF * SPACE


def _ledgers(symbol: Symbol, gray: Gray, staff: Staff) -> list[bool]:
    """Whether each ledger line between a head and a staff is seen, the nearest to the staff first."""
    position = staff.position(symbol.x, symbol.y)
    left, right = round(symbol.left), round(symbol.right)
    return [
        _has_ledger(gray, round(staff.row(symbol.x, math.copysign(level, position))), left, right, abs(position) < level + 2)
        for level in range(LEDGER, round(abs(position)) + 1, 2)
    ]


def _has_ledger(gray: Gray, row: int, left: int, right: int, own: bool) -> bool:
    """Whether a line is seen in a row at a head's columns; beside the head, where it lies on its own line or where other heads
    of its chord lie above and below the line. True at the border."""
    if not SPACE <= row < len(gray) - SPACE:
        return True
    rows = 255.0 - gray[row - SPACE // 2 : row + SPACE // 2 + 1].astype(np.float32)
    darkness = rows[:, left : right + 1].mean(1)
    if own or min(darkness[0], darkness[-1]) >= BLACK:
        darkness = rows[:, [left - 2, left - 1, right + 1, right + 2]].mean(1)  # heads leave the ends of the line free
    line = darkness[SPACE // 2 - 1 : SPACE // 2 + 2].max()
    return bool(line - min(darkness[0], darkness[-1]) >= LEDGER_CONTRAST)


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
                first = np.flatnonzero(cover >= cover.max() - 1e-6)
                first = first[first - first[0] < high]  # another head beside it may be covered as well
                best = near, int(first.mean()), float(cover.max())
    return best


def _beside_stem(symbol: Symbol, seen: Map) -> bool:
    top, bottom = max(0, int(symbol.top) - 2), int(symbol.bottom) + 3
    left, right = max(0, int(symbol.left) - 2), int(symbol.right) + 3
    return bool((seen[top:bottom, left:right] == CLASS["stem"]).sum() >= 2)

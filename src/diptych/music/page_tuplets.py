"""The chords and rests of a page, and the tuplets that numbers make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_symbols import Symbol

BEAM_REACH = 2.0, 4.0  # staff spaces from a beam to the number of its tuplet, in another staff and in its own
LOWEST = 0.8  # staff spaces of a number; what is lower is a part of other text, such as a tempo
IN_STAFF = 3.2  # staff steps from the middle line to the middle of a meter's digit, which is usually 2 steps from it
TUPLETS = {5: Fraction(4, 5), 7: Fraction(4, 7)}
"""What the notes of a tuplet of so many last, in place of what is printed; in all others, three stand for two."""


@dataclass(frozen=True)
class Event:
    """A chord or a rest: its staff, its x in pixels, its length in quarters and its heads, none for a rest.

    ``up`` is the direction of its stem, None without one; ``tip`` the height of the stem's end, or of a rest; ``beams`` the
    number of beams or flags. ``full`` marks a whole rest, which may stand for a whole measure. Events under one beam share a
    ``group``, which is 0 for all others.
    """

    staff: int
    x: float
    duration: Fraction
    heads: tuple[Symbol, ...] = ()
    up: bool | None = None
    tip: float = 0.0
    beams: int = 0
    full: bool = False
    beamed: bool = False
    group: int = 0
    alone: Fraction | None = None
    """Its length without the tuplet that it belongs to, None outside one."""


def with_tuplets(events: list[Event], symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[Event]:
    """Shorten the events of each tuplet, which is a group under one beam or some events around its number."""
    taken: set[int] = set()
    for number in _tuplet_numbers(symbols, staves):
        left, right = _measure_around(number, symbols, staves)
        near = [k for k, e in enumerate(events) if left < e.x < right and k not in taken]
        beamed = _with_rest(number, events, _beamed_group(number, events, near), near)
        own = [k for k in near if events[k].staff == (events[beamed[0]].staff if beamed else number.staff)]
        group = beamed if _is_tuplet([events[k] for k in beamed]) else _centred_group(number, events, own) or beamed
        shorter = TUPLETS.get(len(group), Fraction(2, 3))
        for k in group:
            events[k] = replace(events[k], duration=events[k].duration * shorter, alone=events[k].duration)
        taken.update(group)
    return events


def _measure_around(digit: Symbol, symbols: Sequence[Symbol], staves: Sequence[Staff]) -> tuple[float, float]:
    """Return the bar lines around a digit, which no tuplet crosses; one line may go through several staves."""
    middle = staves[digit.staff].row(digit.x, 0)
    bars = [s.x for s in symbols if s.kind == "bar line" and s.height >= 3 * SPACE and s.top <= middle <= s.bottom]
    return max((x for x in bars if x < digit.x), default=-math.inf), min((x for x in bars if x > digit.x), default=math.inf)


def _tuplet_numbers(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[Symbol]:
    """Return the numbers of tuplets from left to right; one of two digits is a single symbol."""
    found: list[Symbol] = []
    for digit in symbols:
        if digit.kind != "digit" or digit.height < LOWEST * SPACE or _in_staff(digit, staves[digit.staff]):
            continue
        last = next((k for k, other in enumerate(found) if _is_next_digit(other, digit)), None)
        if last is None:
            found.append(digit)
        else:
            found[last] = replace(found[last], right=digit.right, x=(found[last].left + digit.right) / 2)
    return found


def _is_next_digit(before: Symbol, digit: Symbol) -> bool:
    near = -0.2 * SPACE <= digit.left - before.right <= 0.5 * SPACE and abs(digit.y - before.y) <= 0.5 * SPACE
    return before.staff == digit.staff and near


def _is_tuplet(events: Sequence[Event]) -> bool:
    """Whether events may be a tuplet: by their number, or since they last three times a plain value together."""
    third = sum((event.duration for event in events), Fraction(0)) / 3
    return len(events) in TUPLETS or (third.numerator == 1 and third.denominator in (1, 2, 4, 8))


def _in_staff(digit: Symbol, staff: Staff) -> bool:
    """Whether a digit belongs to a meter: it is as high as half of the staff, and its middle is near the second or fourth line.

    That of a tuplet may be as high, in Petaluma, and stand on an outer line.
    """
    return digit.height >= 1.6 * SPACE and abs(staff.position(digit.x, digit.y)) <= IN_STAFF


def _beamed_group(digit: Symbol, events: Sequence[Event], near: Sequence[int]) -> list[int]:
    """Return the events from the first to the last note of the beam next to a digit, if it is in the middle of them.

    The beam may be that of another staff, whose number stands between both.
    """
    groups: dict[int, list[int]] = {}
    for k in near:
        if events[k].group:
            groups.setdefault(events[k].group, []).append(k)
    found: list[tuple[float, list[int]]] = []
    for group in groups.values():
        first, last = events[group[0]], events[group[-1]]
        middle, far = (first.x + last.x) / 2, abs(digit.y - (first.tip + last.tip) / 2)
        reach = BEAM_REACH[first.staff == digit.staff] * SPACE
        if len(group) > 1 and far <= reach and abs(digit.x - middle) <= max(1.5 * SPACE, 0.2 * (last.x - first.x)):
            inside = [k for k in near if events[k].staff == first.staff and first.x <= events[k].x <= last.x]
            found.append((far, [k for k in inside if events[k].up in (None, first.up)]))
    return min(found)[1] if found else []


def _with_rest(digit: Symbol, events: Sequence[Event], group: list[int], near: Sequence[int]) -> list[int]:
    """Add the rest before or after the notes of a beam, where a digit is in the middle of all of them."""
    if not group:
        return group
    own = [k for k in near if events[k].staff == events[group[0]].staff]
    first, last = own.index(group[0]), own.index(group[-1])
    ways = [group]
    ways += [[k, *group] for k in own[max(0, first - 1) : first] if not events[k].heads]
    ways += [[*group, k] for k in own[last + 1 : last + 2] if not events[k].heads]
    off = [abs(digit.x - (events[way[0]].x + events[way[-1]].x) / 2) for way in ways]
    best = off.index(min(off))
    return ways[best] if off[best] < off[0] - SPACE else group


def _centred_group(digit: Symbol, events: Sequence[Event], near: Sequence[int]) -> list[int]:
    """Return the fewest events around a digit that last three times a plain value together, and whose middle it is."""
    best: tuple[float, list[int]] | None = None
    for start in range(len(near)):
        total = Fraction(0)
        for end in range(start, min(start + 6, len(near))):
            total += events[near[end]].duration
            third = total / 3
            if third.numerator == 1 and third.denominator in (1, 2, 4, 8):  # a dotted note may be all of a triplet
                middle = (events[near[start]].x + events[near[end]].x) / 2
                off = abs(digit.x - middle) / SPACE + 0.3 * max(1, end - start)
                if off <= (3 if end > start else 1) and (best is None or off < best[0]):
                    best = off, [near[k] for k in range(start, end + 1)]
    return best[1] if best else []

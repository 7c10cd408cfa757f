"""Put symbols of a page together to chords and rests with their note values, as engravers write them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_stems import count_beams, join_stems
from diptych.music.page_symbols import Map, Symbol
from diptych.music.symbols import CLASS

WHOLE_NOTE, HALF_NOTE, QUARTER_NOTE = Fraction(4), Fraction(2), Fraction(1)
RESTS = {"quarter rest": Fraction(1), "eighth rest": Fraction(1, 2), "16th rest": Fraction(1, 4), "32nd rest": Fraction(1, 8)}
FLAGS = {"flag": 1, "two flags": 2, "three flags": 3}
MAX_BEAMS = 5
MORE_FLAGS = 0.35  # the share of the flags of a stem that is seen as so many, or as more
SAME_PLACE = {"head": 0.9, "hollow head": 2.0}  # staff spaces between heads without stems that are one chord
OTHER_SIDE = 0.3  # staff spaces: a stem right of a head goes up, one left of it down; others are as if farther by so much
CHORD_REACH = 2.1  # staff spaces between heads of a chord that may hide all of the stem between them
BOTH_WAYS = 1.7  # staff spaces by which the stems of two voices in one column go on above and below all heads
WIDEST_HALF = 1.5  # staff spaces: wider hollow heads are whole notes
DOT_REACH = (0.2, 2.6)  # staff spaces from the right of a head to the middle of its dots
ABOVE = 4.4  # staff steps above the middle line: what stands higher does not touch the staff
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


def find_events(symbols: Sequence[Symbol], seen: Map, staves: Sequence[Staff]) -> list[Event]:
    """Find all chords and rests of a page, from left to right, with the note values that are printed."""
    heads = [s for s in symbols if s.kind in ("head", "hollow head")]
    stems = join_stems(symbols, seen)
    flags = [s for s in symbols if s.kind in FLAGS]
    held: dict[int, list[Symbol]] = {}
    alone: list[Symbol] = []
    for head in heads:
        found = _stems_of(head, stems)
        for index in found:
            held.setdefault(index, []).append(head)
        if not found:
            alone.append(head)
    held = _of_one_kind(held)
    alone = _joined_to_chords(alone, held, stems)
    events = [_chord(stem, chord, flags, seen) for index, whole in held.items() for stem, chord in _ways(stems[index], whole)]
    events += _without_stems(alone, flags)
    rests = [s for s in symbols if s.kind in RESTS or s.kind == "long rest"]
    events += [_rest(s, staves[s.staff]) for s in rests if not _is_breath(s, staves[s.staff])]
    dots = [s for s in symbols if s.kind == "dot"]
    ordered = _in_groups(sorted(_with_dots(events, dots), key=lambda event: event.x), seen)
    return _with_tuplets(ordered, symbols, staves)


def _in_groups(events: list[Event], seen: Map) -> list[Event]:
    """Number the events that a beam joins."""
    last: dict[tuple[int, bool | None], int] = {}
    number = 0
    for k, event in enumerate(events):
        if not event.beamed:
            continue
        before = last.get((event.staff, event.up))
        if before is not None and _joined(events[before], event, seen):
            group = events[before].group
        else:
            number += 1
            group = number
        events[k] = replace(event, group=group)
        last[event.staff, event.up] = k
    return events


def _stems_of(head: Symbol, stems: Sequence[Symbol]) -> list[int]:
    """Return the stem of a head; two where one goes up on its right and one down on its left."""
    near: dict[bool, tuple[float, int]] = {}
    for index, stem in enumerate(stems):
        if stem.height < 1.2 * SPACE or not stem.top - 1.1 * SPACE <= head.y <= stem.bottom + 1.1 * SPACE:
            continue
        right = stem.x > head.x
        edge = head.right if right else head.left
        off = abs(stem.x - edge)
        if off > 0.5 * SPACE:
            continue
        off += OTHER_SIDE * SPACE * (right != (head.y - stem.top > stem.bottom - head.y))
        if off < near.get(right, (99.0, 0))[0]:
            near[right] = off, index
    if len(near) == 2:
        up, down = stems[near[True][1]], stems[near[False][1]]
        if (
            head.y - up.top > 1.5 * SPACE
            and down.bottom - head.y > 1.5 * SPACE
            and up.bottom <= head.y + SPACE
            and down.top >= head.y - SPACE
        ):
            return [near[True][1], near[False][1]]
    return [min(near.values())[1]] if near else []


def _of_one_kind(held: dict[int, list[Symbol]]) -> dict[int, list[Symbol]]:
    """Leave heads that have two stems to one of them, where the other one has heads of the other kind: a chord has one kind."""
    stems_of = Counter(id(head) for chord in held.values() for head in chord)
    found = {}
    for index, chord in held.items():
        kinds = {head.kind for head in chord if stems_of[id(head)] == 1}
        found[index] = [head for head in chord if head.kind in kinds] if len(kinds) == 1 else chord
    return found


def _joined_to_chords(alone: Sequence[Symbol], held: dict[int, list[Symbol]], stems: Sequence[Symbol]) -> list[Symbol]:
    """Give heads without a stem to a chord that has one next to them, whose heads hide it; return those that remain."""
    remaining = list(alone)
    while True:
        for k, head in enumerate(remaining):
            near = [
                (min(abs(head.y - other.y) for other in chord), index)
                for index, chord in held.items()
                if chord[0].kind == head.kind
                and chord[0].staff == head.staff
                and min(abs(stems[index].x - head.right), abs(stems[index].x - head.left)) <= 0.5 * SPACE
            ]
            if near and min(near)[0] <= CHORD_REACH * SPACE and (head.kind == "head" or head.width <= WIDEST_HALF * SPACE):
                held[min(near)[1]].append(remaining.pop(k))
                break
        else:
            return remaining


def _ways(stem: Symbol, heads: Sequence[Symbol]) -> list[tuple[Symbol, Sequence[Symbol]]]:
    """Part a stem that goes on both above and below its heads: the left ones are an upper voice."""
    top, bottom = min(h.y for h in heads), max(h.y for h in heads)
    above, below = [h for h in heads if h.x < stem.x], [h for h in heads if h.x >= stem.x]
    if not above or not below or min(top - stem.top, stem.bottom - bottom) < BOTH_WAYS * SPACE:
        return [(stem, heads)]
    return [(replace(stem, bottom=max(h.y for h in above)), above), (replace(stem, top=min(h.y for h in below)), below)]


def _chord(stem: Symbol, heads: Sequence[Symbol], flags: Sequence[Symbol], seen: Map) -> Event:
    top, bottom = min(h.y for h in heads), max(h.y for h in heads)
    up = top - stem.top > stem.bottom - bottom
    tip = stem.top if up else stem.bottom
    hollow = sum(h.kind == "hollow head" for h in heads) * 2 > len(heads)
    x = min(h.x for h in heads) if up else max(h.x for h in heads)
    near = [
        f for f in flags if stem.x - 0.4 * SPACE <= f.left <= stem.x + 0.7 * SPACE and f.top - SPACE <= tip <= f.bottom + SPACE
    ]
    # A hollow head under a beam is that of a filled one that stands beside a half note of another voice.
    hollow = hollow and not count_beams(seen, stem, up=up, limit=tip + SPACE if up else tip - SPACE)
    beams = 0 if hollow else count_beams(seen, stem, up=up, limit=top if up else bottom)
    number = min(beams or (0 if hollow else _count_flags(near)), MAX_BEAMS)
    duration = HALF_NOTE if hollow else QUARTER_NOTE / 2**number
    staff = heads[0].staff
    return Event(staff, x, duration, tuple(replace(h, staff=staff) for h in heads), up, tip, number, beamed=beams > 0)


def _count_flags(flags: Sequence[Symbol]) -> int:
    """Return how many flags a stem has, where a translator may see a part of two or three flags as fewer."""
    area = sum(flag.area for flag in flags)
    for number in (3, 2):
        if sum(flag.area for flag in flags if FLAGS[flag.kind] >= number) > MORE_FLAGS * area:
            return number
    return int(bool(flags))


def _without_stems(heads: Sequence[Symbol], flags: Sequence[Symbol]) -> list[Event]:
    """Group heads without stems that stand at one place: whole notes, and filled ones whose stem was not seen.

    The stem of a flag may be seen as a part of it.
    """
    groups: list[list[Symbol]] = []
    for head in sorted(heads, key=lambda h: (h.staff, h.kind, h.x)):
        last = groups[-1][-1] if groups else None
        if last and (last.staff, last.kind) == (head.staff, head.kind) and head.x - last.x <= SAME_PLACE[head.kind] * SPACE:
            groups[-1].append(head)
        else:
            groups.append([head])
    return [_chord_without_stem(group, flags) for group in groups]


def _chord_without_stem(heads: Sequence[Symbol], flags: Sequence[Symbol]) -> Event:
    staff, x = heads[0].staff, min(h.x for h in heads)
    if heads[0].kind == "hollow head":
        return Event(staff, x, WHOLE_NOTE, tuple(heads))
    left, right = min(h.left for h in heads) - 0.5 * SPACE, max(h.right for h in heads) + 0.5 * SPACE
    near = [f for f in flags if left <= f.left <= right and any(f.top - SPACE <= h.y <= f.bottom + 1.5 * SPACE for h in heads)]
    number = _count_flags(near)
    up = near[0].y < heads[0].y if near else None
    return Event(staff, x, QUARTER_NOTE / 2**number, tuple(heads), up, near[0].y if near else 0.0, number)


def _is_breath(symbol: Symbol, staff: Staff) -> bool:
    """Whether what looks like an eighth rest is a breath mark: it stands above the staff and does not touch it."""
    return symbol.kind == "eighth rest" and staff.position(symbol.x, symbol.bottom) > ABOVE


def _rest(symbol: Symbol, staff: Staff) -> Event:
    """A rest. A whole rest hangs below a line and a half rest sits on one."""
    if symbol.kind in RESTS:
        return Event(symbol.staff, symbol.x, RESTS[symbol.kind], tip=symbol.y)
    middle = (symbol.top + symbol.bottom) / 2
    below = (staff.position(symbol.x, middle) / 2) % 1  # staff spaces above a line
    whole = below > 0.5
    return Event(symbol.staff, symbol.x, WHOLE_NOTE if whole else HALF_NOTE, tip=symbol.y, full=whole)


def _with_dots(events: Sequence[Event], dots: Sequence[Symbol]) -> list[Event]:
    """Lengthen events by the dots on their right: half of their length, and half of that by a second one."""
    columns: dict[int, list[float]] = {}
    for dot in dots:
        near = [
            (abs(dot.y - y) + 0.5 * (dot.x - right), index)
            for index, event in enumerate(events)
            if event.staff == dot.staff
            for y, right in ([(h.y, h.right) for h in event.heads] or [(event.tip, event.x + 0.5 * SPACE)])
            if DOT_REACH[0] * SPACE <= dot.x - right <= DOT_REACH[1] * SPACE
            and abs(dot.y - y) <= (0.8 if event.heads else 1.3) * SPACE
        ]
        if near:
            columns.setdefault(min(near)[1], []).append(dot.x)
    found = []
    for index, event in enumerate(events):
        xs = sorted(columns.get(index, ()))
        number = min(2, sum(1 for k, x in enumerate(xs) if not k or x - xs[k - 1] > 0.35 * SPACE))
        found.append(replace(event, duration=event.duration * (2 - Fraction(1, 2**number))))
    return found


def _with_tuplets(events: list[Event], symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[Event]:
    """Shorten the events of each tuplet, which is a group under one beam or some events around its number."""
    taken: set[int] = set()
    for number in _tuplet_numbers(symbols, staves):
        left, right = _measure_around(number, symbols)
        near = [k for k, e in enumerate(events) if e.staff == number.staff and left < e.x < right and k not in taken]
        beamed = _beamed_group(number, events, near)
        group = beamed if _is_tuplet([events[k] for k in beamed]) else _centred_group(number, events, near) or beamed
        shorter = TUPLETS.get(len(group), Fraction(2, 3))
        for k in group:
            events[k] = replace(events[k], duration=events[k].duration * shorter, alone=events[k].duration)
        taken.update(group)
    return events


def _measure_around(digit: Symbol, symbols: Sequence[Symbol]) -> tuple[float, float]:
    """Return the bar lines around a digit, which no tuplet crosses."""
    bars = [s.x for s in symbols if s.kind == "bar line" and s.staff == digit.staff and s.height >= 3 * SPACE]
    return max((x for x in bars if x < digit.x), default=-math.inf), min((x for x in bars if x > digit.x), default=math.inf)


def _tuplet_numbers(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[Symbol]:
    """Return the numbers of tuplets from left to right; one of two digits is a single symbol."""
    found: list[Symbol] = []
    for digit in symbols:
        if digit.kind != "digit" or _in_staff(digit, staves[digit.staff]):
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
    """Return the events from the first to the last note of the beam next to a digit, if it is in the middle of them."""
    groups: dict[int, list[int]] = {}
    for k in near:
        if events[k].group:
            groups.setdefault(events[k].group, []).append(k)
    for group in groups.values():
        first, last = events[group[0]], events[group[-1]]
        middle = (first.x + last.x) / 2
        if len(group) > 1 and abs(digit.x - middle) <= max(1.5 * SPACE, 0.2 * (last.x - first.x)):
            tip = (first.tip + last.tip) / 2
            if abs(digit.y - tip) <= 4 * SPACE:
                return [
                    k for k in near if first.x <= events[k].x <= last.x and (events[k].up is None or events[k].up == first.up)
                ]
    return []


def _joined(a: Event, b: Event, seen: Map) -> bool:
    """Whether a beam goes from one stem to the next."""
    if a.up != b.up:
        return False
    for share in (0.3, 0.5, 0.7):
        x, y = round(a.x + share * (b.x - a.x)), a.tip + share * (b.tip - a.tip)
        column = seen[max(0, round(y - 0.8 * SPACE)) : round(y + 0.8 * SPACE) + 1, min(x, seen.shape[1] - 1)]
        if not (column == CLASS["beam"]).any():
            return False
    return True


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

"""Put symbols of a page together to chords and rests with their note values, as engravers write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_stems import count_beams, join_stems
from diptych.music.page_symbols import Map, Symbol
from diptych.music.page_tuplets import Event, with_tuplets
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
    events = [
        _chord(stem, chord, flags, seen) for index, whole in held.items() for stem, chord in _ways(stems[index], whole, seen)
    ]
    events += _without_stems(alone, flags)
    rests = [s for s in symbols if s.kind in RESTS or s.kind == "long rest"]
    events += [_rest(s, staves[s.staff]) for s in rests if not _is_breath(s, staves[s.staff])]
    dots = [s for s in symbols if s.kind == "dot"]
    ordered = _in_groups(sorted(_with_dots(events, dots), key=lambda event: event.x), seen)
    return with_tuplets(ordered, symbols, staves)


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


def _ways(stem: Symbol, heads: Sequence[Symbol], seen: Map) -> list[tuple[Symbol, Sequence[Symbol]]]:
    """Part a stem that goes on both above and below its heads: the left ones are an upper voice.

    It may end beside a lower head of that voice, where it leads from the right ones to a beam.
    """
    above, below = [h for h in heads if h.x < stem.x], [h for h in heads if h.x >= stem.x]
    if not above or not below:
        return [(stem, heads)]
    top, bottom, end = min(h.y for h in heads), max(h.y for h in heads), max(h.y for h in below)
    beamed = bottom > end and count_beams(seen, stem, up=False, limit=end) > 0
    if min(top - stem.top, stem.bottom - (end if beamed else bottom)) < BOTH_WAYS * SPACE:
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

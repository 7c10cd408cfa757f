"""The key signatures of a page's systems, and the bar lines between which they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from diptych.music.notes import Accidental
from diptych.music.page_clefs import Clefs, clef_at
from diptych.music.page_events import Event
from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_symbols import Symbol
from diptych.music.roll import key_position

MARKS: dict[str, Accidental] = {"sharp": "s", "flat": "f", "natural": "n"}
KEY_PLACE = (1.2, 0.8)  # steps from an accidental to its place in a key, at both ends of a system, and before notes within it
DOUBLE_SHARP = 1.6  # staff spaces: a sharp that is lower is a double one
SAME_BAR = 1.6  # staff spaces between the strokes of a double bar line
CHORD_GAP = 0.4  # staff spaces between accidentals of a chord
TOUCHING = 0.5  # staff spaces: the width of two strokes that a map shows as one
ACCIDENTAL_REACH = 6.0  # staff spaces from an accidental to the head on its right
STEP_COST = 3  # staff spaces to the right that count as much as one step up or down
ONE_CHORD, BEHIND = 1.6, 0.25
"""Staff spaces between heads on both sides of the stem of one chord, and how much of their distance counts."""


def bars_of(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[float]:
    """Return the x of the bar lines; the strokes of a double one count as its last one."""
    xs = strokes_of(symbols, staves)
    return [x for k, x in enumerate(xs) if k + 1 == len(xs) or xs[k + 1] - x > SAME_BAR * SPACE]


def strokes_of(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[float]:
    """Return the x of the strokes over the height of a staff."""
    xs = []
    for s in symbols:
        staff = staves[s.staff]
        whole = s.height >= 3 * SPACE and s.top <= staff.row(s.x, 3) and s.bottom >= staff.row(s.x, -3)
        if s.kind == "bar line" and whole and s.x > staff.left + 2 * SPACE:
            xs.append(s.x)
    return sorted(xs)


def double_bars(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[float]:
    """Return the x of those bar lines that have two strokes, which may touch each other."""
    strokes = strokes_of(symbols, staves)
    wide = {s.x for s in symbols if s.kind == "bar line" and s.right - s.left >= TOUCHING * SPACE}
    single = {x for k, x in enumerate(strokes) if not k or x - strokes[k - 1] > SAME_BAR * SPACE}
    return [x for x in bars_of(symbols, staves) if x not in single or x in wide]


def keys_of(
    symbols: Sequence[Symbol],
    events: Sequence[Event],
    clefs: Sequence[Clefs],
    staves: Sequence[Staff],
    left: float | None = None,
    right: float | None = None,
    fifths: int = 0,
) -> list[tuple[int, list[Symbol]]]:
    """Return the key of each staff between two bar lines, or at the beginning of a system, and the accidentals that print it."""
    left = float(min(staff.left for staff in staves)) if left is None else left
    right = (bars_of(symbols, staves) or [float(max(staff.right for staff in staves))])[0] if right is None else right
    inside = [event for event in events if left < event.x <= right]
    begin = min((event.x - SPACE for event in inside), default=right)
    accidentals = [s for s in symbols if s.kind in MARKS]
    return [
        _key(accidentals, number, staff, left, right, begin, inside, clefs[number], fifths) for number, staff in enumerate(staves)
    ]


def changed_keys(
    symbols: Sequence[Symbol],
    events: Sequence[Event],
    clefs: Sequence[Clefs],
    staves: Sequence[Staff],
    edges: Sequence[float],
    fifths: int,
    following: int | None = None,
) -> dict[float, tuple[int, list[Symbol]]]:
    """Return the keys that are printed within a system that begins in one of ``fifths``, by the x of the bar lines before them,
    each with the accidentals that print it.

    Where the key is known with which the ``following`` system begins, the last one must be that.
    """
    changes: dict[float, tuple[int, list[Symbol]]] = {}
    for left, right in pairwise(edges):
        keys = keys_of(symbols, events, clefs, staves, left, right, fifths)
        if keys[0][1]:
            fifths = keys[0][0]
            changes[left] = fifths, [s for _, used in keys for s in used]
    last = max((left for left, (each, _) in changes.items() if following in (None, each)), default=edges[0] - 1)
    return {left: change for left, change in changes.items() if left <= last}


def _key(
    accidentals: Sequence[Symbol],
    number: int,
    staff: Staff,
    left: float,
    right: float,
    begin: float,
    events: Sequence[Event],
    clefs: Sequence[tuple[float, str]],
    fifths: int,
) -> tuple[int, list[Symbol]]:
    """Return the key signature from a bar line on, with the accidentals that print it; ``fifths`` where there is none."""
    row = [s for s in accidentals if s.staff == number and left < s.x < begin + 2 * SPACE]
    heads = [head for event in events for head in event.heads if head.staff == number]
    clef = clef_at(clefs, min(begin, right))
    for kind, sign in (("sharp", 1), ("flat", -1)):
        mark = MARKS[kind]
        printed = [s for s in row if s.kind == kind and s.height >= DOUBLE_SHARP * SPACE]
        number_of = _in_place(printed, mark, clef, staff, KEY_PLACE[bool(events) and left > staff.left + SPACE])
        while (
            number_of
            and _alters(printed[number_of - 1], heads, staff)
            and not (number_of > 1 and printed[number_of - 1].x - printed[number_of - 2].x < 1.25 * SPACE)
        ):
            number_of -= 1
        if number_of:
            cancelled = [s for s in row if s.kind == "natural" and s.x < printed[0].x]
            return sign * number_of, printed[:number_of] + cancelled
    naturals = [s for s in row if s.kind == "natural"]
    first = min((event.x for event in events if event.heads), default=right)
    clear = all(first - s.x > 2.2 * SPACE or len(naturals) > 2 for s in naturals)
    miscounted = int(not events)  # at the end of a system, those that touch each other may be seen as one more, or as one less
    if naturals and clear and fifths and abs(len(naturals) - abs(fifths)) <= miscounted:
        return 0, naturals
    return fifths, []


def _in_place(printed: Sequence[Symbol], mark: Accidental, clef: str, staff: Staff, most: float) -> int:
    """Return how many accidentals from the first one on stand where a key signature has them.

    One between others that are in place may be off: its neighbours touch it. One that accidentals of a chord follow at once is
    none of a key.
    """
    off = [abs(staff.position(s.x, s.y) - key_position(mark, index, clef)) > most for index, s in enumerate(printed[:7])]
    number = next((k for k, each in enumerate(off) if each), len(off))
    if not number or number == len(printed):
        return number
    between = off[number + 1 : number + 2] == [False] and printed[number + 1].x - printed[number].x > SPACE / 2
    if between:
        return next((k for k in range(number + 1, len(off)) if off[k]), len(off))
    return number if number > 1 or printed[1].left - printed[0].right > CHORD_GAP * SPACE else 0


def _alters(symbol: Symbol, heads: Sequence[Symbol], staff: Staff) -> bool:
    """Whether an accidental stands right before a head on its step."""
    return any(
        0 < head.left - symbol.right <= 1.3 * SPACE
        and abs(staff.position(head.x, head.y) - staff.position(symbol.x, symbol.y)) <= 1.0
        for head in heads
    )


def agreed_keys(headers: Sequence[int], changes: Sequence[set[int]]) -> list[int]:
    """Return the keys with which systems begin, given those that were read, and the keys to which each system seems to change.

    Systems among which no change is printed have one key: that of most of them, or the one with more signs.
    """
    agreed: list[int] = []
    first = 0
    for k in range(1, len(headers) + 1):
        if k < len(headers) and headers[k] not in changes[k - 1]:
            continue
        counts = Counter(headers[first:k])
        agreed += [max(counts, key=lambda fifths: (counts[fifths], abs(fifths)))] * (k - first)
        first = k
    return agreed


def marks_of(events: Sequence[Event], accidentals: Sequence[Symbol], staves: Sequence[Staff]) -> dict[int, Accidental]:
    """Return the accidental of each head that has one, by its id: the nearest head on the right on the accidental's step."""
    heads = [head for event in events for head in event.heads]
    lefts = [min(o.left for o in heads if o.staff == h.staff and h.left - ONE_CHORD * SPACE <= o.left <= h.left) for h in heads]
    found: dict[int, Accidental] = {}
    for symbol in accidentals:
        staff = staves[symbol.staff]
        position = staff.position(symbol.x, symbol.y)
        near = [
            (off * STEP_COST * SPACE + lefts[k] - symbol.right + BEHIND * (h.left - lefts[k]), k)
            for k, h in enumerate(heads)
            if h.staff == symbol.staff
            and -0.5 * SPACE <= h.left - symbol.right <= ACCIDENTAL_REACH * SPACE
            and abs(round(staff.position(h.x, h.y)) - position) <= 1.05
            for off in [abs(staff.position(h.x, h.y) - position)]
        ]
        if near:
            mark = MARKS[symbol.kind]
            if mark == "s" and symbol.height < DOUBLE_SHARP * SPACE:
                mark = "ss"
            head = heads[min(near)[1]]
            found[id(head)] = "ff" if mark == "f" and found.get(id(head)) == "f" else mark
    return found

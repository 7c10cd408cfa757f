"""Read the notes of a page from the map of its symbols by the rules of notation: clefs, keys, accidentals, measures and ties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from diptych.music.clefs import PRINTED_CLEFS
from diptych.music.notes import Note, key_alter
from diptych.music.page_clefs import Clefs, clef_at, clefs_of
from diptych.music.page_digits import counts_tuplet, in_text, without_symbols
from diptych.music.page_events import RESTS, Event, find_events
from diptych.music.page_finding import find_symbols, without_lines
from diptych.music.page_geometry import SPACE, Gray, Page, Staff
from diptych.music.page_heads import by_ledgers
from diptych.music.page_keys import MARKS, agreed_keys, bars_of, changed_keys, double_bars, keys_of, marks_of, strokes_of
from diptych.music.page_meters import PrintedMeter, find_meters, find_strokes, shows_meter
from diptych.music.page_octaves import Octaves, find_octaves, octaves_at, without_octaves
from diptych.music.page_repeats import without_repeats
from diptych.music.page_rests import HEADER, LongRest, find_long_rests, without_signs
from diptych.music.page_rhythm import CLEAN, Timing, time_measures
from diptych.music.page_symbols import Map, Symbol
from diptych.music.page_tempos import without_tempos

ALTER = {"s": 1, "f": -1, "n": 0, "ss": 2, "ff": -2}
SIGNATURE = ("clef G", "clef F", "clef C", "sharp", "flat", "natural", "bar line")  # what is no part of a meter
EMPTY = 4.0  # staff spaces between two bar lines from which on there is a measure between them
ROOM = 1.9  # staff spaces from a meter to a bar line; with less room, verovio draws the rest of an upbeat across the meter
NARROWEST = 4.5  # staff spaces of a measure at the end of a system
SHORT_STEM = 1.8  # staff spaces: a shorter one may be a part of a rest that looks like a head
OUTSIDE = 5.0  # staff steps from the middle line from which on a digit is no part of a meter
TIE_REACH = (1.0, 3.3)  # staff spaces from the middle of a head inwards and outwards to the end of its tie


@dataclass(frozen=True)
class Measure:
    """One measure as it was read: how long what is printed in it lasts, its key, and its notes timed from its beginning."""

    printed: Fraction
    fifths: int
    notes: tuple[Note, ...]
    heads: tuple[Symbol, ...]
    """The head of each note on the page."""
    meter: bool = False
    """Whether a meter is printed at its beginning."""
    signature: PrintedMeter | None = None
    """This meter, where it is legible."""
    ends_double: bool = False
    """Whether a double bar line ends it."""
    clean: bool = True
    """Whether its note values explain it without a pause or a change."""
    clefs: tuple[str, ...] = ()
    """The clef of each staff at its first chord or rest, none for a measure in which nothing is printed."""


@dataclass(frozen=True)
class Printed:
    """What is printed between two bar lines: chords and rests, the accidentals before notes, the key, whether a meter is, and
    whether the second one is double."""

    events: tuple[Event, ...]
    accidentals: tuple[Symbol, ...]
    fifths: int
    meter: bool
    ends_double: bool = False
    signature: PrintedMeter | None = None


@dataclass(frozen=True)
class ReadSystem:
    """One system as it was read: the clefs it begins with, and its measures."""

    clefs: tuple[str, ...]
    measures: tuple[Measure, ...]
    guessed: bool = False
    """Whether some staff shows no clef, here and in the other systems of the page."""
    agrees: bool = True
    """Whether it shows the key that holds there by the other systems of the page."""


def read_systems(seen: Map, page: Page) -> list[ReadSystem]:
    """Read all systems of a straightened page from the map of its symbols (see diptych.music.symbols).

    Rests of several measures, and their numbers, are read from the page itself.
    """
    systems = page.systems
    staves = [staff for system in systems for staff in system]
    seen = without_lines(seen, staves)
    symbols = by_ledgers(find_symbols(seen, staves), page.gray, staves)
    symbols = without_tempos(page.gray, without_repeats(symbols, staves), staves)
    octaves = find_octaves(symbols, page.gray, staves)
    symbols = without_octaves(symbols, octaves)
    letters = without_symbols(page.gray, seen)
    rests: list[list[LongRest]] = []
    meters: list[list[PrintedMeter]] = []
    kept: list[Symbol] = []
    for system, numbers in _numbered(systems):
        here = [replace(s, staff=s.staff - numbers[0]) for s in symbols if s.staff in numbers]
        if len(system) == 1:
            here += _more_bars(page.gray, here, system[0])
        bars = bars_of(here, system)
        meters.append(find_meters(page.gray, system[0], bars, [s for s in here if s.kind in MARKS and not s.staff]))
        here = [s for s in here if s.kind in SIGNATURE or not any(m.left <= s.x <= m.right for m in meters[-1])]
        here = [s for s in here if not s.kind.startswith("clef") or not _in_meter(s, here, meters[-1])]
        here = [s for s in here if s.kind != "bar line" or not any(abs(2 * s.x - m.left - m.right) <= SPACE for m in meters[-1])]
        bars = bars_of(here, system)
        upbeats = [(m.right, bar + SPACE / 2) for m in meters[-1] for bar in bars[:1] if 0 < bar - m.right < ROOM * SPACE]
        here = [s for s in here if not any(left < s.x < right for left, right in upbeats)]
        here = [s for s in here if s.kind not in RESTS or all(abs(s.x - bar) > SPACE for bar in bars)]
        digits = [s for s in here if s.kind == "digit"]
        here = [s for s in here if s.kind != "digit" or _may_count(page.gray, letters, s, digits, system[s.staff])]
        rests.append(find_long_rests(page.gray, here, system, _edges(here, system), [(m.left, m.right) for m in meters[-1]]))
        kept += [replace(s, staff=s.staff + numbers[0]) for s in without_signs(here, system, rests[-1])]
    symbols = sorted(kept, key=lambda symbol: symbol.x)
    clefs, guessed = clefs_of(symbols, systems)
    events = find_events(symbols, seen, staves)
    parted = []
    for _, numbers in _numbered(systems):
        first = numbers[0]
        here = [replace(s, staff=s.staff - first) for s in symbols if s.staff in numbers]
        inside = [
            replace(e, staff=e.staff - first, heads=tuple(replace(h, staff=h.staff - first) for h in e.heads))
            for e in events
            if e.staff in numbers
        ]
        parted.append((here, inside, [clefs[number] for number in numbers]))
    headers = [keys_of(*part, system)[0][0] for part, system in zip(parted, systems, strict=True)]
    edges = [_edges(here, system) for (here, _, _), system in zip(parted, systems, strict=True)]
    changes = [changed_keys(*parted[k], system, edges[k], headers[k]) for k, system in enumerate(systems)]
    keys = agreed_keys(headers, [{fifths for fifths, _ in each.values()} for each in changes])
    printed = []
    for k, ((here, inside, own), system) in enumerate(zip(parted, systems, strict=True)):
        following = keys[k + 1] if k + 1 < len(keys) else None
        printed.append((here, _measures(here, inside, own, system, keys[k], following, rests[k], meters[k])))
    every = [measure for _, measures in printed for measure in measures]
    lengths = [m.signature.length if m.signature else None for m in every]
    timings = iter(time_measures([m.events for m in every], [m.meter for m in every], [m.ends_double for m in every], lengths))
    found, first = [], 0
    for k, (system, (here, measures)) in enumerate(zip(systems, printed, strict=True)):
        own = clefs[first : first + len(system)]
        signs = [replace(s, staff=s.staff - first) for s in octaves if first <= s.staff < first + len(system)]
        notes = [_notes(measure, next(timings), system, own, signs) for measure in measures]
        tied = _tie(notes, [s for s in here if s.kind == "curve"])
        begins = tuple(each[0][1] for each in own)
        guess = not guessed.isdisjoint(range(first, first + len(system)))
        found.append(ReadSystem(begins, tuple(tied), guess, headers[k] == keys[k]))
        first += len(system)
    return found


def _measures(
    symbols: Sequence[Symbol],
    events: Sequence[Event],
    clefs: Sequence[Clefs],
    staves: Sequence[Staff],
    fifths: int,
    following: int | None,
    rests: Sequence[LongRest],
    signatures: Sequence[PrintedMeter],
) -> list[Printed]:
    """Part a system at its bar lines; what is printed nowhere between two of them is no measure.

    A wide one between two bar lines is a rest. The system begins in the key of so many ``fifths``. A key that changes within it
    must lead to that with which the ``following`` one begins.
    """
    measures: list[Printed] = []
    double, end = double_bars(symbols, staves), float(max(staff.right for staff in staves))
    left = start = float(min(staff.left for staff in staves))
    edges = _edges(symbols, staves)
    changes = changed_keys(symbols, events, clefs, staves, edges, fifths, following)
    header = keys_of(symbols, events, clefs, staves, left, edges[0], fifths)
    for right in edges:
        inside = [event for event in events if left < event.x <= right]
        inside = [] if len(inside) == 1 and _is_rest(inside[0], staves) else inside
        fifths, printing = changes.get(left, (fifths, [s for _, used in header for s in used if left == start]))
        taken = {id(s) for s in printing}
        begin = min((event.x - SPACE for event in inside), default=right)
        signature = next((m for m in signatures if left <= m.left and m.right < right), None)
        meter = signature is not None or shows_meter([s for s in symbols if left < s.x < begin], staves)
        long = next((rest.measures for rest in rests if rest.left == left), 0)
        measures += [Printed((), (), fifths, meter and not k, signature=None if k else signature) for k in range(long)]
        empty = right < end and right - left >= (EMPTY + HEADER * (left == start)) * SPACE  # its rest was not seen
        narrow = right > end and left > start and end - left < NARROWEST * SPACE
        courtesy = narrow and all(event.up is None for event in inside)  # the meter of the next system, or its key
        if (inside or empty) and not long and not courtesy:
            own = [s for s in symbols if s.kind in MARKS and left - SPACE < s.x <= right and id(s) not in taken]
            measures.append(Printed(tuple(inside), tuple(own), fifths, meter, right in double, signature))
        left = right
    return measures


def _is_rest(event: Event, staves: Sequence[Staff]) -> bool:
    """Whether the only event of a measure is its rest, which hangs from an upper line and looks like a head without a stem."""
    if len(event.heads) != 1 or event.heads[0].kind != "head" or event.beams or event.group:
        return False
    if event.up is not None and abs(event.tip - event.heads[0].y) > SHORT_STEM * SPACE:
        return False
    return 0 < staves[event.staff].position(event.x, event.heads[0].y) < 4


def _numbered(systems: Sequence[Sequence[Staff]]) -> Iterator[tuple[Sequence[Staff], range]]:
    """Yield each system with the numbers of its staves on the page."""
    first = 0
    for system in systems:
        yield system, range(first, first + len(system))
        first += len(system)


def _in_meter(clef: Symbol, symbols: Sequence[Symbol], meters: Sequence[PrintedMeter]) -> bool:
    """Whether what looks like a clef is part of a meter, to the right of the staff's own clef."""
    behind = any(s.staff == clef.staff and s.kind.startswith("clef") and s.right < clef.left for s in symbols)
    return behind and any(m.left <= clef.x <= m.right for m in meters)


def _more_bars(gray: Gray, symbols: Sequence[Symbol], staff: Staff) -> list[Symbol]:
    """Return the bar lines of a staff that its map does not show, but the page does."""
    heads = [s.x for s in symbols if s.kind in ("head", "hollow head")]
    seen = strokes_of(symbols, (staff,))
    top, end = staff.row(staff.left, 4), staff.row(staff.left, -4)
    meters = find_meters(gray, staff, bars_of(symbols, (staff,)), [s for s in symbols if s.kind in MARKS])
    found = [x for x in find_strokes(gray, staff, heads) if all(abs(x - other) > 2 for other in seen)]
    found = [x for x in found if not any(meter.left <= x <= meter.right for meter in meters)]
    return [Symbol("bar line", 0, x, x, top, end, x, (top + end) / 2, round(end - top)) for x in found]


def _may_count(gray: Gray, letters: Gray, digit: Symbol, digits: Sequence[Symbol], staff: Staff) -> bool:
    """Whether a digit may count a tuplet or be part of a meter: no letters stand beside it outside the staff."""
    if abs(staff.position(digit.x, digit.y)) > OUTSIDE and in_text(letters, digit, digits):
        return False
    return counts_tuplet(gray, digit.left, digit.right, digit.top, digit.bottom)


def _edges(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[float]:
    """Return where the measures of a system end."""
    return [*bars_of(symbols, staves), float(max(staff.right for staff in staves)) + SPACE]


def _notes(
    printed: Printed, timing: Timing, staves: Sequence[Staff], clefs: Sequence[Clefs], octaves: Sequence[Octaves]
) -> Measure:
    """Return a measure with its notes, timed from its beginning."""
    events, onsets, fifths = printed.events, timing.onsets, printed.fifths
    lasts = timing.durations or tuple(event.duration for event in events)
    marks = marks_of(events, printed.accidentals, staves)
    state: dict[tuple[int, int], int] = {}
    notes: dict[tuple[Fraction, int, int, bool | None], tuple[Note, Symbol]] = {}
    for index in sorted(range(len(events)), key=lambda k: (onsets[k], events[k].x)):
        event = events[index]
        for head in event.heads:
            staff = staves[head.staff]
            step = round(staff.position(head.x, head.y)) + PRINTED_CLEFS[clef_at(clefs[head.staff], head.x)]
            mark = marks.get(id(head), "")
            if mark:
                state[head.staff, step] = ALTER[mark]
            alter = state.get((head.staff, step), key_alter(step, fifths))
            sounding = step + 7 * octaves_at(octaves, head.staff, head.x)
            note = Note(onsets[index], head.staff, sounding, alter, lasts[index], mark)
            place = note.onset, note.staff, step, event.up  # two voices may share a head
            if place not in notes or notes[place][0].duration < note.duration:
                notes[place] = note, head
    heads = tuple(head for _, head in notes.values())
    return Measure(
        timing.length,
        fifths,
        tuple(note for note, _ in notes.values()),
        heads,
        printed.meter,
        printed.signature,
        printed.ends_double,
        timing.cost <= CLEAN,
        tuple(clef_at(each, min(event.x for event in events)) for each in clefs) if events else (),
    )


def _tie(measures: Sequence[Measure], curves: Sequence[Symbol]) -> list[Measure]:
    """Mark the two notes that each tie joins: ``goes_on`` the first and ``continued`` the second.

    A curve is a tie where it joins heads of one step that follow each other; one that leaves a system joins to the next.
    """
    found = [list(measure.notes) for measure in measures]
    places = [(m, k, head) for m, measure in enumerate(measures) for k, head in enumerate(measure.heads)]
    first = min((head.left for _, _, head in places), default=0.0)
    last, final = max((head.right for _, _, head in places), default=0.0), len(measures) - 1
    for curve in curves:
        near = [place for place in places if place[2].staff == curve.staff and _beside(curve, place[2])]
        low, high = (-TIE_REACH[0] * SPACE, TIE_REACH[1] * SPACE)  # a dot or the head of a second may stand between
        begins = [place for place in near if low <= curve.left - place[2].x <= high]
        ends = [place for place in near if low <= place[2].x - curve.right <= high]
        pairs = [(a, b) for a in begins for b in ends if _follow(measures, found, a, b)]
        if pairs:
            a, b = min(pairs, key=lambda pair: _apart(curve, pair[0][2]) + _apart(curve, pair[1][2]))
            found[a[0]][a[1]] = replace(found[a[0]][a[1]], goes_on=True)
            tied = replace(found[b[0]][b[1]], continued=True)
            held = a[0] != b[0] and not tied.accidental  # an accidental holds over a bar line for the note that is tied
            found[b[0]][b[1]] = replace(tied, alter=found[a[0]][a[1]].alter) if held else tied
        elif curve.right > last + 0.3 * SPACE:
            leave = [(_apart(curve, h), m, k) for m, k, h in begins if m == final and found[m][k].offset == measures[m].printed]
            for _, m, k in sorted(leave)[:1]:
                found[m][k] = replace(found[m][k], goes_on=True)
        elif curve.left < first - 0.3 * SPACE:
            enter = [(_apart(curve, h), m, k) for m, k, h in ends if m == 0 and found[m][k].onset == 0]
            for _, m, k in sorted(enter)[:1]:
                found[m][k] = replace(found[m][k], continued=True)
    return [replace(measure, notes=tuple(notes)) for measure, notes in zip(measures, found, strict=True)]


def _beside(curve: Symbol, head: Symbol) -> bool:
    return curve.top - 2 * SPACE <= head.y <= curve.bottom + 2 * SPACE


def _apart(curve: Symbol, head: Symbol) -> float:
    """Return how far a head is above or below the ends of a curve, which are below a curve that bends upwards."""
    ends = curve.bottom if curve.y < (curve.top + curve.bottom) / 2 else curve.top
    return abs(ends - head.y)


def _follow(
    measures: Sequence[Measure], notes: Sequence[Sequence[Note]], a: tuple[int, int, Symbol], b: tuple[int, int, Symbol]
) -> bool:
    """Whether a note begins where another on its step ends."""
    first, second = notes[a[0]][a[1]], notes[b[0]][b[1]]
    if first.step != second.step or not a[2].x < b[2].x or (second.accidental and second.alter != first.alter):
        return False
    if a[0] == b[0]:
        return first.offset == second.onset
    return a[0] + 1 == b[0] and second.onset == 0 and first.offset == measures[a[0]].printed

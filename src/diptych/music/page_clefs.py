"""The clefs of a page's staves, from the map of its symbols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diptych.music.page_geometry import SPACE, Staff
from diptych.music.page_symbols import Symbol

OCTAVE_CLEF = 0.71  # height below the line of a treble clef by that above it: more shows an 8 below
OCTAVE_ABOVE = (4.85, 6.5)  # staff spaces from the line of a treble clef to its top: 4.0 to 4.5, and 5.2 to 5.4 with an 8
C_HEIGHTS = {-4: "C1", 0: "C3", 2: "C4"}
SMALLEST = 1.5  # staff spaces: what is lower is no clef, but a spot that looks like part of one
MOST = 2  # staves of a place that begin with one clef, and are most, correct the others
VERSE_GAP, NARROW = 1.0, 0.6  # staff spaces from a clef from which on a digit is no 8 of it, and of one narrower than an 8
NO_HEADER = ("head", "hollow head", "stem", "long rest", "quarter rest", "eighth rest", "bar line")
"""What stands behind the first clef of a staff."""
START = 8.0  # staff spaces from the left end of a staff within which its clef stands

Clefs = list[tuple[float, str]]
"""Where the clefs of a staff begin, from the left, and what they are."""


def clefs_of(symbols: Sequence[Symbol], systems: Sequence[Sequence[Staff]]) -> tuple[list[Clefs], set[int]]:
    """Return the clefs of each staff of a page, from its top, and the numbers of the staves whose first clef is a guess.

    A staff that seems to begin without a clef has the one with which most staves of its place in the page's other systems begin.
    Where none of these shows one either, a treble clef is guessed.
    """
    staves = [staff for system in systems for staff in system]
    places = [(len(system), place) for system in systems for place in range(len(system))]
    found = [_seen(symbols, staff, number) for number, staff in enumerate(staves)]
    begins = [
        clefs[0][1] if clefs and clefs[0][0] <= max(_first(symbols, staff, number), staff.left + START * SPACE) else ""
        for number, (staff, clefs) in enumerate(zip(staves, found, strict=True))
    ]
    _agree(found, begins, places)
    guessed = set()
    for number, (staff, clefs) in enumerate(zip(staves, found, strict=True)):
        if begins[number]:
            continue
        others = Counter(begin for begin, place in zip(begins, places, strict=True) if begin and place == places[number])
        clefs.insert(0, (float(staff.left), others.most_common(1)[0][0] if others else "G2"))
        if not others:
            guessed.add(number)
    return found, guessed


def _first(symbols: Sequence[Symbol], staff: Staff, number: int) -> float:
    """Return where the music of a staff begins; the name of its part may be taken for the beginning of the staff itself."""
    return min(
        (s.left for s in symbols if s.staff == number and s.kind in NO_HEADER and s.x > staff.left + 2 * SPACE), default=0.0
    )


def _agree(found: Sequence[Clefs], begins: list[str], places: Sequence[tuple[int, int]]) -> None:
    """Correct clefs with which few of the staves of a place begin, where none changes to them: a change would be printed."""
    for place in set(places):
        here = [number for number, other in enumerate(places) if other == place]
        within = {clef for number in here for _, clef in (found[number][1:] if begins[number] else found[number])}
        counts = Counter(begins[number] for number in here if begins[number])
        usual, count = max(counts.items(), key=lambda pair: (pair[1], pair[0] == "G2"), default=("", 0))
        in_doubt = set(counts) <= {"G2", "G2_8", "G2^8"}  # half will do here: what is beside a clef may look like its 8
        enough = counts.total() + (not in_doubt)
        if count < MOST or count * 2 < enough:
            continue
        for number in here:
            if begins[number] not in ("", usual) and begins[number] not in within and usual not in within:
                begins[number] = usual
                found[number][0] = found[number][0][0], usual


def clef_at(clefs: Sequence[tuple[float, str]], x: float) -> str:
    """The clef that holds at a column of the page."""
    return next((clef for begin, clef in reversed(clefs) if begin <= x), clefs[0][1])


def _seen(symbols: Sequence[Symbol], staff: Staff, number: int) -> Clefs:
    parts: list[Symbol] = []  # a clef may consist of several, such as the dots of a bass clef and the 8 of a tenor's
    for s in symbols:
        if s.staff == number and s.kind.startswith("clef"):
            if parts and s.left - parts[-1].right <= SPACE:
                clef, other = sorted((parts[-1], s), key=lambda part: -part.area)
                beside = other.right <= clef.left  # a spot, as the line at the left end of a system shows some
                parts[-1] = clef if beside or _is_number(other, clef, staff) else _joined(clef, other)
            else:
                parts.append(s)
    parts = [s for s in parts if s.bottom > staff.row(s.x, 4) and s.top < staff.row(s.x, -4)]  # letters may look like clefs
    return [(s.x, _clef(s, staff)) for s in parts if s.bottom - s.top >= SMALLEST * SPACE]


def _is_number(part: Symbol, clef: Symbol, staff: Staff) -> bool:
    """Whether what looks like the 8 of a treble clef is the number of a verse below it, or of a measure above.

    Such a number is as narrow as a 1, or far from the clef; and that of a measure begins left of it. Other clefs have
    no 8, and what is above the staff is no part of them.
    """
    below, above = part.top - clef.bottom, clef.top - part.bottom
    if max(below, above) < 0:
        return False
    if clef.kind != "clef G":
        return part.bottom < staff.row(part.x, 4)
    narrow = part.right - part.left < NARROW * SPACE
    return narrow or max(below, above) > VERSE_GAP * SPACE or (above >= 0 and part.left < clef.left)


def _joined(a: Symbol, b: Symbol) -> Symbol:
    """Join two parts of one sign; its kind and middle are those of the larger part."""
    larger = max(a, b, key=lambda symbol: symbol.area)
    edges: dict[str, Any] = {
        "left": min(a.left, b.left),
        "right": max(a.right, b.right),
        "top": min(a.top, b.top),
        "bottom": max(a.bottom, b.bottom),
    }
    return replace(larger, area=a.area + b.area, **edges)


def _clef(symbol: Symbol, staff: Staff) -> str:
    if symbol.kind == "clef G":
        line = staff.row(symbol.x, -2)
        if OCTAVE_ABOVE[0] * SPACE < line - symbol.top < OCTAVE_ABOVE[1] * SPACE:
            return "G2^8"
        return "G2_8" if (symbol.bottom - line) > OCTAVE_CLEF * (line - symbol.top) else "G2"
    if symbol.kind == "clef F":
        return "F4"
    height = staff.position(symbol.x, (symbol.top + symbol.bottom) / 2)
    return C_HEIGHTS[min(C_HEIGHTS, key=lambda each: abs(each - height))]

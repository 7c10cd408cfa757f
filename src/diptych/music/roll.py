"""Rolls: a system of music as an RGB picture in which every staff step has rows of its own, drawn and read back.

Red marks onsets (at 4/5 where a note goes on from the system before), green holds notes as long as they sound (128 + velocity).
Blue is context: staff lines, bar lines, beats below (three eighths apart in 6/8; two columns each where a quarter is wide), and
at each onset the accidental that is printed there: the upper rows for a sharp, the lower for a flat, both for a natural. The
header has the clef's place in blue, and a block for each sharp (red) or flat (green) of the key signature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from diptych.music.beams import BEATS
from diptych.music.layout import GUTTER_WIDTH, HEADER_WIDTH, KEY_SPACING, KEY_X, QUARTER_WIDTHS, Layout
from diptych.music.notes import CLEFS, Accidental, Note, System, apply_accidentals

R, G, B = 0, 1, 2
STAFF_LINE, CONTINUED, FULL = 60, 204, 255
MIN_CONTINUED = 0.7  # of full red: between this and what is an onset, the first beat has a note that is held
DEFAULT_THRESHOLD = (
    8 / 9
)  # where a network is undecided whose cross-entropy counts foreground 8 times, as the recipe music-read's does
KEY_POSITIONS = {"s": (4, 1, 5, 2, -1, 3, 0), "f": (0, 3, -1, 2, -2, 1, -3)}  # in treble clef, from the middle line
KEY_SHIFT = {"G2": 0, "G2_8": 0, "F4": 2, "C3": 1, "C4": -1}  # steps that other clefs' key signatures stand lower
Roll = UInt8[np.ndarray, "h w 3"]


def key_position(mark: Accidental, index: int, clef: str) -> int:
    """The staff position, from the middle line up, of a key signature's sharp or flat number ``index``."""
    return KEY_POSITIONS[mark][index] - KEY_SHIFT[clef]


def draw_roll(system: System, layout: Layout) -> Roll:
    """The roll of one system, (layout.height, layout.width, 3) uint8. Its notes must be parted() and lie within the layout."""
    roll = np.zeros((layout.height, layout.width, 3), np.uint8)
    zeros = layout.downbeat_columns(system.measures, system.quarter_width)
    for staff, clef in enumerate(system.clefs):
        roll[layout.line_rows(staff), :, B] = STAFF_LINE
        _draw_header(roll, system, layout, staff, clef)
        _draw_time(roll, system, layout, staff, zeros)
    for note in system.notes:
        _draw_note(roll, note, system, layout, zeros)
    return roll


def _draw_header(roll: Roll, system: System, layout: Layout, staff: int, clef: str) -> None:
    s = layout.space
    roll[layout.step_rows(staff, 2 * list(CLEFS).index(clef) - 4), s : 3 * s, B] = FULL
    mark: Accidental = "s" if system.fifths > 0 else "f"
    for index in range(abs(system.fifths)):
        column = round((KEY_X + index * KEY_SPACING) * s)
        rows = layout.step_rows(staff, key_position(mark, index, clef))
        roll[rows, column : column + layout.step_height, R if mark == "s" else G] = FULL


def _draw_time(roll: Roll, system: System, layout: Layout, staff: int, zeros: list[int]) -> None:
    lines = layout.line_rows(staff)
    for zero in zeros[1:]:
        roll[lines[0] : lines[-1] + 1, layout.barline_column(zero), B] = FULL
    bottom = (staff + 1) * layout.panel_height
    for zero, length in zip(zeros, system.measures, strict=False):
        columns = beat_columns(zero, length, system.quarter_width, system.beat, layout)
        roll[bottom - layout.space : bottom, columns, B] = FULL


def _draw_note(roll: Roll, note: Note, system: System, layout: Layout, zeros: list[int]) -> None:
    rows = layout.step_rows(note.staff, note.step - CLEFS[system.clefs[note.staff]])
    first = column_of(note.onset, system, layout, zeros)
    last = column_of(note.offset, system, layout, zeros, end=True)
    roll[rows, first : max(last - 1, first + 1), G] = 128 + note.velocity
    onset = slice(first, first + layout.step_height)
    roll[rows, onset, R] = CONTINUED if note.continued else FULL
    roll[rows, onset, B] = 0
    upper = slice(rows.start, rows.start + layout.step_height // 2)
    lower = slice(upper.stop, rows.stop)
    for part, marks in ((upper, "sn"), (lower, "fn")):
        if note.accidental and note.accidental in marks:
            roll[part, onset, B] = FULL


def column_of(time: Fraction, system: System, layout: Layout, zeros: list[int], *, end: bool = False) -> int:
    """The column of a time in quarters; an ``end`` that is a measure's own stays before the bar line."""
    starts = system.measure_starts
    index = max(k for k, start in enumerate(starts[:-1]) if (start < time if end else start <= time) or k == 0)
    return zeros[index] + layout.width_of(time - starts[index], system.quarter_width)


def read_roll(
    roll: Float[np.ndarray, "h w 3"] | Roll, layout: Layout, threshold: float = DEFAULT_THRESHOLD, clef: str = ""
) -> System:
    """The system that a roll shows, also one that a network painted: what is over ``threshold`` of full counts.

    ``clef`` is that of the first staff where it is known, and is then not read.
    """
    image = roll.astype(np.float32) / FULL
    clefs = tuple(clef if clef and not staff else _read_clef(image, layout, staff) for staff in range(layout.staves))
    fifths = _read_key(image, layout, clefs, threshold)
    bars = _read_bars(image, layout, threshold)
    zeros = [(HEADER_WIDTH + GUTTER_WIDTH) * layout.space, *(bar + (GUTTER_WIDTH - 1) * layout.space for bar in bars)]
    quarter_width, beat = _read_beats(image, layout, zeros if bars else [*zeros, layout.width])
    ends = [zero - GUTTER_WIDTH * layout.space for zero in zeros[1:]] or [layout.width]
    measures = tuple(Fraction(end - zero, quarter_width * layout.space) for zero, end in zip(zeros, ends, strict=False))
    system = System(clefs, fifths, measures, quarter_width, (), beat)
    notes = [note for staff in range(layout.staves) for note in _read_notes(image, system, layout, staff, zeros, threshold)]
    return apply_accidentals(replace(system, notes=tuple(sorted(notes))))


def _read_clef(image: Float[np.ndarray, "h w 3"], layout: Layout, staff: int) -> str:
    s = layout.space
    found = [image[layout.step_rows(staff, 2 * index - 4), s : 3 * s, B].mean() for index in range(len(CLEFS))]
    return list(CLEFS)[int(np.argmax(found))]


def _read_key(image: Float[np.ndarray, "h w 3"], layout: Layout, clefs: Sequence[str], threshold: float) -> int:
    """Sharps minus flats: the first accidentals in a row that are there on most staves."""
    counts = {}
    channels: dict[Accidental, int] = {"s": R, "f": G}
    for mark, channel in channels.items():
        count = 0
        for index in range(7):
            column = round((KEY_X + index * KEY_SPACING) * layout.space)
            found = 0.0
            for staff, clef in enumerate(clefs):
                rows = layout.step_rows(staff, key_position(mark, index, clef))
                found += float(image[rows, column : column + layout.step_height, channel].mean()) / layout.staves
            if found < threshold:
                break
            count += 1
        counts[mark] = count
    return counts["s"] - counts["f"] if not (counts["s"] and counts["f"]) else max(counts["s"], -counts["f"], key=abs)


def _read_bars(image: Float[np.ndarray, "h w 3"], layout: Layout, threshold: float) -> list[int]:
    """The columns of bar lines: blue between the staff lines, on all staves, where a measure of a column or more can end."""
    rows = [row for staff in range(layout.staves) for row in range(layout.line_rows(staff)[0], layout.line_rows(staff)[-1] + 1)]
    strength = image[rows, :, B].mean(0)
    strength[: (HEADER_WIDTH + GUTTER_WIDTH + 1) * layout.space + 1] = 0
    return peaks(strength, threshold, GUTTER_WIDTH * layout.space + 1)


def _read_beats(image: Float[np.ndarray, "h w 3"], layout: Layout, zeros: list[int]) -> tuple[int, Fraction]:
    """How wide a quarter is, and how many make a beat: those whose beats stand out the most; narrow and 1 where none do."""
    bottoms = [(staff + 1) * layout.panel_height for staff in range(layout.staves)]
    seen = np.mean([image[bottom - layout.space : bottom, :, B].mean(0) for bottom in bottoms], axis=0)

    def clear(quarter_width: int, beat: Fraction) -> float:
        expected = np.zeros(len(seen), bool)
        for zero, after in pairwise(zeros):
            length = Fraction(after - GUTTER_WIDTH * layout.space - zero, quarter_width * layout.space)
            expected[beat_columns(zero, length, quarter_width, beat, layout)] = True
        return float(seen[expected].mean() - seen[~expected].mean()) if expected.any() else -1.0

    return max(((quarter_width, beat) for quarter_width in QUARTER_WIDTHS for beat in BEATS), key=lambda pair: clear(*pair))


def beat_columns(zero: int, length: Fraction, quarter_width: int, beat: Fraction, layout: Layout) -> list[int]:
    """The columns of a measure's beats: one for each, or as many as half a space has where a quarter is wide."""
    wide = 1 if quarter_width == QUARTER_WIDTHS[0] else layout.step_height
    firsts = [zero + layout.width_of(k * beat, quarter_width) for k in range(math.ceil(length / beat))]
    return [first + k for first in firsts for k in range(wide) if first + k < layout.width]


def peaks(strength: Float[np.ndarray, " w"], threshold: float, apart: int) -> list[int]:
    """Columns over the threshold that are the greatest within ``apart`` columns."""
    found: list[int] = []
    for column in np.argsort(-strength, kind="stable"):
        if strength[column] < threshold:
            break
        if all(abs(int(column) - other) >= apart for other in found):
            found.append(int(column))
    return sorted(found)


def _read_notes(
    image: Float[np.ndarray, "h w 3"], system: System, layout: Layout, staff: int, zeros: list[int], threshold: float
) -> list[Note]:
    notes = []
    for position in range(-layout.max_position, layout.max_position + 1):
        rows = layout.step_rows(staff, position)
        onset, sustain = image[rows, :, R].mean(0), image[rows, :, G].mean(0)
        onset = onset.copy()
        onset[: HEADER_WIDTH * layout.space] = 0
        columns = _onsets(onset, layout, threshold)
        first = zeros[0]
        held = first not in columns and bool(MIN_CONTINUED <= onset[first : first + layout.step_height].mean() < threshold)
        for column, after in pairwise([*[first] * held, *columns, layout.width]):
            lasts = sustain[column:after] >= threshold / 2
            length = int(np.argmin(lasts)) if not lasts.all() else len(lasts)
            time = _time_at(column, system, layout, zeros)
            until = _time_at(column + max(length, 1) + 1, system, layout, zeros, end=True)
            if time is None or until is None or until <= time:
                continue
            mark = _read_mark(image[rows, column : column + layout.step_height, B], threshold)
            velocity = round(float(image[rows, column : column + max(length, 1), G].mean()) * FULL) - 128
            step = position + CLEFS[system.clefs[staff]]
            goes_on = held and column == first
            notes.append(Note(time, staff, step, 0, until - time, mark, min(max(velocity, 1), 127), goes_on))
    return notes


def _onsets(onset: Float[np.ndarray, " w"], layout: Layout, threshold: float) -> list[int]:
    """Where notes begin: windows as wide as an onset's mark that are over the threshold, the strongest first."""
    width = layout.step_height
    windows = np.convolve(onset, np.ones(width) / width, "valid")
    return peaks(windows, threshold, width)


def _read_mark(cell: Float[np.ndarray, "r c"], threshold: float) -> Accidental:
    upper, lower = cell[: len(cell) // 2].mean() >= threshold, cell[len(cell) // 2 :].mean() >= threshold
    return "n" if upper and lower else "s" if upper else "f" if lower else ""


def _time_at(column: int, system: System, layout: Layout, zeros: list[int], *, end: bool = False) -> Fraction | None:
    """The time of a column in quarters; None before the first measure and after the last."""
    inside = [k for k, zero in enumerate(zeros[: len(system.measures)]) if (zero < column if end else zero <= column + 1)]
    if not inside:
        return None
    index, starts = inside[-1], system.measure_starts
    time = starts[index] + Fraction(column - zeros[index], system.quarter_width * layout.space)
    latest = starts[index + 1]
    if not end and time >= latest:
        return None
    return max(Fraction(0), min(time, latest))

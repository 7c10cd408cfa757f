"""Draw a system of music as a roll and read it back. A roll is an RGB picture in which every staff step has rows of its own.

- Red marks the onset of a note, at 4/5 where the note is tied over from the previous system.
- Green lasts as long as the note sounds, at 128 + velocity; beyond the last bar line where it is tied into the next system.
- Blue shows staff lines, bar lines and, below them, beats (three eighths apart in 6/8; wider marks where a quarter is wide; lower
  ones between the halves of 2/2). At an onset it shows the printed accidental: upper rows for a sharp, lower rows for a flat,
  both for a natural.
- The header shows the clef by the position of a blue block, and the key by a block for each sharp (red) or flat (green).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from diptych.music.beams import BEATS, HALF, IRREGULAR, SIMPLE, group_starts
from diptych.music.layout import GUTTER_WIDTH, HEADER_WIDTH, KEY_SPACING, KEY_X, QUARTER_WIDTHS, Layout
from diptych.music.notes import CLEFS, Accidental, Note, System, apply_accidentals

R, G, B = 0, 1, 2
STAFF_LINE, CONTINUED, FULL = 60, 204, 255
MIN_CONTINUED = (
    0.7  # share of full red, at the first downbeat, from which a note is tied over; from the threshold on it is an onset
)
DEFAULT_THRESHOLD = 8 / 9
"""The share of full intensity from which something counts as drawn.

The cross-entropy of the recipe music-read weights ink 8 times, so that an undecided network answers 8/9."""
KEY_POSITIONS = {"s": (4, 1, 5, 2, -1, 3, 0), "f": (0, 3, -1, 2, -2, 1, -3)}  # positions in treble clef
KEY_SHIFT = {"G2": 0, "G2_8": 0, "G2^8": 0, "F4": 2, "C3": 1, "C4": -1, "C1": -2}
"""Steps by which a key stands lower than in treble clef; G2^8, with an 8 above it, stands on pages alone."""
HIGHEST_KEY_POSITION = {("s", "C4"): 4, ("s", "C1"): 2, ("f", "C1"): 2}
"""The highest position of a key's accidental where it is not the usual one: higher ones stand an octave lower."""
Roll = UInt8[np.ndarray, "h w 3"]


def key_position(accidental: Accidental, index: int, clef: str) -> int:
    """Return the staff position of the key signature's accidental number ``index``."""
    position = KEY_POSITIONS[accidental][index] - KEY_SHIFT[clef]
    return position - 7 * (position > HIGHEST_KEY_POSITION.get((accidental, clef), 5))


def draw_roll(system: System, layout: Layout) -> Roll:
    """Draw one system as a roll, (layout.height, layout.width, 3) uint8.

    Its notes must not overlap on a step (see without_overlaps) and must lie within the layout.
    """
    roll = np.zeros((layout.height, layout.width, 3), np.uint8)
    downbeats = layout.downbeat_columns(system.measures, system.quarter_width)
    for staff, clef in enumerate(system.clefs):
        roll[layout.line_rows(staff), :, B] = STAFF_LINE
        _draw_header(roll, system, layout, staff, clef)
        _draw_time(roll, system, layout, staff, downbeats)
    for note in system.notes:
        _draw_note(roll, note, system, layout, downbeats)
    return roll


def _draw_header(roll: Roll, system: System, layout: Layout, staff: int, clef: str) -> None:
    s = layout.space
    roll[layout.step_rows(staff, 2 * list(CLEFS).index(clef) - 4), s : 3 * s, B] = FULL
    accidental: Accidental = "s" if system.fifths > 0 else "f"
    for index in range(abs(system.fifths)):
        column = round((KEY_X + index * KEY_SPACING) * s)
        rows = layout.step_rows(staff, key_position(accidental, index, clef))
        roll[rows, column : column + layout.step_height, R if accidental == "s" else G] = FULL


def _draw_time(roll: Roll, system: System, layout: Layout, staff: int, downbeats: list[int]) -> None:
    lines = layout.line_rows(staff)
    for downbeat in downbeats[1:]:
        roll[lines[0] : lines[-1] + 1, layout.barline_column(downbeat), B] = FULL
    bottom = (staff + 1) * layout.panel_height
    for height, columns in beat_marks(downbeats, system.measures, system.quarter_width, system.beat, layout):
        roll[bottom - height : bottom, columns, B] = FULL


def _draw_note(roll: Roll, note: Note, system: System, layout: Layout, downbeats: list[int]) -> None:
    rows = layout.step_rows(note.staff, note.step - CLEFS[system.clefs[note.staff]])
    first = column_of(note.onset, system, layout, downbeats)
    last = column_of(note.offset, system, layout, downbeats, end=True)
    after = layout.barline_column(downbeats[-1]) + layout.space if note.goes_on else max(last - 1, first + 1)
    roll[rows, first:after, G] = 128 + note.velocity
    onset = slice(first, first + layout.step_height)
    roll[rows, onset, R] = CONTINUED if note.continued else FULL
    roll[rows, onset, B] = 0
    upper = slice(rows.start, rows.start + layout.step_height // 2)
    lower = slice(upper.stop, rows.stop)
    for part, marks in ((upper, "sn"), (lower, "fn")):
        if note.accidental and note.accidental in marks:
            roll[part, onset, B] = FULL


def column_of(time: Fraction, system: System, layout: Layout, downbeats: list[int], *, end: bool = False) -> int:
    """Return the column of a time in quarters. With ``end``, the end of a measure lies before its bar line, not after it."""
    starts = system.measure_starts
    index = max(k for k, start in enumerate(starts[:-1]) if (start < time if end else start <= time) or k == 0)
    return downbeats[index] + layout.width_of(time - starts[index], system.quarter_width)


def read_roll(
    roll: Float[np.ndarray, "h w 3"] | Roll, layout: Layout, threshold: float = DEFAULT_THRESHOLD, clef: str = ""
) -> System:
    """Read the system that a roll shows, also a roll that a network drew.

    Only what reaches ``threshold``, a share of full intensity, counts. Where ``clef`` is given, it is taken as the clef of the
    first staff instead of the one that is drawn.
    """
    image = roll.astype(np.float32) / FULL
    clefs = tuple(clef if clef and not staff else _read_clef(image, layout, staff) for staff in range(layout.staves))
    fifths = _read_key(image, layout, clefs, threshold)
    bars = read_bars(image, layout, threshold)
    downbeats = [(HEADER_WIDTH + GUTTER_WIDTH) * layout.space, *(bar + (GUTTER_WIDTH - 1) * layout.space for bar in bars)]
    quarter_width, beat = _read_beats(image, layout, downbeats if bars else [*downbeats, layout.width])
    ends = [downbeat - GUTTER_WIDTH * layout.space for downbeat in downbeats[1:]] or [layout.width]
    measures = tuple(
        Fraction(end - downbeat, quarter_width * layout.space) for downbeat, end in zip(downbeats, ends, strict=False)
    )
    system = System(clefs, fifths, measures, quarter_width, (), beat)
    notes = [note for staff in range(layout.staves) for note in _read_notes(image, system, layout, staff, downbeats, threshold)]
    return apply_accidentals(replace(system, notes=tuple(sorted(notes))))


def _read_clef(image: Float[np.ndarray, "h w 3"], layout: Layout, staff: int) -> str:
    s = layout.space
    found = [image[layout.step_rows(staff, 2 * index - 4), s : 3 * s, B].mean() for index in range(len(CLEFS))]
    return list(CLEFS)[int(np.argmax(found))]


def _read_key(image: Float[np.ndarray, "h w 3"], layout: Layout, clefs: Sequence[str], threshold: float) -> int:
    """Read the key signature in fifths: the accidentals from the first on that reach the threshold on average over the staves."""
    counts = {}
    channels: dict[Accidental, int] = {"s": R, "f": G}
    for accidental, channel in channels.items():
        count = 0
        for index in range(7):
            column = round((KEY_X + index * KEY_SPACING) * layout.space)
            found = 0.0
            for staff, clef in enumerate(clefs):
                rows = layout.step_rows(staff, key_position(accidental, index, clef))
                found += float(image[rows, column : column + layout.step_height, channel].mean()) / layout.staves
            if found < threshold:
                break
            count += 1
        counts[accidental] = count
    return counts["s"] - counts["f"] if not (counts["s"] and counts["f"]) else max(counts["s"], -counts["f"], key=abs)


def read_bars(image: Float[np.ndarray, "h w 3"], layout: Layout, threshold: float) -> list[int]:
    """Find the columns of bar lines: blue between the outer staff lines, on all staves, at least one column after a downbeat."""
    rows = [row for staff in range(layout.staves) for row in range(layout.line_rows(staff)[0], layout.line_rows(staff)[-1] + 1)]
    strength = image[rows, :, B].mean(0)
    strength[: (HEADER_WIDTH + GUTTER_WIDTH + 1) * layout.space + 1] = 0
    return peaks(strength, threshold, GUTTER_WIDTH * layout.space + 1)


def _read_beats(image: Float[np.ndarray, "h w 3"], layout: Layout, downbeats: list[int]) -> tuple[int, Fraction]:
    """Read the width of a quarter and the length of a beat: the pair whose beat marks stand out most from other places."""
    bottoms = [(staff + 1) * layout.panel_height for staff in range(layout.staves)]
    seen = np.mean([image[bottom - layout.space : bottom, :, B] for bottom in bottoms], axis=0)
    widths = [after - GUTTER_WIDTH * layout.space - downbeat for downbeat, after in pairwise(downbeats)]

    def marks(quarter_width: int, beat: Fraction) -> tuple[list[Fraction], list[tuple[int, list[int]]]]:
        lengths = [Fraction(width, quarter_width * layout.space) for width in widths]
        return lengths, list(beat_marks(downbeats, lengths, quarter_width, beat, layout))

    def fit(quarter_width: int, beat: Fraction) -> tuple[float, bool]:
        """Return the contrast of the marks, and whether the longest measure has whole beats: 5/8 has the marks of a short 6/8."""
        lengths, found = marks(quarter_width, beat)
        expected = np.zeros(seen.shape[1], bool)
        for _, columns in found:
            expected[columns] = True
        contrast = float(seen[:, expected].mean() - seen[:, ~expected].mean()) if expected.any() else -1.0
        count = max(lengths) / beat
        return contrast, count.denominator == 1 and (beat not in IRREGULAR or count > 3)

    pairs = [(quarter_width, beat) for beat in BEATS if beat != HALF for quarter_width in QUARTER_WIDTHS]
    quarter_width, beat = max(pairs, key=lambda pair: fit(*pair))
    low = [column for height, columns in marks(quarter_width, HALF)[1] if height < layout.space for column in columns]
    halves = beat == SIMPLE and low and seen[: -layout.step_height, low].mean() < seen[-layout.step_height :, low].mean() / 2
    return quarter_width, HALF if halves else beat


def beat_marks(
    downbeats: Sequence[int], lengths: Sequence[Fraction], quarter_width: int, beat: Fraction, layout: Layout
) -> Iterator[tuple[int, list[int]]]:
    """Yield height and columns of the beat marks of some measures.

    A mark has one column, or half a staff space where a quarter is wide. It is as high as a staff space where a group of beamed
    notes begins, and half as high at the other quarters of beats of a half.
    """
    wide = 1 if quarter_width == QUARTER_WIDTHS[0] else layout.step_height
    for downbeat, length, after in zip(downbeats, lengths, [*lengths[1:], Fraction(0)], strict=False):
        groups = group_starts(length, beat, after)
        marks = [(layout.space, groups)]
        if beat == HALF:
            marks.append((layout.step_height, [start for start in group_starts(length, SIMPLE, after) if start not in groups]))
        for height, starts in marks:
            firsts = [downbeat + layout.width_of(start, quarter_width) for start in starts]
            yield height, [first + k for first in firsts for k in range(wide) if first + k < layout.width]


def peaks(strength: Float[np.ndarray, " w"], threshold: float, apart: int) -> list[int]:
    """Find the columns that reach the threshold and are the maximum within a distance of ``apart`` columns."""
    found: list[int] = []
    for column in np.argsort(-strength, kind="stable"):
        if strength[column] < threshold:
            break
        if all(abs(int(column) - other) >= apart for other in found):
            found.append(int(column))
    return sorted(found)


def _read_notes(
    image: Float[np.ndarray, "h w 3"], system: System, layout: Layout, staff: int, downbeats: list[int], threshold: float
) -> list[Note]:
    notes = []
    for position in range(-layout.max_position, layout.max_position + 1):
        rows = layout.step_rows(staff, position)
        onset, sustain = image[rows, :, R].mean(0), image[rows, :, G].mean(0)
        onset = onset.copy()
        onset[: HEADER_WIDTH * layout.space] = 0
        columns = _onsets(onset, layout, threshold)
        first = downbeats[0]
        continued = first not in columns and bool(MIN_CONTINUED <= onset[first : first + layout.step_height].mean() < threshold)
        for column, after in pairwise([*[first] * continued, *columns, layout.width]):
            lasts = sustain[column:after] >= threshold / 2
            length = int(np.argmin(lasts)) if not lasts.all() else len(lasts)
            time = time_at(column, system, layout, downbeats)
            until = time_at(column + max(length, 1) + 1, system, layout, downbeats, end=True)
            if time is None or until is None or until <= time:
                continue
            accidental = _read_accidental(image[rows, column : column + layout.step_height, B], threshold)
            velocity = round(float(image[rows, column : column + max(length, 1), G].mean()) * FULL) - 128
            step = position + CLEFS[system.clefs[staff]]
            held = continued and column == first
            goes_on = len(downbeats) > len(system.measures) and column + length > layout.barline_column(downbeats[-1]) + 1
            notes.append(Note(time, staff, step, 0, until - time, accidental, min(max(velocity, 1), 127), held, goes_on))
    return notes


def _onsets(onset: Float[np.ndarray, " w"], layout: Layout, threshold: float) -> list[int]:
    """Find the columns where notes begin: the mean over the width of an onset mark reaches the threshold and is a maximum."""
    width = layout.step_height
    windows = np.convolve(onset, np.ones(width) / width, "valid")
    return peaks(windows, threshold, width)


def _read_accidental(cell: Float[np.ndarray, "r c"], threshold: float) -> Accidental:
    upper, lower = cell[: len(cell) // 2].mean() >= threshold, cell[len(cell) // 2 :].mean() >= threshold
    return "n" if upper and lower else "s" if upper else "f" if lower else ""


def time_at(column: int, system: System, layout: Layout, downbeats: list[int], *, end: bool = False) -> Fraction | None:
    """Return the time of a column in quarters, or None before the first measure and after the last."""
    inside = [
        k
        for k, downbeat in enumerate(downbeats[: len(system.measures)])
        if (downbeat < column if end else downbeat <= column + 1)
    ]
    if not inside:
        return None
    index, starts = inside[-1], system.measure_starts
    time = starts[index] + Fraction(column - downbeats[index], system.quarter_width * layout.space)
    latest = starts[index + 1]
    if not end and time >= latest:
        return None
    return max(Fraction(0), min(time, latest))

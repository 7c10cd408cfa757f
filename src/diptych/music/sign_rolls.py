"""Rolls of signs: pictures of notes in which every sign of a printed sheet has a mark of its size at its place.

A translator learns without pairs to exchange what stands in one place, and hardly what is spread over a picture. So a note here
is a block where its head is printed, and it lasts until the next onset or rest of its staff; in diptych.music.roll it is a bar
as long as the note.

The signs are:

- A head has the size of a printed one. Its step is bright; half a step above and below is half as bright. It is green from two
  quarters on, yellow if shorter, and white where a tie leads to it.
- A white block on the middle line is a rest, at the time in a measure from which its staff is silent.
- An accidental, in the key or before a note, is a block: red for a sharp, blue for a flat, magenta for a natural.
- The clef is a blue block around its line. Bar lines are blue, staff lines dark blue. There are no beats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from diptych.music.layout import GUTTER_WIDTH, HEADER_WIDTH, KEY_SPACING, KEY_X, QUARTER_WIDTHS, Layout
from diptych.music.noteheads import Places
from diptych.music.notes import CLEFS, Accidental, Note, System, apply_accidentals
from diptych.music.roll import FULL, STAFF_LINE, B, G, R, Roll, column_of, key_position, peaks, read_bars, time_at

# In quarters of a staff space, which are pixels in the layout of 4 pixels.
HEAD_WIDTH = 5
SIGN_WIDTH = 3
SIGN_X = 5  # from the left edge of an accidental to that of its head
REST_WIDTH = 3
REST_STEPS = 2  # that a rest reaches above and below the middle line
CLEF_STEPS = 4
EDGE = 0.75  # a head must have this share of the strength of one a step beside it, whose edge it is otherwise
WIDE_MEASURE, SHORT = 36, (2.25, 4.5)  # staff spaces of a measure, and of some notes in it, where quarters are likely wide
SIGNS: dict[Accidental, tuple[int, int, int]] = {"s": (FULL, 0, 0), "f": (0, 0, FULL), "n": (FULL, 0, FULL)}
OPEN, FILLED = (0, FULL, 0), (FULL, FULL, 0)  # heads from two quarters on, and shorter ones
WHITE = (FULL, FULL, FULL)
DEFAULT_THRESHOLD = 0.5


def draw_signs(system: System, layout: Layout, held: Places = ()) -> Roll:
    """Draw one system as a roll of signs, (layout.height, layout.width, 3) uint8.

    ``held`` are onset, staff and step of heads that a tie leads to, beside those at downbeats.
    """
    roll = np.zeros((layout.height, layout.width, 3), np.uint8)
    downbeats = layout.downbeat_columns(system.measures, system.quarter_width)
    for staff, clef in enumerate(system.clefs):
        lines = layout.line_rows(staff)
        roll[lines, :, B] = STAFF_LINE
        _block(roll, layout, staff, 2 * list(CLEFS).index(clef) - 4, CLEF_STEPS, layout.space, 2 * layout.space, SIGNS["f"])
        accidental: Accidental = "s" if system.fifths > 0 else "f"
        for index in range(abs(system.fifths)):
            _sign(roll, layout, staff, key_position(accidental, index, clef), _key_column(layout, index), accidental)
        for downbeat in downbeats[1:]:
            roll[lines[0] : lines[-1] + 1, layout.barline_column(downbeat), B] = FULL
        for time in _silences(system, staff):
            _block(roll, layout, staff, 0, REST_STEPS, column_of(time, system, layout, downbeats), _px(layout, REST_WIDTH), WHITE)
    for note in sorted(system.notes):
        for time, colour in _heads(note, system, held):
            column = column_of(time, system, layout, downbeats)
            position = note.step - CLEFS[system.clefs[note.staff]]
            _head(roll, layout, note.staff, position, column, colour)
            if note.accidental and time == note.onset:
                _sign(roll, layout, note.staff, position, column - _px(layout, SIGN_X), note.accidental)
    return roll


def _heads(note: Note, system: System, held: Places) -> Iterator[tuple[Fraction, tuple[int, int, int]]]:
    """Yield the times of a note's heads and their colours: one in each measure in which it sounds, and what else is held."""
    ties = {onset for onset, staff, step in held if (staff, step) == (note.staff, note.step)} | set(system.measure_starts)
    times = [note.onset, *sorted(time for time in ties if note.onset < time < note.offset), note.offset]
    value = times[1] - times[0]
    printed = value * Fraction(3, 2) if value.denominator % 3 == 0 else value
    yield note.onset, OPEN if printed >= 2 else FILLED
    yield from ((time, WHITE) for time in times[1:-1])


def _silences(system: System, staff: int) -> Iterator[Fraction]:
    """Yield the times in each measure at which a staff falls silent."""
    notes = [note for note in system.notes if note.staff == staff]
    for start, end in pairwise(system.measure_starts):
        for time in sorted({start, *(note.offset for note in notes if start < note.offset < end)}):
            if not any(note.onset <= time < note.offset for note in notes):
                yield time


def _px(layout: Layout, quarters: int) -> int:
    return quarters * layout.space // 4


def _key_column(layout: Layout, index: int) -> int:
    return round((KEY_X + index * KEY_SPACING) * layout.space)


def _rows(layout: Layout, staff: int, position: int, steps: int) -> slice:
    """The rows of a position and of so many steps above and below it."""
    rows = layout.step_rows(staff, position)
    return slice(max(rows.start - steps * layout.step_height, 0), rows.stop + steps * layout.step_height)


def _sign(roll: Roll, layout: Layout, staff: int, position: int, column: int, accidental: Accidental) -> None:
    _block(roll, layout, staff, position, 1, column, _px(layout, SIGN_WIDTH), SIGNS[accidental])


def _head(roll: Roll, layout: Layout, staff: int, position: int, column: int, colour: tuple[int, int, int]) -> None:
    """Draw a head of its step, half as bright for half a step above and below, where no other head is."""
    rows, edge = layout.step_rows(staff, position), layout.step_height // 2
    block = roll[max(rows.start - edge, 0) : rows.stop + edge, column : column + _px(layout, HEAD_WIDTH)]
    block[:] = np.maximum(block, np.array(colour, np.uint8) // 2)
    roll[rows, column : column + _px(layout, HEAD_WIDTH)] = colour


def _block(
    roll: Roll, layout: Layout, staff: int, position: int, steps: int, column: int, width: int, colour: tuple[int, int, int]
) -> None:
    """Draw a block of so many steps above and below a position."""
    roll[_rows(layout, staff, position, steps), column : column + width] = colour


def shows_signs(roll: Roll, layout: Layout) -> bool:
    """Whether a roll is one of signs: the block of its clef is as high as a clef, and not a step."""
    block = roll[: layout.panel_height, layout.space : 3 * layout.space, B].mean(1)
    return int((block >= FULL // 2).sum()) > CLEF_STEPS * layout.step_height


def read_signs(
    roll: Float[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"],
    layout: Layout,
    threshold: float = DEFAULT_THRESHOLD,
    clef: str = "",
) -> System:
    """Read the system that a roll of signs shows, also one that a network drew.

    Only what reaches ``threshold``, a share of full intensity, counts. Where ``clef`` is given, it is taken as the clef of the
    first staff instead of the one that is drawn.
    """
    image = roll.astype(np.float32) / FULL
    clefs = tuple(clef if clef and not staff else _read_clef(image, layout, staff) for staff in range(layout.staves))
    fifths = _read_key(image, layout, clefs, threshold)
    bars = read_bars(np.maximum(image - image[:, :, (G,)], 0), layout, threshold)  # rests and heads have green
    downbeats = [(HEADER_WIDTH + GUTTER_WIDTH) * layout.space, *(bar + (GUTTER_WIDTH - 1) * layout.space for bar in bars)]
    found = [_read_heads(image, layout, staff, threshold) for staff in range(layout.staves)]
    rests = [_read_rests(image, layout, staff, threshold) for staff in range(layout.staves)]
    quarter_width = _read_width(found, rests, downbeats, layout)
    ends = [downbeat - GUTTER_WIDTH * layout.space for downbeat in downbeats[1:]] or [layout.width]
    lengths = (Fraction(end - downbeat, quarter_width * layout.space) for downbeat, end in zip(downbeats, ends, strict=False))
    system = System(clefs, fifths, tuple(lengths), quarter_width, ())
    notes = []
    for staff, (heads, silent) in enumerate(zip(found, rests, strict=True)):
        stops = sorted({column for column, *_ in heads} | set(silent))
        for column, position, _, accidental in heads:
            time = time_at(column, system, layout, downbeats)
            after = next((stop for stop in stops if stop > column), None)
            until = system.measure_starts[-1] if after is None else time_at(after, system, layout, downbeats, end=True)
            if time is not None and until is not None and until > time:
                step = position + CLEFS[clefs[staff]]
                notes.append(Note(time, staff, step, 0, until - time, accidental))
    return apply_accidentals(replace(system, notes=tuple(sorted(notes))))


def _read_clef(image: Float[np.ndarray, "h w 3"], layout: Layout, staff: int) -> str:
    s = layout.space
    found = [image[_rows(layout, staff, 2 * k - 4, CLEF_STEPS), s : 3 * s, B].mean() for k in range(len(CLEFS))]
    return list(CLEFS)[int(np.argmax(found))]


def _read_sign(
    image: Float[np.ndarray, "h w 3"], layout: Layout, staff: int, position: int, column: int
) -> dict[Accidental, float]:
    """How much a place looks like each accidental, from 0 to 1."""
    block = image[_rows(layout, staff, position, 1), max(column, 0) : column + _px(layout, SIGN_WIDTH)]
    red, green, blue = block.mean((0, 1)) if block.size else (0.0, 0.0, 0.0)
    return {"s": red - max(green, blue), "f": blue - max(green, red), "n": min(red, blue) - green}


def _read_key(image: Float[np.ndarray, "h w 3"], layout: Layout, clefs: tuple[str, ...], threshold: float) -> int:
    """Read the key: the accidentals of one kind from the first on that reach the threshold on average over the staves."""
    counts: dict[Accidental, int] = {}
    for accidental in ("s", "f"):
        counts[accidental] = 0
        for index in range(7):
            places = ((staff, key_position(accidental, index, clef)) for staff, clef in enumerate(clefs))
            found = [_read_sign(image, layout, *place, _key_column(layout, index))[accidental] for place in places]
            if sum(found) / len(found) < threshold:
                break
            counts[accidental] += 1
    return counts["s"] if counts["s"] >= counts["f"] else -counts["f"]


def _read_heads(
    image: Float[np.ndarray, "h w 3"], layout: Layout, staff: int, threshold: float
) -> list[tuple[int, int, bool, Accidental]]:
    """Find the heads of a staff: their columns and positions, whether they are hollow, and their accidentals."""
    width = _px(layout, HEAD_WIDTH)
    strength = np.maximum(image[:, :, G] - np.minimum(image[:, :, R], image[:, :, B]), 0)
    strength[:, : HEADER_WIDTH * layout.space] = 0
    positions = range(-layout.max_position, layout.max_position + 1)
    means = np.stack([strength[layout.step_rows(staff, position)].mean(0) for position in positions])
    windows = np.apply_along_axis(np.convolve, 1, means, np.ones(width) / width, "valid")
    heads = []
    for index, position in enumerate(positions):
        rows = layout.step_rows(staff, position)
        for column in peaks(windows[index], threshold, width):
            beside = windows[max(index - 1, 0) : index + 2, max(column - 2, 0) : column + 3]
            if windows[index, column] < EDGE * beside.max():
                continue
            red, green, _ = image[rows, column : column + width].mean((0, 1))
            hollow = red < max(0.5 * green, 1e-6)
            signs = _read_sign(image, layout, staff, position, column - _px(layout, SIGN_X))
            best = max(signs, key=lambda sign: signs[sign])
            heads.append((column, position, hollow, best if signs[best] >= threshold else ""))
    return sorted(heads)


def _read_rests(image: Float[np.ndarray, "h w 3"], layout: Layout, staff: int, threshold: float) -> list[int]:
    width = _px(layout, REST_WIDTH)
    white = image[_rows(layout, staff, 0, REST_STEPS)].min(2).mean(0)
    white[: HEADER_WIDTH * layout.space] = 0
    return peaks(np.convolve(white, np.ones(width) / width, "valid"), max(threshold, 0.6), width)


def _read_width(
    found: list[list[tuple[int, int, bool, Accidental]]], rests: list[list[int]], downbeats: list[int], layout: Layout
) -> int:
    """The width of a quarter for which most notes last as long as their colours say.

    Wide quarters are only printed where some notes are short, and they make measures long.
    """
    ends = [downbeat - GUTTER_WIDTH * layout.space for downbeat in downbeats[1:]]
    stops = [
        sorted({column for column, *_ in heads} | set(silent) | set(ends)) for heads, silent in zip(found, rests, strict=True)
    ]
    gaps = [after - stop for each in stops for stop, after in pairwise(each)]
    short = any(SHORT[0] * layout.space <= gap <= SHORT[1] * layout.space for gap in gaps)
    longest = max((end - downbeat for downbeat, end in zip(downbeats, ends, strict=False)), default=0)
    likely_wide = short and longest >= WIDE_MEASURE * layout.space

    def fitting(quarter_width: int) -> float:
        quarter = quarter_width * layout.space
        count = 1.5 * (likely_wide == (quarter_width > QUARTER_WIDTHS[0]))
        for heads, known in zip(found, stops, strict=True):
            for column, _, hollow, _ in heads:
                length = next((stop for stop in known if stop > column + 1), layout.width) - column
                count += hollow == (length > 1.9 * quarter)
        return count

    return max(QUARTER_WIDTHS, key=fitting)

"""Find meters in the staves of a page, such as 3/4 or C, and bar lines, from the page itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from diptych.music.page_digits import COMMON_TIME, CUT_TIME, TALL_METERS, printed_signs, tall_meters
from diptych.music.page_geometry import SPACE, Gray, Staff
from diptych.music.page_symbols import Symbol

UNITS_OF_TIME = (2, 4, 8)  # that stand below in a meter
MOST_BEATS = 16
SURE, LEAST = 0.8, 0.72  # correlation of both halves of a meter with digits, on average and of each
COMMON_SURE = 0.85  # the same for C, which is one sign
TALL_SURE = 0.75  # the same for all of a meter whose digits overlap
RARE = 0.05  # by so much a meter must be more like digits that is none of the usual ones
SAME_COLUMN = 2.5  # pixels between the middles of the digits of a meter
TWO_DIGITS = 0.85  # staff spaces from the middle of a number of two digits to those of its digits
ROWS = 13  # of a digit, which is two staff spaces high
BEGIN, HEADER = 2.0, 24.0  # staff spaces from the beginning of a staff between which a meter may stand
AFTER_BAR = 5.0  # staff spaces from a bar line to a meter that changes
STROKE = 0.93  # the share of a bar line's rows that are ink
STROKE_INK = 170  # gray below which a pixel belongs to a bar line
STROKE_WIDTH = 1.1  # staff spaces at most; the thick one of a repeat is the widest
METER_PART, METER_REACH = 1.5, 6.0  # staff steps from the middle line that a meter reaches at least and at most
BEYOND = (0.5, 0.9)  # staff spaces beyond the outer lines that are white, so that a stroke is no stem
FIRST_STROKE = 13.0  # staff spaces from the beginning of a staff to its first bar line; before it, clefs and meters have strokes
FIRST_BAR = 8.0  # the same to bar lines that a map shows
BEYOND_END = 3.0  # staff spaces from where a staff seems to end to the end of a meter
BESIDE_STROKE = 1.3  # staff spaces beside a stroke in which no head may be


@dataclass(frozen=True)
class PrintedMeter:
    """A meter, its number of beats over its unit, and where it begins and ends on its staff."""

    beats: int
    unit: int
    left: float
    right: float

    @property
    def length(self) -> Fraction:
        """The length of a measure in quarters."""
        return Fraction(4 * self.beats, self.unit)


def shows_meter(symbols: Sequence[Symbol], staves: Sequence[Staff]) -> bool:
    """Whether digits that a map shows in a staff may be a meter, legible or not: ink above and below the middle line."""
    digits = [(s, staves[s.staff]) for s in symbols if s.kind == "digit"]
    inside = [(s, staff.position(s.x, s.top), staff.position(s.x, s.bottom)) for s, staff in digits]
    inside = [each for each in inside if each[1] <= METER_REACH and each[2] >= -METER_REACH]
    return any(
        a[1] >= METER_PART and b[2] <= -METER_PART and a[0].staff == b[0].staff and abs(a[0].x - b[0].x) <= SPACE
        for a in inside
        for b in inside
    )


def find_meters(gray: Gray, staff: Staff, bars: Sequence[float], keys: Sequence[Symbol] = ()) -> list[PrintedMeter]:
    """Find the meters of a staff: behind its clef and key, and behind bar lines, or the accidentals of a key that follow one."""
    places = [(staff.left + BEGIN * SPACE, staff.left + HEADER * SPACE)]
    real = [bar for bar in bars if bar > staff.left + FIRST_BAR * SPACE]  # others are strokes of a meter
    places += [(bar + 2, _reach(bar, keys)) for bar in bars if bar > staff.left + FIRST_STROKE * SPACE]
    found = []
    for left, right in places:
        first = next((bar for bar in real if bar > left), float(min(staff.right + BEYOND_END * SPACE, gray.shape[1])))
        meter = _meter(gray, staff, round(left), round(min(right, first - 1)))
        if meter is not None:
            found.append(meter)
    return found


def _reach(bar: float, keys: Sequence[Symbol]) -> float:
    """Return the column up to which a meter may stand behind a bar line, and behind the accidentals of a key after it."""
    end = bar + AFTER_BAR * SPACE
    for sign in sorted(keys, key=lambda s: s.left):
        if bar < sign.left < end:
            end = max(end, sign.right + AFTER_BAR * SPACE)
    return end


def _meter(gray: Gray, staff: Staff, left: int, right: int) -> PrintedMeter | None:
    """Return the meter between two columns of a staff that is most like digits, None where nothing is."""
    if right - left < 3 * SPACE:
        return None
    above, below, within = (_scores(gray, staff, left, right, at) for at in (2, -2, 0))
    found: list[tuple[float, int, int, int]] = []  # how sure, beats, unit, column
    for unit in UNITS_OF_TIME:
        for x in np.flatnonzero(below[unit] >= LEAST).tolist():
            both = [(float(below[unit][x] + sure) / 2, beats, unit, x) for sure, beats in _beats(above, x)]
            found += [each for each in both if each[0] >= SURE]
    for sign, beats in ((COMMON_TIME, 4), (CUT_TIME, 2)):
        x = int(within[sign].argmax())
        if within[sign][x] >= COMMON_SURE:
            found.append((float(within[sign][x]), beats, beats, x))
    for shift in (-1, 0, 1):
        part = _rows_at(gray, left, right, round(staff.row(left, 0)) + shift, 2 * SPACE)[_between_lines(2 * SPACE)]
        for (beats, unit, _), middle, score in zip(tall_meters(), *_tall_patterns().correlations(part), strict=True):
            if len(score) and score.max() >= TALL_SURE:
                found.append((float(score.max()), beats, unit, int(score.argmax()) + middle))
    if not found:
        return None
    _, beats, unit, x = max(found, key=lambda each: each[0] - RARE * (each[1:3] not in TALL_METERS))
    wide = (2 if beats > 9 else 1) * SPACE
    return PrintedMeter(beats, unit, left + x - wide, left + x + wide)


def _beats(above: np.ndarray, x: int) -> Iterator[tuple[float, int]]:
    """Yield the number of beats above the middle of a meter's unit, of one digit or two, and how sure each is."""
    near = round(SAME_COLUMN)
    for beats in range(2, 10):
        sure = float(above[beats][max(0, x - near) : x + near + 1].max())
        if sure >= LEAST:
            yield sure, beats
    far = round(TWO_DIGITS * SPACE)
    for beats in range(10, MOST_BEATS + 1):
        parts = [above[beats // 10][max(0, x - far - 1) : x - far + 2], above[beats % 10][x + far - 1 : x + far + 2]]
        if all(len(part) for part in parts) and min(part.max() for part in parts) >= LEAST:
            yield float(min(part.max() for part in parts)), beats


def _scores(gray: Gray, staff: Staff, left: int, right: int, centre: int) -> np.ndarray:
    """Return how much each column is like the middle of each sign at a staff position, but for the rows of the lines."""
    best = np.zeros((CUT_TIME + 1, right - left), np.float32)
    middle = round(staff.row(left, centre))
    signs = [sign for sign, shapes in enumerate(printed_signs()) for _ in shapes]
    for shift in (-1, 0, 1):
        part = _rows_at(gray, left, right, middle + shift, ROWS // 2)[_between_lines(ROWS // 2)]
        for sign, begin, score in zip(signs, *_sign_patterns().correlations(part), strict=True):
            place = best[sign, begin : begin + len(score)]
            np.maximum(place, score, out=place)
    return best


def _between_lines(half: int) -> np.ndarray:
    """Say which rows around a line, up to ``half`` above and below it, are not those of lines."""
    return np.array([abs(abs(row) % SPACE - SPACE / 2) < SPACE / 2 - 1 for row in range(-half, half + 1)])


def _rows_at(gray: Gray, left: int, right: int, middle: int, half: int) -> np.ndarray:
    """Return the darkness of a part of a page, whose rows reach up to ``half`` above and below a middle one; paper outside."""
    wanted = np.arange(middle - half, middle + half + 1)
    inside = (wanted >= 0) & (wanted < len(gray))
    return np.where(inside[:, None], 255.0 - gray[wanted.clip(0, len(gray) - 1), left:right].astype(np.float32), 0)


@dataclass(frozen=True)
class _Patterns:
    """Shapes that are looked for in a part of a page: their widths, their values without their mean, and their norms."""

    widths: tuple[int, ...]
    values: np.ndarray
    norms: np.ndarray

    def correlations(self, part: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
        """Return the middle of each shape, and its correlation with each part of its width, by the left edge."""
        rows, widest = self.values.shape[1:]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(part, ((0, 0), (0, widest - 1))), widest, axis=1)
        dots = np.tensordot(self.values, windows, ((1, 2), (0, 2))) / self.norms[:, None]
        sums, squares = (np.concatenate([[0.0], np.cumsum(v.sum(0, dtype=float))]) for v in (part, np.square(part)))
        spreads, found = {}, []
        for wide, dot in zip(self.widths, dots, strict=True):
            if wide not in spreads:
                total, square = (cumulated[wide:] - cumulated[:-wide] for cumulated in (sums, squares))
                spreads[wide] = np.sqrt(np.maximum(square - np.square(total) / (wide * rows), 1e-6))
            found.append(dot[: len(spreads[wide])] / spreads[wide])
        return [wide // 2 for wide in self.widths], found


def _patterns(shapes: Sequence[np.ndarray]) -> _Patterns:
    widest = max(shape.shape[1] for shape in shapes)
    values = np.stack([np.pad(shape - shape.mean(), ((0, 0), (0, widest - shape.shape[1]))) for shape in shapes])
    return _Patterns(tuple(shape.shape[1] for shape in shapes), values, np.linalg.norm(values, axis=(1, 2)))


@cache
def _sign_patterns() -> _Patterns:
    used = _between_lines(ROWS // 2)
    return _patterns([shape[used] for shapes in printed_signs() for shape in shapes])


@cache
def _tall_patterns() -> _Patterns:
    used = _between_lines(2 * SPACE)
    return _patterns([shape[used] for _, _, shape in tall_meters()])


def find_strokes(gray: Gray, staff: Staff, heads: Sequence[float]) -> list[float]:
    """Find the strokes of bar lines: as high as a staff, not higher, and with no head, given their columns, beside them."""
    ink = gray < STROKE_INK
    columns = np.arange(staff.left + round(FIRST_STROKE * SPACE), staff.right + 1)
    if len(columns) < SPACE:
        return []
    lines = {at: np.array([round(staff.row(x, at)) for x in columns.tolist()]) for at in (4, -4)}
    top, end = int(lines[4].min()), int(lines[-4].max())
    if top < SPACE or end + SPACE >= len(gray):
        return []
    full = np.array([ink[a : b + 1, x].mean() >= STROKE for x, a, b in zip(columns.tolist(), lines[4], lines[-4], strict=True)])
    near, far = (round(share * SPACE) for share in BEYOND)
    clear = np.array(
        [
            not ink[a - far : a - near + 1, x].all() and not ink[b + near : b + far + 1, x].all()
            for x, a, b in zip(columns.tolist(), lines[4], lines[-4], strict=True)
        ]
    )
    steps = np.diff(np.pad(full, 1).astype(np.int8))
    found = []
    for begin, stop in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        x = columns[0] + (begin + stop - 1) / 2
        alone = all(abs(x - head) > BESIDE_STROKE * SPACE for head in heads)
        if stop - begin <= STROKE_WIDTH * SPACE and clear[begin:stop].all() and alone:
            found.append(float(x))
    return found

"""Find the metronome marks of a page, so that their note and the zeros of their number are not read as music."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from diptych.music.page_geometry import SPACE, Gray, Staff
from diptych.music.page_symbols import Symbol

INK = 170  # gray below which a pixel belongs to a mark
WIDE, HIGH = (1.0, 2.3), (0.6, 1.3)  # staff spaces: the least and greatest width and height of an equals sign
ALIKE = 0.2  # the greatest mean difference of a column's darkness from the others', of 1: level strokes have one profile
NOTE, DIGIT = (2.0, 4.5), (1.2, 2.7)  # staff spaces: the least and greatest height of its note and of its digits
BESIDE = 2.5  # staff spaces from an equals sign to its note, which may be dotted, and to its number
BASELINE = 0.8  # staff spaces by which the lower ends of its note and its number may differ
BEFORE, AFTER = 4.5, 6.0  # staff spaces from an equals sign to the beginning and the end of its mark
ABOVE, BELOW = 4.5, 1.5  # staff spaces from its middle to the top and the bottom of its mark
IN_STAFF = 4.6  # staff steps from the middle line within which symbols belong to the staff


def without_tempos(gray: Gray, symbols: Sequence[Symbol], staves: Sequence[Staff]) -> list[Symbol]:
    """Leave out what looks like symbols in metronome marks outside the staves, such as a quarter note, an equals sign and 100."""
    signs = list(_equals_signs(gray))

    def in_mark(s: Symbol) -> bool:
        return abs(staves[s.staff].position(s.x, s.y)) > IN_STAFF and any(
            left - BEFORE * SPACE <= s.x <= right + AFTER * SPACE and y - ABOVE * SPACE <= s.y <= y + BELOW * SPACE
            for left, right, y in signs
        )

    return [s for s in symbols if not in_mark(s)]


def _equals_signs(gray: Gray) -> Iterator[tuple[float, float, float]]:
    """Yield the ends and the row of each equals sign between a note and a number: two level strokes, one block in small print."""
    ink = np.pad(gray < INK, 2)
    joined = ndimage.binary_closing(ink, np.ones((3, 1)))[2:-2, 2:-2]
    shapes = [
        (rows.start, rows.stop, columns.start, columns.stop) for rows, columns in ndimage.find_objects(ndimage.label(joined)[0])
    ]
    for top, bottom, left, right in shapes:
        if WIDE[0] <= (right - left) / SPACE <= WIDE[1] and HIGH[0] <= (bottom - top) / SPACE <= HIGH[1]:
            near = [s for s in shapes if s[0] < top and s[1] > bottom - 1]
            notes = [s[1] for s in near if 0 < left - s[3] <= BESIDE * SPACE and NOTE[0] <= (s[1] - s[0]) / SPACE <= NOTE[1]]
            digits = [s[1] for s in near if 0 < s[2] - right <= BESIDE * SPACE and DIGIT[0] <= (s[1] - s[0]) / SPACE <= DIGIT[1]]
            level = any(abs(a - b) <= BASELINE * SPACE for a in notes for b in digits)
            if level and _is_level(1 - gray[top:bottom, left + 1 : right - 1] / 255):
                yield left, right, (top + bottom) / 2


def _is_level(darkness: Float[np.ndarray, "h w"]) -> bool:
    """Whether all columns of a shape have the same profile."""
    return bool(np.abs(darkness - darkness.mean(1, keepdims=True)).mean(0).max() <= ALIKE)

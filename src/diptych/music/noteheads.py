"""Find note heads in a sheet by what they look like on average: a judge of drawn sheets that no network had a part in.

It sees where heads stand, not accidentals. Heads that a tie leads to are no notes of a roll: they are not asked for, nor counted
where they are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8

from diptych.music.layout import GUTTER_WIDTH, HEADER_WIDTH, Layout
from diptych.music.note_metrics import f1
from diptych.music.notes import CLEFS, System
from diptych.music.roll import column_of

MIN_CORRELATION = 0.8  # the least normalised correlation of a head
SHAPE_DURATIONS = (
    Fraction(2),
    Fraction(4),
)  # shorter notes have black heads, those from here on white ones, and whole notes no stem
DOTTED_NUMERATOR = (
    3  # the numerator of a dotted note's duration: a dot stands near its head, on a line's note higher than on a space's
)
MIN_CONTRAST = 0.3  # the least contrast of what is compared, of a real head's: what is fainter is a smear, of whatever form
MIN_DISTANCE = 1.3  # staff spaces between heads on one step or the next
MAX_SHIFT = 0.6  # staff spaces that a head may be off: 50 ms at 120 quarters a minute, where a quarter is narrow
Head = tuple[int, int, int]
"""Staff, position from the middle line up, column of the left edge."""
Places = Sequence[tuple[Fraction, int, int]]
"""Onset, staff and step of heads."""


@dataclass(frozen=True)
class NoteheadTemplates:
    """The mean picture of each kind of head in some sheets, for one layout."""

    layout: Layout
    templates: Float[np.ndarray, "k h w"]

    @classmethod
    def learn(cls, layout: Layout, examples: Iterable[tuple[System, UInt8[np.ndarray, "h w"], Places]]) -> NoteheadTemplates:
        """From systems, their real sheets, and the heads that a tie leads to: a note that is tied is not as long as it sounds."""
        height, width = cls.size(layout)
        patches: dict[tuple[int, int], list[np.ndarray]] = {}
        for system, sheet, held in examples:
            sheet = without_staff_lines(sheet, layout)
            for note, (staff, position, column) in zip(system.notes, heads_of(system, layout), strict=True):
                if any((s, step) == (note.staff, note.step) and note.onset < time < note.offset for time, s, step in held):
                    continue
                top = layout.middle_row(staff) - position * layout.step_height - height // 2
                patch = sheet[top : top + height, column : column + width]
                if patch.shape == (height, width):
                    dot = 1 + position % 2 if note.duration.numerator == DOTTED_NUMERATOR else 0
                    kind = sum(note.duration >= kind for kind in SHAPE_DURATIONS), dot
                    patches.setdefault(kind, []).append(patch)
        return cls(layout, np.stack([np.mean(each, axis=0, dtype=np.float32) for each in patches.values()]))

    @staticmethod
    def size(layout: Layout) -> tuple[int, int]:
        """Height and width of a template in pixels."""
        return layout.space + 1, 2 * layout.space

    def find(self, sheet: UInt8[np.ndarray, "h w"]) -> list[Head]:
        """All heads of one system's sheet."""
        height = self.templates.shape[1]
        likeness = _correlation(without_staff_lines(sheet, self.layout), self.templates).max(0)
        found: list[tuple[float, Head]] = []
        for staff in range(self.layout.staves):
            for position in range(-self.layout.max_position, self.layout.max_position + 1):
                top = self.layout.middle_row(staff) - position * self.layout.step_height - height // 2
                if not 0 <= top < len(likeness):
                    continue
                row = likeness[top]
                for column in np.flatnonzero(row >= MIN_CORRELATION).tolist():
                    if column >= (HEADER_WIDTH + GUTTER_WIDTH - 1) * self.layout.space:
                        found.append((float(row[column]), (staff, position, column)))
        heads: list[Head] = []
        for _, (staff, position, column) in sorted(found, reverse=True):  # one head hides others that overlap it
            if all(
                s != staff or abs(p - position) > 1 or abs(c - column) >= MIN_DISTANCE * self.layout.space for s, p, c in heads
            ):
                heads.append((staff, position, column))
        return heads


def without_staff_lines(sheet: UInt8[np.ndarray, "h w"], layout: Layout) -> UInt8[np.ndarray, "h w"]:
    """A sheet whose staff lines are as light as the lighter of what is above and below them."""
    sheet = sheet.copy()
    for staff in range(layout.staves):
        for row in layout.line_rows(staff):
            sheet[row] = np.maximum(sheet[row - 1], sheet[row + 1])
    return sheet


def heads_of(system: System, layout: Layout) -> list[Head]:
    """Where the heads of a system's notes stand."""
    return heads_at([(note.onset, note.staff, note.step) for note in system.notes], system, layout)


def heads_at(places: Places, system: System, layout: Layout) -> list[Head]:
    """The heads at onsets, staves and steps of a system."""
    downbeats = layout.downbeat_columns(system.measures, system.quarter_width)
    return [(s, step - CLEFS[system.clefs[s]], column_of(onset, system, layout, downbeats)) for onset, s, step in places]


def match_heads(true: list[Head], found: list[Head], held: list[Head], layout: Layout) -> tuple[int, int, int]:
    """How many true heads are found, each by one of its own at its position; found heads, but for those ``held``; true heads."""
    left = list(found)
    hits = sum(_taken(head, left, layout) for head in true)
    uncounted = sum(_taken(head, left, layout) for head in held)
    return hits, len(found) - uncounted, len(true)


def _taken(head: Head, left: list[Head], layout: Layout) -> bool:
    """Take the nearest of those left that stand where a head does; whether there was one."""
    near = [other for other in left if other[:2] == head[:2] and abs(other[2] - head[2]) <= MAX_SHIFT * layout.space]
    if near:
        left.remove(min(near, key=lambda other: abs(other[2] - head[2])))
    return bool(near)


def head_f1(counts: Shaped[np.ndarray, "n 3"]) -> float:
    """F1 from rows of found, seen and true heads."""
    found, seen, true = counts.sum(0)
    return f1(found, seen, true)


def _correlation(sheet: UInt8[np.ndarray, "h w"], templates: Float[np.ndarray, "k a b"]) -> Float[np.ndarray, "k p q"]:
    """Normalised cross-correlation of every template at every place (valid places only); less where there is hardly any ink."""
    x = torch.from_numpy(255.0 - sheet.astype(np.float32))[None, None]
    kernels = torch.from_numpy(255.0 - templates)[:, None]
    kernels = kernels - kernels.mean((2, 3), keepdim=True)
    size = kernels.shape[2] * kernels.shape[3]
    ones = torch.ones(1, 1, *kernels.shape[2:])
    mean, square = F.conv2d(x, ones) / size, F.conv2d(x * x, ones) / size
    contrast = kernels.square().mean((2, 3)).sqrt()[None, :, 0, None, None]
    deviation = torch.maximum((square - mean * mean).clamp_min(0.0).sqrt(), MIN_CONTRAST * contrast)
    return (F.conv2d(x, kernels) / size / deviation / contrast)[0].numpy()

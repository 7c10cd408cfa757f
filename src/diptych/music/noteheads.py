"""Find noteheads in a sheet by template matching: an evaluation of drawn sheets that involves no network.

It sees where heads stand, not accidentals. A head that a tie leads to is no note of a roll, so it is neither expected nor counted
as wrong.
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

MIN_CORRELATION = 0.8  # normalised, of a template with a head
MIN_CONTRAST = 0.3  # relative to the template's contrast; fainter ink is a smear, whatever its form
HALF, WHOLE = Fraction(2), Fraction(4)  # durations from which heads are hollow, and have no stem
DOTTED_NUMERATOR = 3  # of a dotted note's duration in quarters
MIN_DISTANCE = 1.3  # in staff spaces, between heads on the same or the next step
MAX_SHIFT = 0.6  # in staff spaces, of a matching head: 50 ms at 120 quarters per minute where a quarter is narrow
Head = tuple[int, int, int]
"""Staff, position upwards from the middle line, and column of the left edge."""
Places = Sequence[tuple[Fraction, int, int]]
"""Onset, staff and step of heads."""


@dataclass(frozen=True)
class NoteheadTemplates:
    """The mean picture of each kind of notehead in some sheets of one layout, and pictures of what may be taken for one there,
    such as short beams: what resembles one of those more is no head."""

    layout: Layout
    templates: Float[np.ndarray, "k h w"]
    others: Float[np.ndarray, "m h w"]

    @classmethod
    def learn(cls, layout: Layout, examples: Iterable[tuple[System, UInt8[np.ndarray, "h w"], Places]]) -> NoteheadTemplates:
        """Average the heads of systems on their real sheets, for each head shape with and without a dot; what these averages find
        there beside the heads are the others, unless a head resembles them more than it does the averages: where two notes are
        a step apart, one stands beside its place.

        ``examples`` are a system, its sheet, and the heads that a tie leads to. Tied notes are left out, since their heads are
        shorter than they sound.
        """
        height, width = cls.size(layout)
        patches: dict[tuple[int, int], list[np.ndarray]] = {}
        known = list(examples)
        for system, sheet, held in known:
            sheet = without_staff_lines(sheet, layout)
            for note, (staff, position, column) in zip(system.notes, heads_of(system, layout), strict=True):
                if any((s, step) == (note.staff, note.step) and note.onset < time < note.offset for time, s, step in held):
                    continue
                top = layout.middle_row(staff) - position * layout.step_height - height // 2
                patch = sheet[top : top + height, column : column + width]
                if patch.shape == (height, width):
                    # a dot stands higher beside a note on a line than beside one in a space
                    dot = 1 + position % 2 if note.duration.numerator == DOTTED_NUMERATOR else 0
                    kind = sum(note.duration >= shape for shape in (HALF, WHOLE)), dot
                    patches.setdefault(kind, []).append(patch)
        templates = np.stack([np.mean(each, axis=0, dtype=np.float32) for each in patches.values()])
        heads = cls(layout, templates, templates[:0])
        others: list[np.ndarray] = []
        standing: list[tuple[UInt8[np.ndarray, "y x"], list[tuple[int, int]]]] = []
        for system, sheet, held in known:
            found = heads.find(sheet)
            expected = [*heads_of(system, layout), *heads_at(held, system, layout)]
            for head in expected:
                _taken(head, found, layout)
            plain = without_staff_lines(sheet, layout)
            for top, column in (heads.corner(head) for head in found):
                others.append(plain[top : top + height, column : column + width].astype(np.float32))
            standing.append((plain, [heads.corner(head) for head in expected]))
        return cls(layout, templates, heads.unlike(np.stack(others), standing) if others else templates[:0])

    def corner(self, head: Head) -> tuple[int, int]:
        """Return the row and the column where the template of a head begins."""
        staff, position, column = head
        return self.layout.middle_row(staff) - position * self.layout.step_height - self.templates.shape[1] // 2, column

    def unlike(
        self,
        others: Float[np.ndarray, "m h w"],
        standing: Iterable[tuple[UInt8[np.ndarray, "y x"], list[tuple[int, int]]]],
    ) -> Float[np.ndarray, "n h w"]:
        """Return those of ``others`` that take no head from the templates, given sheets and the corners of their heads."""
        takes = np.zeros(len(others), bool)
        for plain, corners in standing:
            own, other = _correlation(plain, self.templates).max(0), _correlation(plain, others)
            for top, column in corners:
                if 0 <= top < own.shape[0] and column < own.shape[1] and own[top, column] >= MIN_CORRELATION:
                    takes |= other[:, top, column] > own[top, column]
        return others[~takes]

    @staticmethod
    def size(layout: Layout) -> tuple[int, int]:
        """Return height and width of a template in pixels."""
        return layout.space + 1, 2 * layout.space

    def find(self, sheet: UInt8[np.ndarray, "h w"]) -> list[Head]:
        """Find all heads on the sheet of one system."""
        plain = without_staff_lines(sheet, self.layout)
        correlation = _correlation(plain, self.templates).max(0)
        if len(self.others):
            correlation[_correlation(plain, self.others).max(0) > correlation] = 0.0
        found: list[tuple[float, Head]] = []
        for staff in range(self.layout.staves):
            for position in range(-self.layout.max_position, self.layout.max_position + 1):
                top, _ = self.corner((staff, position, 0))
                if not 0 <= top < len(correlation):
                    continue
                row = correlation[top]
                for column in np.flatnonzero(row >= MIN_CORRELATION).tolist():
                    if column >= (HEADER_WIDTH + GUTTER_WIDTH - 1) * self.layout.space:
                        found.append((float(row[column]), (staff, position, column)))
        heads: list[Head] = []
        for _, (staff, position, column) in sorted(found, reverse=True):  # best first; a head suppresses others that overlap it
            if all(
                s != staff or abs(p - position) > 1 or abs(c - column) >= MIN_DISTANCE * self.layout.space for s, p, c in heads
            ):
                heads.append((staff, position, column))
        return heads


def without_staff_lines(sheet: UInt8[np.ndarray, "h w"], layout: Layout) -> UInt8[np.ndarray, "h w"]:
    """Erase staff lines: each row takes the lighter of the pixels above and below."""
    sheet = sheet.copy()
    for staff in range(layout.staves):
        for row in layout.line_rows(staff):
            sheet[row] = np.maximum(sheet[row - 1], sheet[row + 1])
    return sheet


def heads_of(system: System, layout: Layout) -> list[Head]:
    """Return where the heads of a system's notes stand."""
    return heads_at([(note.onset, note.staff, note.step) for note in system.notes], system, layout)


def heads_at(places: Places, system: System, layout: Layout) -> list[Head]:
    """Return the heads at some onsets, staves and steps of a system."""
    downbeats = layout.downbeat_columns(system.measures, system.quarter_width)
    return [(s, step - CLEFS[system.clefs[s]], column_of(onset, system, layout, downbeats)) for onset, s, step in places]


def match_heads(true: list[Head], found: list[Head], held: list[Head], layout: Layout) -> tuple[int, int, int]:
    """Match found heads one to one with true ones on the same position; return the numbers of matched, found and true heads.

    Found heads that match one of ``held``, to which a tie leads, are not counted as found.
    """
    left = list(found)
    hits = sum(_taken(head, left, layout) for head in true)
    uncounted = sum(_taken(head, left, layout) for head in held)
    return hits, len(found) - uncounted, len(true)


def _taken(head: Head, left: list[Head], layout: Layout) -> bool:
    """Remove from ``left`` the nearest head that matches; return whether there was one."""
    near = [other for other in left if other[:2] == head[:2] and abs(other[2] - head[2]) <= MAX_SHIFT * layout.space]
    if near:
        left.remove(min(near, key=lambda other: abs(other[2] - head[2])))
    return bool(near)


def head_f1(counts: Shaped[np.ndarray, "n 3"]) -> float:
    """Return F1 from rows of matched, found and true heads."""
    matched, found, true = counts.sum(0)
    return f1(matched, found, true)


def _correlation(sheet: UInt8[np.ndarray, "h w"], templates: Float[np.ndarray, "k a b"]) -> Float[np.ndarray, "k p q"]:
    """Return the normalised cross-correlation of every template at every valid place, lowered where there is hardly any ink."""
    x = torch.from_numpy(255.0 - sheet.astype(np.float32))[None, None]
    kernels = torch.from_numpy(255.0 - templates)[:, None]
    kernels = kernels - kernels.mean((2, 3), keepdim=True)
    size = kernels.shape[2] * kernels.shape[3]
    ones = torch.ones(1, 1, *kernels.shape[2:])
    mean, square = F.conv2d(x, ones) / size, F.conv2d(x * x, ones) / size
    contrast = kernels.square().mean((2, 3)).sqrt()[None, :, 0, None, None]
    deviation = torch.maximum((square - mean * mean).clamp_min(0.0).sqrt(), MIN_CONTRAST * contrast)
    return (F.conv2d(x, kernels) / size / deviation / contrast)[0].numpy()

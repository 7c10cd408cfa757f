"""Note metrics: what counts as a match, and that empty or wrong sheets score nothing."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from diptych.music.layout import Layout
from diptych.music.note_metrics import METRICS, NoteCounts, count_matches, summarise
from diptych.music.noteheads import NoteheadTemplates, heads_of, match_heads
from diptych.music.notes import Note, System

TRUTH = System(
    ("G2",), 1, (Fraction(4),), 6,
    tuple(Note(Fraction(k), 0, 30 + k, int(k == 2), Fraction(1)) for k in range(4)),
)  # fmt: skip


def with_notes(*notes):
    return replace(TRUTH, notes=tuple(notes))


def test_the_truth_finds_itself():
    counts = count_matches(TRUTH, TRUTH)
    assert counts == NoteCounts(4, 4, 4, 4, out_of_key=2, out_of_key_matched=2, perfect=1, systems=1)


@pytest.mark.parametrize(
    ("changes", "found", "held"),
    [
        ({"alter": 1}, 3, 3), ({"step": 31}, 3, 3), ({"onset": Fraction(1, 12)}, 4, 4), ({"onset": Fraction(1, 6)}, 3, 3),
        ({"duration": Fraction(1, 2)}, 4, 3), ({"velocity": 1}, 4, 4),
    ],
    ids=str,
)  # fmt: skip
def test_pitch_is_exact_and_time_within_50_ms(changes, found, held):
    first, *others = TRUTH.notes
    counts = count_matches(TRUTH, with_notes(replace(first, **changes), *others))
    assert (counts.matched, counts.matched_with_offset) == (found, held)


def test_a_note_twice_is_found_once():
    counts = count_matches(TRUTH, with_notes(*TRUTH.notes, TRUTH.notes[0]))
    assert (counts.estimated, counts.matched, counts.perfect) == (5, 4, 0)


def test_intervals_are_by_work():
    right, wrong = NoteCounts(10, 10, 10, 10, 2, 2, 1, 1), NoteCounts(10, 10, 0, 0, 2, 0, 0, 1)
    f1 = summarise({"a": right, "b": wrong, "c": right, "d": wrong})["f1"]
    half = 3.18245 * (1 / 12) ** 0.5  # Student, and the error of the mean of 1, 0, 1, 0
    assert half > 0.5 and (f1.value, f1.n) == (0.5, 4) and (f1.low, f1.high) == (0, 1)  # cut at what a share can be
    f1 = summarise({"a": replace(right, matched=9), "b": replace(right, matched=7), "c": replace(right, matched=8)})["f1"]
    half = 4.30265 * (0.01 / 3) ** 0.5  # 0.9, 0.7 and 0.8
    assert (f1.low, f1.high) == pytest.approx((0.8 - half, 1))
    assert all(score(NoteCounts()) == 0 for score in METRICS.values())


def sheet_with(heads, layout):
    """A page with lines, and an oval for each head."""
    sheet = np.full((layout.height, layout.width), 255, np.uint8)
    sheet[layout.line_rows(0)] = 0
    y, x = np.mgrid[-2:3, -2.5:2.6]
    oval = (y / 2.2) ** 2 + (x / 2.7) ** 2 < 1
    for staff, position, column in heads:
        top = layout.middle_row(staff) - position * layout.step_height - 2
        sheet[top : top + 5, column : column + oval.shape[1]][oval] = 0
    return sheet


def test_heads_are_found_where_they_stand_and_nowhere_on_an_empty_page():
    layout = Layout()
    true = heads_of(TRUTH, layout)
    heads = NoteheadTemplates.learn(layout, [(TRUTH, sheet_with(true, layout), [])])
    assert sorted(heads.find(sheet_with(true, layout))) == sorted(true)
    assert heads.find(sheet_with([], layout)) == []
    faint = 255 - (255 - sheet_with(true, layout)) // 5
    assert heads.find(faint) == []
    moved = [(staff, position + 1, column) for staff, position, column in true]
    assert match_heads(true, heads.find(sheet_with(moved, layout)), [], layout)[0] == 0


def test_a_short_beam_that_looks_like_a_head_is_none():
    layout = Layout()
    true = heads_of(TRUTH, layout)

    def with_beam(left):
        sheet = sheet_with(true, layout)
        sheet[layout.middle_row(0) + 15 : layout.middle_row(0) + 18, left : left + 6] = 0
        return sheet

    heads = NoteheadTemplates.learn(layout, [(TRUTH, with_beam(100), [])])
    assert len(replace(heads, others=heads.others[:0]).find(with_beam(200))) > len(true)
    assert sorted(heads.find(with_beam(200))) == sorted(true)


def test_a_head_beside_its_place_does_not_teach_that_heads_are_none():
    layout = Layout()
    true = heads_of(TRUTH, layout)
    staff, position, column = true[-1]
    beside = (staff, position + 4, column + 2 * layout.space)  # as the second head of two notes a step apart
    heads = NoteheadTemplates.learn(layout, [(TRUTH, sheet_with([*true, beside], layout), [])])
    assert sorted(heads.find(sheet_with(true, layout))) == sorted(true)

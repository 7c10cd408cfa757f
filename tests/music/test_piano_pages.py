"""Pages of two staves a system: their staves, chords and voices, by shapes and measures worked out by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from diptych.music.page_clefs import clefs_of
from diptych.music.page_events import Event, _of_one_kind
from diptych.music.page_geometry import SPACE, Staff, find_staves, group_systems
from diptych.music.page_heads import _one_column, by_ledgers
from diptych.music.page_keys import marks_of
from diptych.music.page_rhythm import time_events, time_measures, usual_lengths
from diptych.music.page_symbols import Symbol, symbol_of

WIDTH = 400


def staff(middle, left=20):
    return Staff(left, WIDTH - 1, np.full(WIDTH, float(middle)), float(SPACE), 1.0)


def symbol(kind, x, position, half=3, on=0):
    y = 60 - position * SPACE / 2
    return Symbol(kind, on, x - half, x + half, y - half, y + half, x, y, (2 * half + 1) ** 2)


def test_a_line_left_of_where_staves_seem_to_begin_joins_them():
    gray = np.full((200, WIDTH), 255, np.uint8)
    gray[38:122, 12] = 60
    upper, lower, other = staff(50, left=24), staff(110, left=27), staff(170)
    systems = group_systems(gray, [upper, lower, other])
    assert [[each.left for each in system] for system in systems] == [[12, 12], [20]]


def test_staves_with_pale_lines_that_seem_to_begin_at_their_names_begin_at_the_line_of_their_system():
    gray = np.full((260, WIDTH), 255, np.uint8)
    gray[38:122, 100] = gray[158:242, 100] = gray[38:122, 160] = gray[158:242, 160] = 60  # two systems, and bar lines
    # their lines are seen from 140 on, and signs from 10 or 50 on
    names = [replace(staff(middle, left), unseen=140 - left) for middle, left in ((110, 10), (170, 50), (230, 10))]
    systems = group_systems(gray, [staff(50, left=100), *names])
    assert [[each.left for each in system] for system in systems] == [[100, 100], [100, 100]]
    clear = [staff(50, left=100), staff(110, left=10)]  # its lines are seen: it begins there
    assert [[each.left for each in system] for system in group_systems(gray, clear)] == [[100], [10]]


def test_beams_over_an_outer_line_do_not_move_a_staff():
    gray = np.full((120, 600), 255, np.uint8)
    for line in range(5):
        gray[48 + 6 * line, 10:590] = 170
    for left in range(60, 560, 125):  # beams on the upper line, and heads on a ledger line below
        gray[45:51, left : left + 110] = 0
        for head in range(left, left + 110, 18):
            gray[76:81, head : head + 8] = 0
            gray[78, head - 3 : head + 11] = 0
    (found,) = find_staves(gray)
    assert round(found.middle_at(300)) == 60


def test_a_bar_line_belongs_to_a_system_whose_staves_are_far_from_each_other():
    staves = [staff(40), staff(170)]
    part = np.ones((154, 2), bool)
    assert symbol_of("bar line", part, 200, 28, staves).staff in (0, 1)
    assert symbol_of("dot", np.ones((2, 2), bool), 200, 104, staves) is None


def test_a_spot_left_of_a_clef_is_no_part_of_it():
    spot = Symbol("clef C", 0, 16, 17, 20, 26, 16.5, 23, 9)
    clef = Symbol("clef C", 0, 18, 34, 60, 84, 26, 72, 305)
    found, _ = clefs_of([spot, clef], [[staff(60, left=15)]])
    assert [name for _, name in found[0]] == ["C1"]  # with the spot, its middle would be 20 pixels higher


def test_three_heads_in_thirds_are_not_two():
    covers = [(5, 10, 9, 0.71), (4, 12, 9, 0.95), (3, 15, 9, 0.9), (2, 18, 9, 0.93), (1, 21, 9, 0.93), (0, 24, 9, 0.95)]
    assert [cover[0] for cover in _one_column(covers)] == [4, 2, 0]


def test_three_high_heads_are_not_four():  # as in Petaluma, whose heads are higher than a staff space
    shares = {2: 0.9, 1: 1.0, 0: 1.0, -1: 1.0, -2: 1.0, -3: 1.0, -4: 0.8}
    assert [cover[0] for cover in _one_column([(step, 0, 0, share) for step, share in shares.items()])] == [1, -1, -3]


def ink(gray, head):
    """Draw a head as an ellipse 9 pixels wide and 7 pixels high."""
    y, x = np.ogrid[: gray.shape[0], : gray.shape[1]]
    gray[((x - head.x) / 4.5) ** 2 + ((y - head.y) / 3.5) ** 2 <= 1] = 0


def test_the_ledger_line_that_two_heads_of_a_chord_hide_is_seen_beside_them():
    gray = np.full((120, WIDTH), 255, np.uint8)
    chord, letters = [[symbol("head", x, position) for position in (9, 7, 5)] for x in (100, 200)]
    gray[[36, 42], 93:108] = 90  # 8 and 6 steps above the middle line, 60 - 8 * 3 and 60 - 6 * 3
    for head in (*chord, *letters):
        ink(gray, head)
    assert by_ledgers([*chord, *letters], gray, [staff(60)]) == [*chord, letters[2]]  # 5 steps above, it needs none


def test_a_head_nearer_to_the_upper_staff_belongs_to_the_lower_one_where_its_ledger_lines_lead_there():
    gray = np.full((180, WIDTH), 255, np.uint8)
    heads = [symbol("head", x, -9) for x in (100, 150, 200)]  # 60 + 9 * 3 = 87, 11 steps above the lower middle line
    gray[[102, 96, 90], 93:108] = 90  # 6, 8 and 10 steps above that line
    gray[[102, 90], 143:158] = 90  # one of three is missing
    for head in heads:
        ink(gray, head)
    signs = [symbol("flat", 90, -9.4), symbol("dot", 110, -9, half=1), symbol("flat", 90, -5), symbol("flat", 190, -9)]
    found = by_ledgers([*heads, *signs], gray, [staff(60), staff(120)])
    assert [(s.kind, s.x, s.staff) for s in found] == [
        ("head", 100, 1),
        ("flat", 90, 1),
        ("dot", 110, 1),
        ("flat", 90, 0),
        ("flat", 190, 0),
    ]


def test_a_head_with_two_stems_belongs_to_heads_of_its_kind():
    hollow, filled, other = symbol("hollow head", 50, 2), symbol("head", 50, 0), symbol("head", 50, -2)
    assert _of_one_kind({0: [hollow, filled], 1: [filled, other]}) == {0: [hollow], 1: [filled, other]}
    assert _of_one_kind({0: [hollow, filled], 1: [other]}) == {0: [hollow, filled], 1: [other]}


def test_an_accidental_belongs_to_the_head_of_a_second_behind_the_stem():
    lower, upper = symbol("head", 60, -1), symbol("head", 67, 0)
    flat = symbol("flat", 48, -0.4)
    chord = Event(0, 60.0, Fraction(1), (lower, upper), True)
    assert marks_of([chord], [flat], [staff(60)]) == {id(upper): "f"}


def test_two_voices_with_stems_up_begin_together_two_pixels_apart():
    events = [Event(0, 60.0, Fraction(1), up=True), Event(0, 62.0, Fraction(2), up=True), Event(0, 90.0, Fraction(1), up=True)]
    assert time_events(events, Fraction(2)).onsets == (0, 0, 1)


def test_one_measure_that_is_misread_does_not_make_others_longer():
    quarters = [Event(0, 60.0 + 30 * k, Fraction(1), up=True) for k in range(4)]
    measures = [quarters, quarters, [*quarters, Event(0, 180.0, Fraction(1), up=True)], quarters]
    assert [timing.length for timing in time_measures(measures, [False] * 4)][:2] == [4, 4]


def test_measures_last_as_long_as_a_meter_that_is_printed():
    assert usual_lengths([Fraction(23, 4), Fraction(3), Fraction(13, 4)], None) == [3]

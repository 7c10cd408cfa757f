"""What keeps the measures of a page in their places: meters, keys, bar lines and rests, by values worked out by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from diptych.music.free_reading import joined
from diptych.music.notes import Note
from diptych.music.page_clefs import clefs_of
from diptych.music.page_events import Event
from diptych.music.page_geometry import SPACE
from diptych.music.page_keys import changed_keys, keys_of
from diptych.music.page_meters import _patterns, _reach, find_meters
from diptych.music.page_reading import Measure, ReadSystem, _is_rest, _more_bars, _tie
from diptych.music.page_rests import find_long_rests
from diptych.music.page_rhythm import time_measures
from diptych.music.page_symbols import Symbol, symbol_of
from tests.music.test_page_signs import STAFF, paper, put_number, symbol


def measure(printed, *onsets, meter=False, lasts=1):
    notes = tuple(Note(Fraction(onset), 0, 34, 0, Fraction(lasts)) for onset in onsets)
    return Measure(Fraction(printed), 0, notes, tuple(symbol("head", 20 + 10 * k, 60) for k in range(len(notes))), meter)


def test_a_measure_twice_as_long_as_others_is_two_whose_bar_line_was_not_seen():
    threes = [measure(3, 0, 1, 2)] * 3
    found = joined([ReadSystem(("G2",), (*threes, measure(6, 0, 1, 2, 3, 4, 5), *threes))])
    assert found.measures == (3,) * 8 and [note.onset for note in found.notes] == list(range(24))
    held = joined([ReadSystem(("G2",), (*threes, measure(6, 0, 2, lasts=2), *threes))])  # a note goes over the middle
    assert held.measures == (3,) * 7


def test_halves_of_one_measure_are_in_one_meter():
    def quarters(number):
        return [Event(0, 4.0 * SPACE * k, Fraction(1), up=True) for k in range(number)]

    measures = [quarters(4), quarters(4), quarters(4), quarters(4), quarters(2), quarters(2), quarters(2), quarters(2)]
    timings = time_measures(measures, [k in (0, 5) for k in range(8)])
    assert timings[4].cost > 0  # it is no half of 4 with the next one
    assert [timing.length for timing in timings[5:]] == [2, 2, 2]
    pages = [measure(4, 0), measure(4, 0), measure(2, 0), measure(2, 0, meter=True), measure(2, 0), measure(2, 0)]
    assert joined([ReadSystem(("G2",), tuple(pages))]).measures == (4, 4, 4, 2, 2, 2)


def test_one_measure_that_nothing_explains_does_not_say_how_long_others_last():
    four = [Event(0, 4.0 * SPACE * k, Fraction(1), up=True) for k in range(4)]
    wild = [Event(0, 2.0 * SPACE * k, Fraction(1, 2), up=True) for k in range(14)]
    assert [timing.length for timing in time_measures([four, four, four, wild], [False] * 4)[:3]] == [4] * 3


def test_a_meter_stands_behind_the_accidentals_of_a_new_key_and_where_a_staff_seems_to_end():
    gray = paper()
    for y, number in ((48, 3), (60, 4)):
        put_number(gray, 246, y, number)
    naturals = [symbol("natural", x, 60) for x in (208, 222, 236)]
    assert [(m.beats, m.unit) for m in find_meters(gray, STAFF, [200.0], naturals)] == [(3, 4)]
    assert find_meters(gray, STAFF, [200.0]) == []
    assert _reach(200, naturals) == 239 + 5 * SPACE and _reach(200, []) == 200 + 5 * SPACE
    short = replace(STAFF, right=250)
    assert [(m.beats, m.unit) for m in find_meters(gray, short, [200.0], naturals)] == [(3, 4)]


def test_a_stroke_in_a_meter_ends_no_measure_before_it():
    gray = paper()
    for y, number in ((48, 2), (60, 4)):
        put_number(gray, 40, y, number)
    assert [(m.beats, m.unit) for m in find_meters(gray, STAFF, [44.0, 150.0])] == [(2, 4)]


def test_shapes_that_are_compared_at_once_have_the_correlations_of_single_ones():
    dice = np.random.default_rng(1)
    part, shapes = dice.uniform(0, 255, (5, 30)), [dice.uniform(0, 255, (5, wide)) for wide in (4, 7)]
    middles, found = _patterns(shapes).correlations(part)
    assert middles == [2, 3] and [len(each) for each in found] == [27, 24]
    for shape, scores in zip(shapes, found, strict=True):
        wide = shape.shape[1]
        single = [np.corrcoef(part[:, x : x + wide].ravel(), shape.ravel())[0, 1] for x in range(len(scores))]
        assert scores == pytest.approx(single, abs=1e-6)


def test_naturals_that_cancel_the_key_of_a_system_change_it():
    naturals = [symbol("natural", x, STAFF.row(x, at)) for x, at in ((206, 0), (213, 3), (220, -1))]
    bars = [Symbol("bar line", 0, x, x + 1, 48, 72, x, 60, 50) for x in (100, 200)]
    heads = [Event(0, x, Fraction(1), (symbol("head", x, 60),), True) for x in (60, 150, 280)]
    clefs = [[(0.0, "G2")]]
    found = changed_keys([*bars, *naturals], heads, clefs, (STAFF,), (100, 200, 400), -3)
    assert found == {200: (0, naturals)}
    assert changed_keys(bars, heads, clefs, (STAFF,), (100, 200, 400), -3) == {}
    assert keys_of([*bars, *naturals], heads, clefs, (STAFF,), 200.0, 400.0, -3)[0][0] == 0


def test_keys_that_follow_each_other_in_a_system_lead_to_that_of_the_next_one():
    sharps = [symbol("sharp", x, STAFF.row(x, at), half=6) for x, at in ((108, 4), (115, 1))]
    naturals = [symbol("natural", x, STAFF.row(x, at), half=6) for x, at in ((208, 4), (215, 1))]
    flat = [symbol("flat", 306, STAFF.row(306, 0.9), half=6)]  # off its place, but no note stands behind it
    heads = [Event(0, x, Fraction(1), (symbol("head", x, 60),), True) for x in (60, 150, 280)]
    every, edges, clefs = [*sharps, *naturals, *flat], (100, 200, 300, 400), [[(0.0, "G2")]]
    found = changed_keys(every, heads, clefs, (STAFF,), edges, 0, -1)
    assert found == {100: (2, sharps), 200: (0, naturals), 300: (-1, flat)}
    assert changed_keys(sharps, heads, clefs, (STAFF,), edges, 0, -1) == {}  # what does not lead there is no key
    assert changed_keys(sharps, heads, clefs, (STAFF,), edges, 0) == {100: (2, sharps)}


@pytest.mark.parametrize(("font", "beats", "unit"), [(0, 6, 8), (1, 4, 4), (2, 6, 8)])
def test_strokes_of_a_meter_behind_the_accidentals_of_a_new_key_are_no_bar_lines(font, beats, unit):
    gray = paper()
    for y, number in ((48, beats), (60, unit)):
        put_number(gray, 232, y, number, font)
    bar = Symbol("bar line", 0, 200, 201, 48, 72, 200.5, 60, 50)
    assert _more_bars(gray, [bar, symbol("sharp", 208, 48), symbol("sharp", 216, 57)], STAFF) == []


def test_a_tie_over_the_end_of_a_system_needs_only_one_of_its_two_curves():
    def system(*notes):
        return ReadSystem(("G2",), (Measure(Fraction(4), 0, notes, tuple(symbol("head", 20, 60) for _ in notes)),))

    last, first = Note(Fraction(3), 0, 34, 1, Fraction(1), "s"), Note(Fraction(0), 0, 34, 0, Fraction(2))
    for leaves, enters in ((True, True), (True, False), (False, True)):
        found = joined([system(replace(last, goes_on=leaves)), system(replace(first, continued=enters))])
        assert [(note.onset, note.duration, note.alter) for note in found.notes] == [(3, 3, 1)]
    for other in (first, replace(first, continued=True, step=35), replace(first, continued=True, accidental="n")):
        assert len(joined([system(last), system(other)]).notes) == 2


def test_a_curve_over_the_end_of_a_system_joins_its_outermost_notes():
    notes = tuple(Note(Fraction(k), 0, 34, 0, Fraction(1)) for k in range(4))
    heads = tuple(symbol("head", x, y) for x, y in ((70, 60.0), (80, 60.1), (210, 60.1), (220, 60.0)))
    measures = [Measure(Fraction(4), 0, notes, heads)]
    enters, leaves = Symbol("curve", 0, 60, 70, 64, 68, 65, 67, 20), Symbol("curve", 0, 221, 227, 64, 68, 224, 67, 15)
    found = _tie(measures, [enters, leaves])[0].notes
    assert [note.continued for note in found] == [True, False, False, False]
    assert [note.goes_on for note in found] == [False, False, False, True]


def test_a_number_above_the_staff_is_no_part_of_a_clef():
    clef = Symbol("clef C", 0, 6, 21, 48, 72, 13, 60, 250)
    number = Symbol("clef C", 0, 4, 8, 34, 43, 6, 38, 20)
    assert clefs_of([clef, number], [(STAFF,)])[0] == [[(13, "C3")]]


def test_a_measure_with_short_rests_is_no_rest_of_several_measures():
    gray = paper()
    gray[54:61, 300:304] = 0  # a part of a head, as high as a breve
    put_number(gray, 297, 26, 2)
    assert [rest.measures for rest in find_long_rests(gray, [], (STAFF,), [200.0, 399.0])] == [2]
    rest = Symbol("quarter rest", 0, 228, 234, 50, 70, 231, 60, 60)
    assert find_long_rests(gray, [rest], (STAFF,), [200.0, 399.0]) == []
    own = Symbol("quarter rest", 0, 299, 306, 50, 70, 302, 60, 60)  # its stroke looks like a block
    assert find_long_rests(gray, [own], (STAFF,), [200.0, 399.0]) == []


def test_a_lone_head_below_an_upper_line_is_the_rest_of_its_measure():
    def event(position, tip=None):
        y = STAFF.row(100, position)
        return Event(0, 100.0, Fraction(1), (symbol("head", 100, y),), None if tip is None else True, y - (tip or 0))

    assert _is_rest(event(1.5), (STAFF,)) and _is_rest(event(3.4, tip=6), (STAFF,))
    assert not _is_rest(event(1, tip=20), (STAFF,)) and not _is_rest(event(-2), (STAFF,))


def test_heads_on_many_ledger_lines_belong_to_the_staff():
    part = np.ones((6, 7), bool)
    below = round(STAFF.row(100, -4) + 8.5 * SPACE)
    assert symbol_of("head", part, 100, below, (STAFF,)) is not None
    assert symbol_of("digit", part, 100, below, (STAFF,)) is None


def keys_at(kind, *places):
    """Return the key of accidentals at columns and staff positions, before a note on the middle line."""
    signs = [
        replace(symbol(kind, x, STAFF.row(x, at)), top=STAFF.row(x, at) - 8, bottom=STAFF.row(x, at) + 8) for x, at in places
    ]
    note = Event(0, 150, Fraction(1), (symbol("head", 150, 60),), True)
    return keys_of(signs, [note], [[(0.0, "G2")]], (STAFF,))[0][0]


def test_one_flat_of_a_key_may_seem_to_stand_off_its_place_between_others():
    assert keys_at("flat", (40, 0), (47, 1.4), (54, -1)) == -3
    assert keys_at("flat", (40, 0), (47, 3), (54, 1)) == -2


def test_accidentals_of_a_chord_are_no_key():
    assert keys_at("sharp", (60, 4), (67, -2), (67, 5)) == 0
    assert keys_at("sharp", (60, 4), (100, -2)) == 1

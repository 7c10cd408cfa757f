"""When the events of a measure begin is found from their voices, by hand-worked measures."""

from dataclasses import replace
from fractions import Fraction

from diptych.music.page_events import Event
from diptych.music.page_geometry import SPACE
from diptych.music.page_rhythm import CLEAN, time_events, time_measures


def event(x, duration, up=None, group=0):
    return Event(0, x * SPACE, Fraction(duration), up=up, group=group)


def onsets(events, length=None):
    return [float(onset) for onset in time_events(events, length).onsets]


def test_two_voices_of_a_staff_begin_together_though_a_second_shifts_one():
    above = [event(0, 2, True), event(8, 1, True), event(15.4, 1 / Fraction(2), True), event(19, 1 / Fraction(2), True)]
    below = [event(1.3, 2, False), event(9.4, "1/2", False), event(11.7, "1/2", False), event(15.4, "1/2", False)]
    timing = time_events([*above, *below, event(19, "1/2", False)])
    assert [float(onset) for onset in timing.onsets] == [0, 2, 3, 3.5, 0, 2, 2.5, 3, 3.5]
    assert timing.length == 4


def test_a_voice_that_pauses_without_a_rest_is_placed_by_the_length_of_the_measure():
    low = [event(0, 4, False)]
    high = [event(x, "1/2", True, group=1) for x in (4, 8, 12)]
    assert onsets([*low, *high], Fraction(4))[0] == 0
    first, second, third = onsets([*low, *high], Fraction(4))[1:]
    assert first > 0 and (second - first, third - second) == (0.5, 0.5) and third <= 3.5


def test_most_measures_say_how_long_all_last_but_a_pickup_stays_short():
    quarters = [[event(4 * k, 1, True) for k in range(3)] for _ in range(4)]
    short = [event(0, 1, True), event(4, 1, True)]
    lengths = [timing.length for timing in time_measures([[event(0, 1, True)], *quarters], [True, *[False] * 4])]
    assert lengths == [1, 3, 3, 3, 3]
    assert time_measures([quarters[0], short, *quarters[1:]], [True, *[False] * 4])[1].cost > 0
    assert time_measures([], []) == []


def test_one_note_value_that_was_misread_stays_in_its_measure():
    right = [event(4 * k, 1, True) for k in range(3)]
    dotted = [right[0], replace(right[1], duration=Fraction(3, 2)), right[2]]  # a dot too many
    triplet = [replace(each, duration=Fraction(2, 3), alone=Fraction(1)) for each in right]
    timings = time_measures([right, right, dotted, triplet, right, right], [True, *[False] * 5])
    assert [timing.length for timing in timings] == [3] * 6
    assert [timing.onsets for timing in timings] == [(0, 1, 2)] * 6
    assert timings[0].durations is None and timings[2].durations == timings[3].durations == (1, 1, 1)
    assert timings[2].cost > CLEAN


def test_a_pickup_in_which_a_flag_was_missed_lasts_whole_sixteenths():
    quarters = [event(4 * k, 1, True) for k in range(2)]
    pickup = [event(0, "3/8", True), event(4, "1/4", True)]  # a dotted 16th and a 32nd, one of whose flags was missed
    timings = time_measures([pickup, quarters, quarters], [True, False, False], known=[Fraction(2), None, None])
    assert [timing.length for timing in timings] == [Fraction(1, 2), 2, 2]
    assert timings[0].onsets == (0, Fraction(3, 8)) and timings[0].durations == (Fraction(3, 8), Fraction(1, 8))


def test_halves_of_a_measure_at_a_double_bar_line_are_read_to_fill_it():
    quarters = [event(4 * k, 1, True) for k in range(2)]
    first = [event(0, 1, True), event(4, "1/2", True)]
    second = [event(0, "3/8", True), event(4, "1/4", True)]
    measures = [[event(0, "1/2", True)], quarters, first, second, quarters, quarters]
    doubles = [False, False, True, False, False, False]
    timings = time_measures(measures, [True, *[False] * 5], doubles)
    assert [timing.length for timing in timings] == [Fraction(1, 2), 2, Fraction(3, 2), Fraction(1, 2), 2, 2]
    joined = time_measures(measures, [True, *[False] * 5], [False] * 6)
    assert [timing.length for timing in joined][2] == 2  # without the double bar line, a flag or a dot is thought to be misread

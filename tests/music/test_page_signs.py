"""Signs of a page that its symbol map does not show, such as rests of several measures and meters, and what systems share."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diptych.music.clefs import PRINTED_CLEFS
from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.free_reading import joined, to_song
from diptych.music.mei import load_mei
from diptych.music.notes import Note, step_of
from diptych.music.page_clefs import clefs_of
from diptych.music.page_digits import _drawn, numbers_in
from diptych.music.page_events import Event, find_events
from diptych.music.page_finding import find_symbols
from diptych.music.page_geometry import SPACE, Staff, read_geometry
from diptych.music.page_heads import on_ledgers
from diptych.music.page_keys import agreed_keys, double_bars, keys_of
from diptych.music.page_meters import find_strokes, shows_meter
from diptych.music.page_reading import Measure, ReadSystem, read_systems
from diptych.music.page_rests import find_long_rests
from diptych.music.page_rhythm import rest_beside, usual_lengths
from diptych.music.page_symbols import Symbol
from diptych.music.page_tuplets import with_tuplets
from diptych.music.print_styles import FONTS
from diptych.music.roll import key_position
from diptych.music.symbols import CLASS, draw_page, draw_symbols

STAFF = Staff(0, 400, np.full(420, 60.0), SPACE, 1.0)
RESTS = """X:1
L:1/4
M:{meter}
K:G
{bar} | Z{count} | {bar} |]
"""


def paper():
    """Return an empty page with the lines of one staff, around row 60."""
    gray = np.full((120, 420), 255, np.uint8)
    gray[[round(STAFF.row(0, at)) for at in (-4, -2, 0, 2, 4)]] = 0
    return gray


def put_number(gray, x, y, number, font=0):
    """Draw a number of a font of verovio's, with its first digit at a column and its top at a row."""
    for digit in str(number):
        shape = _drawn(FONTS[font])[int(digit)]
        wide = round(shape.shape[1] * 13 / shape.shape[0]) + 2
        shape = np.asarray(Image.fromarray(np.pad(shape, ((0, 0), (1, 1)))).resize((wide, 13), Image.Resampling.BILINEAR))
        part = gray[y : y + shape.shape[0], x : x + shape.shape[1]]
        np.minimum(part, 255 - shape.astype(np.uint8), out=part)
        x += shape.shape[1]


def symbol(kind, x, y, half=3):
    return Symbol(kind, 0, x - half, x + half, y - half, y + half, x, y, 30)


def read_exactly(tmp_path, text):
    (tmp_path / "tune.abc").write_text(text)
    page = next(free_pages(load_mei(tmp_path / "tune.abc"), FreeStyle(width=90.0)))
    found = read_geometry(draw_page(page.drawing, round(page.width * 12)))
    seen = draw_symbols(page.drawing, found.gray.shape[1])[: len(found.gray)]
    return joined(read_systems(seen, found))


@pytest.mark.parametrize(("meter", "bar", "count", "unit"), [("3/4", "GAB", 12, 4), ("6/8", "G3", 7, 8), ("4/4", "GABc", 24, 4)])
def test_one_sign_of_rest_lasts_as_many_measures_as_its_number_says(tmp_path, meter, bar, count, unit):
    reading = read_exactly(tmp_path, RESTS.format(meter=meter, bar=bar, count=count))
    length = Fraction(4) if meter == "4/4" else Fraction(3)
    assert reading.measures == (length,) * (count + 2) and reading.confidence == 1
    assert {note.onset // length for note in reading.notes} == {0, count + 1}
    song = to_song(reading)
    assert (song.meters[0].length, song.meters[0].unit) == (length, unit) and len(song.meters) == 1
    assert song.meters[0].beat == (Fraction(3, 2) if meter == "6/8" else 1)


def test_blocks_of_rest_count_with_or_without_a_number():
    edges = [200.0, 399.0]
    for x, number, expected in ((60, 9, 9), (260, 0, 6), (260, 6, 6), (260, 31, 6)):
        gray = paper()
        gray[48:61, x : x + 4] = 0  # a long, of four measures
        if number != 9:
            gray[54:61, x + 8 : x + 12] = 0  # a breve, of two
        else:
            gray[48:61, x + 8 : x + 12] = 0
        if number:
            put_number(gray, x, 26, number)
        seen = [symbol("clef G", 12, 60, 9)]
        assert [rest.measures for rest in find_long_rests(gray, seen, (STAFF,), edges)] == [expected]
        heads = [symbol("head", x + 22, 60)]  # in a header, what looks like a head may be part of a clef
        assert bool(find_long_rests(gray, heads, (STAFF,), edges)) == (x < 100)


def test_a_blurred_whole_rest_is_no_rest_of_two_measures():
    gray = paper()
    gray[54:60, 260:265] = 0  # as high as a breve, where a map shows a rest of half a space
    rest = Symbol("long rest", 0, 259, 265, 54, 57, 262, 56, 24)
    assert find_long_rests(gray, [rest], (STAFF,), [200.0, 399.0]) == []
    beside = Symbol("long rest", 0, 279, 285, 54, 57, 282, 56, 24)  # a breve and a whole rest are three measures
    assert [each.measures for each in find_long_rests(gray, [beside], (STAFF,), [200.0, 399.0])] == [3]


@pytest.mark.parametrize("font", range(5))
def test_numbers_of_every_font_are_read(font):
    gray = np.full((40, 300), 255, np.uint8)
    for k, number in enumerate((2, 3, 15, 68, 79)):
        put_number(gray, 10 + 45 * k, 12, number, font)
    assert [number for _, number in numbers_in(gray)] == [2, 3, 15, 68, 79]


def test_strokes_as_high_as_the_staff_are_bar_lines_and_stems_are_none():
    gray = paper()
    gray[48:73, 150] = gray[48:73, [230, 234]] = gray[40:73, 300] = gray[48:73, 350] = 0
    assert find_strokes(gray, STAFF, [344.0]) == [150, 230, 234]


def test_a_head_far_from_the_staff_needs_ledger_lines():
    gray = paper()
    y = round(STAFF.row(0, 8))
    gray[y - 2 : y + 3, 100:107] = gray[y - 2 : y + 3, 200:207] = 0
    gray[[y, y + SPACE], 197:210] = 0
    heads = [symbol("head", x, y) for x in (103, 203)]
    assert [on_ledgers(head, gray, STAFF) for head in heads] == [False, True]
    faint = replace(STAFF, contrast=0.1)  # where the lines of a staff are lost, those of near heads are too
    assert on_ledgers(heads[0], gray, faint) and not on_ledgers(symbol("head", 103, STAFF.row(0, 18)), gray, faint)
    assert on_ledgers(symbol("head", 103, 60), gray, STAFF) and on_ledgers(symbol("flat", 103, y), gray, STAFF)


def test_a_breath_mark_above_the_staff_is_no_rest():
    breath, rest = symbol("eighth rest", 100, STAFF.row(0, 7), 5), symbol("eighth rest", 200, STAFF.row(0, 4), 5)
    assert [event.x for event in find_events([breath, rest], np.zeros((120, 420), np.uint8), [STAFF])] == [200]


def test_a_clef_that_is_partly_seen_as_other_signs_is_one_clef():
    seen = np.zeros((120, 420), np.uint8)
    seen[36:84, 8:20] = CLASS["flat"]
    seen[50:70, 10:18] = CLASS["clef G"]
    seen[48:66, 60:66] = CLASS["flat"]
    found = find_symbols(seen, [STAFF])
    assert [(s.kind, s.left, s.top, s.bottom) for s in found if s.kind.startswith("clef")] == [("clef G", 8, 36, 83)]
    assert [round(s.x) for s in found if s.kind == "flat"] == [62]


def test_what_looks_like_blocks_in_meters_and_clefs_is_no_rest():
    gray = paper()
    gray[54:61, 100:104] = 0
    assert [rest.measures for rest in find_long_rests(gray, [], (STAFF,), [200.0, 399.0])] == [2]
    assert not find_long_rests(gray, [], (STAFF,), [200.0, 399.0], [(92.0, 108.0)])
    for kind in ("clef C", "digit"):
        assert not find_long_rests(gray, [symbol(kind, 102, 60)], (STAFF,), [200.0, 399.0])


def test_only_digits_above_and_below_the_middle_line_may_be_a_meter():
    def digit(x, top, bottom):
        return Symbol("digit", 0, x - 4, x + 4, top, bottom, x, (top + bottom) / 2, 60)

    assert shows_meter([digit(60, 49, 59), digit(61, 61, 71)], (STAFF,))
    assert shows_meter([digit(60, 53, 67)], (STAFF,))  # a C
    assert not shows_meter([digit(60, 49, 58)], (STAFF,))
    assert not shows_meter([digit(60, 49, 59), digit(90, 61, 71)], (STAFF,))
    assert not shows_meter([digit(60, 18, 30), digit(60, 61, 71)], (STAFF,))  # the number of a measure


def test_no_tuplet_crosses_a_bar_line():
    def event(x, duration):
        return Event(0, x, Fraction(duration), ())

    events = [event(90, "1"), event(110, "1/2"), event(130, "1/2")]
    number = Symbol("digit", 0, 97, 103, 20, 30, 100, 25, 40)
    bar = Symbol("bar line", 0, 104, 105, 48, 72, 104.5, 60, 50)
    assert [e.duration for e in with_tuplets(list(events), [number], (STAFF,))] == [
        Fraction(2, 3),
        Fraction(1, 3),
        Fraction(1, 2),
    ]
    assert [e.duration for e in with_tuplets(list(events), [number, bar], (STAFF,))] == [1, Fraction(1, 2), Fraction(1, 2)]


def test_a_high_number_on_an_outer_line_counts_a_tuplet():
    head = Symbol("head", 0, 100, 107, 57, 63, 103, 60, 30)
    events = [Event(0, x, Fraction(1, 2), (head,), True, 50.0, 1, beamed=True, group=1) for x in (100, 116, 132)]
    on_top, in_meter = (Symbol("digit", 0, 112, 121, y - 9, y + 9, 117, y, 90) for y in (48, 54))
    assert [e.duration for e in with_tuplets(list(events), [on_top], (STAFF,))] == [Fraction(1, 3)] * 3
    assert [e.duration for e in with_tuplets(list(events), [in_meter], (STAFF,))] == [Fraction(1, 2)] * 3


def test_half_of_the_treble_clefs_may_seem_to_have_an_8():
    staves = [Staff(0, 400, np.full(420, 60.0 + 120 * k), SPACE, 1.0) for k in range(4)]
    clefs = [Symbol("clef G", k, 4, 16, 40 + 120 * k, 120 * k + (84 if k < 2 else 96), 10, 60 + 120 * k, 200) for k in range(4)]
    found = clefs_of(clefs, [(staff,) for staff in staves])[0]
    assert [each[0][1] for each in found] == ["G2"] * 4
    alone = [clefs_of([clef], [(staves[k],) for k in range(4)])[0][k][0][1] for k, clef in enumerate(clefs)]
    assert alone == ["G2", "G2", "G2_8", "G2_8"]


def test_systems_share_the_key_that_most_show_unless_a_change_is_printed():
    nothing = [set() for _ in range(5)]
    assert agreed_keys([3, 3, 2, 3, 0], nothing) == [3] * 5
    assert agreed_keys([3, 3, -1, -1, 0], [set(), {-1}, set(), set(), set()]) == [3, 3, -1, -1, -1]
    assert agreed_keys([0, 2], nothing) == [2, 2] and agreed_keys([], []) == []


def test_systems_share_the_clef_that_most_show_unless_another_is_printed():
    staves = [Staff(0, 400, np.full(420, 60.0 + 120 * k), SPACE, 1.0) for k in range(4)]
    clefs = [
        Symbol("clef G" if k != 2 else "clef F", k, 4, 16, 40 + 120 * k, 80 + 120 * k, 10, 60 + 120 * k, 200) for k in range(4)
    ]
    systems = [(staff,) for staff in staves]
    assert [found[0][1] for found in clefs_of(clefs, systems)[0]] == ["G2"] * 4
    change = Symbol("clef F", 1, 300, 312, 160, 200, 306, 180, 200)
    assert [found[0][1] for found in clefs_of([*clefs, change], systems)[0]] == ["G2", "G2", "F4", "G2"]


def test_letters_above_a_staff_are_no_clefs_but_the_8_of_one_is():
    staff = Staff(0, 400, np.full(420, 160.0), SPACE, 1.0)
    clef = Symbol("clef G", 0, 4, 20, 138, 181, 12, 162, 300)
    letter = Symbol("clef F", 0, 300, 308, 100, 115, 304, 108, 60)
    assert clefs_of([clef, letter], [(staff,)])[0] == [[(12, "G2")]]
    eight = Symbol("clef G", 0, 9, 15, 183, 192, 12, 188, 40)
    assert clefs_of([clef, eight, letter], [(staff,)])[0] == [[(12, "G2_8")]]


def test_a_rest_and_an_upbeat_that_a_double_bar_line_parts_are_one_measure():
    def measure(printed, double=False):
        notes = (Note(Fraction(0), 0, 34, 0, Fraction(printed)),) if printed else ()
        return Measure(Fraction(printed), 0, notes, (), ends_double=double)

    bars = [measure(4), measure(4), measure(0, double=True), measure(1), measure(4), measure(0), measure(1), measure(4)]
    found = joined([ReadSystem(("G2",), tuple(bars))])
    assert found.measures == (4, 4, 3, 1, 4, 4, 4, 4)  # the second measure of one quarter was misread
    assert rest_beside(3, [m.printed for m in bars], [m.ends_double for m in bars]) == 2
    assert rest_beside(6, [m.printed for m in bars], [m.ends_double for m in bars]) is None


def test_measures_last_as_the_meter_says_where_a_good_part_of_them_do():
    three, four = Fraction(3), Fraction(4)
    assert usual_lengths([four] * 3 + [three] * 2, three) == [three]
    assert usual_lengths([four] * 5 + [three], three) == [four, three]


def test_a_single_short_measure_does_not_outvote_its_meter():
    assert usual_lengths([Fraction(1)], Fraction(3)) == [3]
    assert usual_lengths([Fraction(1)] * 2, Fraction(3)) == [1]


def test_a_rest_after_a_pickup_is_as_long_as_others():
    assert rest_beside(0, [Fraction(1), Fraction(0)], [True, False]) is None
    assert rest_beside(1, [Fraction(4), Fraction(1), Fraction(0)], [False, True, False]) == 2


def test_a_bow_of_a_number_that_looks_like_a_head_is_none():
    gray = paper()
    gray[54:61, 260:264] = 0  # a breve, of two measures
    put_number(gray, 275, 26, 3)
    rest = symbol("long rest", 290, 58)
    for y, expected in ((30, 3), (60, 1)):  # above the staff within the number, and within the staff
        seen = [rest, symbol("hollow head", 280, y)]
        found = find_long_rests(gray, seen, [STAFF], [200.0, 399.0])
        assert [each.measures for each in found] == ([expected] if expected > 1 else [])


def test_the_number_of_a_verse_below_a_treble_clef_is_no_8():
    clef = Symbol("clef G", 0, 6, 21, 38, 81, 13, 62, 316)
    for below, expected in (
        (Symbol("clef G", 0, 10, 16, 82, 91, 13, 87, 40), "G2_8"),
        (Symbol("clef G", 0, 12, 15, 84, 94, 13, 89, 24), "G2"),  # a 1
        (Symbol("clef G", 0, 10, 16, 90, 99, 13, 95, 40), "G2"),  # far below
    ):
        clefs, guessed = clefs_of([clef, below], [(STAFF,)])
        assert [name for _, name in clefs[0]] == [expected] and not guessed


def test_strokes_of_a_double_bar_line_may_touch():
    single = Symbol("bar line", 0, 100, 101, 48, 72, 100, 60, 50)
    touching = Symbol("bar line", 0, 200, 204, 48, 72, 202, 60, 100)
    assert double_bars([single, touching], [STAFF]) == [202]


def test_a_treble_clef_with_an_8_above_sounds_an_octave_higher():
    for top, expected in ((39, "G2"), (34, "G2^8")):  # 4.5 and 5.3 staff spaces above the line of G
        clefs, guessed = clefs_of([Symbol("clef G", 0, 6, 21, top, 82, 13, 62, 316)], [(STAFF,)])
        assert [name for _, name in clefs[0]] == [expected] and not guessed
    clef = Symbol("clef G", 0, 6, 21, 39, 82, 13, 62, 316)
    for number, expected in (
        (Symbol("clef G", 0, 11, 16, 33, 38, 13, 35, 25), "G2^8"),
        (Symbol("clef G", 0, 12, 14, 33, 38, 13, 35, 12), "G2"),  # a 1
        (Symbol("clef G", 0, 2, 8, 33, 38, 5, 35, 25), "G2"),  # the number of a measure, which stands where the staff begins
    ):
        for parts in ([clef, number], [number, clef]):
            assert [name for _, name in clefs_of(parts, [(STAFF,)])[0][0]] == [expected]
    assert PRINTED_CLEFS["G2^8"] == step_of("b", 5)  # the middle line is B4 without the 8
    assert key_position("f", 0, "G2^8") == 0  # B flat is on the middle line all the same


@pytest.mark.parametrize(("fifths", "naturals", "expected"), [(4, 5, 0), (4, 4, 0), (-3, 4, 0), (2, 2, 0), (5, 2, 5), (0, 3, 0)])
def test_naturals_alone_at_the_end_of_a_system_end_its_key_though_two_that_touch_count_as_three(fifths, naturals, expected):
    staff = Staff(0, 200, np.full(220, 60.0), SPACE, 1.0)

    def natural(x):
        y = staff.row(x, 1)
        return Symbol("natural", 0, x - 2, x + 2, y - 8, y + 8, x, y, 30)

    signs = [natural(170 + 5 * k) for k in range(naturals)]
    ((found, used),) = keys_of(signs, [], [[(10.0, "G2")]], [staff], 165.0, 206.0, fifths)
    assert (found, used) == (expected, signs if expected != fifths else [])


@pytest.mark.parametrize(("head", "begins"), [(120, "F4"), (60, "C4")])
def test_a_clef_before_all_notes_begins_its_staff_though_the_name_of_its_part_seems_to(head, begins):
    staff = Staff(10, 300, np.full(320, 60.0), SPACE, 1.0)

    def sign(kind, x, position, half=4, high=6):
        y = staff.row(x, position)
        return Symbol(kind, 0, x - half, x + half, y - high, y + high, x, y, 60)

    here = [sign("clef F", 90, 1, 7, 9), sign("head", head, 0), sign("clef C", 200, 2, 7, 12), sign("head", 230, 0)]
    other = [replace(s, staff=1) for s in (sign("clef C", 25, 2, 7, 12), sign("head", 60, 0))]
    clefs, guessed = clefs_of([*here, *other], [[staff], [staff]])
    assert clefs[0][0][1] == begins and clefs[1][0][1] == "C4" and not guessed

"""32nd notes, octave signs and repeats of pages, by symbol maps that were worked out by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.free_reading import joined
from diptych.music.mei import load_mei
from diptych.music.page_accidentals import single_accidentals
from diptych.music.page_events import find_events
from diptych.music.page_finding import find_symbols
from diptych.music.page_geometry import SPACE, Staff, read_geometry
from diptych.music.page_meters import find_meters
from diptych.music.page_octaves import find_octaves, octaves_at
from diptych.music.page_reading import read_systems
from diptych.music.page_repeats import without_repeats
from diptych.music.page_symbols import Symbol, symbol_of
from diptych.music.print_styles import FONTS
from diptych.music.symbols import CLASS, draw_page, draw_symbols

STAFF = Staff(0, 200, np.full(220, 60.0), SPACE, 1.0)


def blank():
    return np.zeros((120, 220), np.uint8)


def put_note(seen, x, position, stem=26):
    """Draw a head with a stem upwards on a staff position; return the column and the upper end of the stem."""
    y = STAFF.row(x, position)
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    seen[((columns - x) / 3.8) ** 2 + ((rows - y) / 3.2) ** 2 <= 1] = CLASS["head"]
    top = round(y) - stem
    seen[top : round(y) - 2, x + 4] = CLASS["stem"]
    return x + 4, top


def durations(seen):
    return [event.duration for event in find_events(find_symbols(seen, [STAFF]), seen, [STAFF])]


def test_flags_count_by_what_most_of_them_show():
    for kinds, expected in (
        (("three flags",), Fraction(1, 8)),
        (("three flags", "two flags"), Fraction(1, 8)),
        (("two flags", "flag"), Fraction(1, 4)),
        (("flag",), Fraction(1, 2)),
    ):
        seen = blank()
        x, top = put_note(seen, 60, -2)
        for k, kind in enumerate(kinds):
            seen[top + 6 * k : top + 6 * k + 6, x + 1 : x + 6] = CLASS[kind]
        assert durations(seen) == [expected]


@pytest.mark.parametrize("gap", [1, 2])
def test_three_beams_make_32nds_whether_they_touch_or_not(gap):
    seen = blank()
    for x in (60, 80, 100):
        put_note(seen, x, -4, 32)
    for k in range(3):
        row = 40 + k * (3 + gap)
        seen[row : row + 3, 64:105] = CLASS["beam"]
    assert durations(seen) == [Fraction(1, 8)] * 3
    seen[43:46] = np.where(seen[43:46] == CLASS["beam"], 0, seen[43:46])
    seen[40:54, 64:105] = CLASS["beam"]  # a map of low resolution joins them
    assert durations(seen) == [Fraction(1, 8)] * 3


def test_a_32nd_rest_may_be_seen_partly_as_a_shorter_sign():
    seen = blank()
    seen[50:72, 60:67] = CLASS["32nd rest"]
    seen[50:55, 60:67] = CLASS["16th rest"]
    assert durations(seen) == [Fraction(1, 8)]


def score_of(bars):
    """A score in MEI of one staff in treble clef and 4/4."""
    staff = '<staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>'
    score = f'<scoreDef meter.count="4" meter.unit="4">{staff}</scoreDef><section>{bars}</section>'
    mei = '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
    return f'<?xml version="1.0"?>{mei}<music><body><mdiv><score>{score}</score></mdiv></body></music></mei>'


def octave_page(marks):
    """A score of eight measures of quarters, with octave signs: start and end by measure and note, number and place."""
    bars = ""
    for m in range(8):
        notes = "".join(f'<note xml:id="m{m}n{k}" pname="{name}" oct="5" dur="4"/>' for k, name in enumerate("cdef"))
        own = [mark for mark in marks if mark[0].startswith(f"m{m}")]
        signs = "".join(f'<octave startid="#{a}" endid="#{b}" staff="1" dis="{n}" dis.place="{at}"/>' for a, b, n, at in own)
        bars += f'<measure n="{m}"><staff n="1"><layer n="1">{notes}</layer></staff>{signs}</measure>'
    return score_of(bars)


def repeat_page():
    """A score of three measures of two halves, of which the second is repeated."""
    notes = '<note pname="b" oct="4" dur="2"/><note pname="a" oct="4" dur="2"/>'
    edges = ("", 'left="rptstart" right="rptend"', "")
    return score_of("".join(f'<measure {e}><staff n="1"><layer n="1">{notes}</layer></staff></measure>' for e in edges))


def read_exactly(tmp_path, text, name, font=FONTS[0], width=70.0, octaves="octave sign"):
    (tmp_path / name).write_text(text)
    page = next(free_pages(load_mei(tmp_path / name), FreeStyle(width=width, font=font)))
    found = read_geometry(draw_page(page.drawing, round(page.width * 12)))
    seen = draw_symbols(page.drawing, found.gray.shape[1])
    seen = np.pad(seen, ((0, max(0, len(found.gray) - len(seen))), (0, 0)))[: len(found.gray)]
    seen[seen == CLASS["octave sign"]] = CLASS[octaves] if octaves else 0
    return page, found, joined(read_systems(seen, found))


@pytest.mark.parametrize("seen_as", ["octave sign", None, "hollow head"])
@pytest.mark.parametrize("font", FONTS)
def test_octave_signs_move_the_notes_below_their_lines_on_every_system_seen_by_the_map_or_not(tmp_path, font, seen_as):
    marks = [("m0n1", "m0n2", 8, "above"), ("m1n1", "m1n3", 8, "below"), ("m2n0", "m2n1", 15, "above")]
    marks.append(("m2n2", "m6n1", 8, "above"))
    text = octave_page([*marks, ("m7n0", "m7n1", 15, "below")])
    page, found, reading = read_exactly(tmp_path, text, "octaves.mei", font, octaves=seen_as)
    assert len(found.systems) > 1
    moved = dict.fromkeys(range(32), 0) | {1: 1, 2: 1, 5: -1, 6: -1, 7: -1, 8: 2, 9: 2, 28: -2, 29: -2}
    moved |= dict.fromkeys(range(10, 26), 1)
    printed = (35, 36, 37, 38)  # c5 to f5
    assert [note.onset for note in reading.notes] == list(range(32)) == [note.onset for note in page.notes]
    assert [note.step - printed[k % 4] for k, note in enumerate(reading.notes)] == [7 * moved[k] for k in range(32)]


@pytest.mark.parametrize(
    ("font", "meter"), [("Petaluma", (12, 8)), ("Petaluma", (3, 4)), ("Petaluma", (2, 2)), ("Bravura", (5, 4))]
)
def test_meters_whose_digits_overlap_are_read_behind_the_clef_and_behind_a_bar_line(tmp_path, font, meter):
    beats, unit = meter
    text = (
        f"X:1\nL:1/{unit}\nM:2/4\nK:C\n{'c' * (unit // 2)} | [M:{beats}/{unit}] {'c' * beats} | [M:2/4] {'c' * (unit // 2)} |]\n"
    )
    page, _, reading = read_exactly(tmp_path, text, "meters.abc", font)
    assert reading.measures == page.measures
    assert reading.meters == ((2, 4), meter, (2, 4))


@pytest.mark.parametrize("cut", ["above", "below"])
def test_a_meter_is_read_where_the_page_ends_at_its_staff(tmp_path, cut):
    text = f"X:1\nL:1/4\nM:3/4\nK:C\n{'BBB|' * 3}\n"
    _, page, _ = read_exactly(tmp_path, text, "edge.abc")
    (staff,) = page.systems[0]
    top, bottom = (round(staff.row(staff.left, at)) for at in (4, -4))
    rows = slice(top, None) if cut == "above" else slice(bottom + 1)
    moved = replace(staff, middle=staff.middle - (top if cut == "above" else 0))
    (found,) = find_meters(page.gray[rows], moved, [])
    assert (found.beats, found.unit) == (3, 4)


def test_a_natural_with_long_stems_is_one_natural(tmp_path):
    text = "X:1\nL:1/4\nM:4/4\nK:E\nf g =f =d | =g c =c f |]\n"
    page, _, reading = read_exactly(tmp_path, text, "naturals.abc", "Petaluma")
    assert [note.midi for note in reading.notes] == [note.midi for note in page.notes]


def test_two_naturals_that_touch_are_two():
    single = np.zeros((17, 4), bool)
    single[:13, 0] = single[4:, 3] = single[4:6] = single[11:13] = True
    staff = Staff(0, 200, np.full(200, 60.0), 6.0, 1.0)
    for stacked, heights in ((single, [58]), (np.pad(single, ((0, 6), (0, 0))) | np.pad(single, ((6, 0), (0, 0))), [58, 64])):
        found = symbol_of("natural", stacked, 50, 50, [staff])
        assert np.allclose(sorted(s.y for s in single_accidentals([(found, stacked)], [staff])), heights, atol=1)
    long = np.zeros((22, 5), bool)
    long[:15, 0] = long[7:, 4] = long[7:9] = long[13:15] = True
    found = symbol_of("natural", long, 50, 50, [staff])
    assert [s.y for s in single_accidentals([(found, long)], [staff])] == [60.5]


def test_an_octave_sign_belongs_to_the_staff_whose_heads_are_nearest():
    other = Staff(0, 200, np.full(220, 150.0), SPACE, 1.0)

    def symbol(kind, staff, x, y, half, high):
        return Symbol(kind, staff, x - half, x + half, y - high, y + high, x, y, 30)

    dashes = [symbol("octave sign", 0, x, 101, 3, 0.5) for x in range(68, 120, 10)]
    sign = [symbol("octave sign", 0, 60, 104, 3, 4), *dashes]
    heads = [symbol("head", 0, 70, 66, 4, 3), symbol("head", 1, 72, 126, 4, 3)]
    (found,) = find_octaves([*sign, *heads], np.full((220, 220), 255, np.uint8), [STAFF, other])
    assert (found.staff, found.octaves > 0) == (1, True)
    assert octaves_at([found], 1, 72) > 0 and octaves_at([found], 0, 72) == octaves_at([found], 1, 130) == 0


def test_the_dots_of_repeats_lengthen_no_note(tmp_path):
    def dot(x, position):
        y = STAFF.row(x, position)
        return Symbol("dot", 0, x - 1, x + 1, y - 1, y + 1, x, y, 9)

    def bar(x, half):
        return Symbol("bar line", 0, x - half, x + half, 48, 72, x, 60, 50)

    repeat, chord, single = [dot(100, 1), dot(100, -1)], [dot(150, 1), dot(150, -1)], [dot(30, 1)]
    bars = [bar(106, 0.5), bar(110, 1.5), bar(158, 0.5)]
    assert without_repeats([*repeat, *chord, *single, *bars], [STAFF]) == [*chord, *single, *bars]
    _, _, reading = read_exactly(tmp_path, repeat_page(), "repeats.mei")
    assert [(note.onset, note.duration) for note in reading.notes] == [(2 * k, 2) for k in range(6)]

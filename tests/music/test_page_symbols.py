"""Single faults of reading pages: each symbol map or tune shows one cause of a misread note."""

from fractions import Fraction

import numpy as np

from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.free_reading import joined
from diptych.music.mei import load_mei
from diptych.music.page_accidentals import single_accidentals
from diptych.music.page_events import find_events
from diptych.music.page_finding import find_symbols, without_lines
from diptych.music.page_geometry import SPACE, Staff, faint_staves, find_staves, read_geometry
from diptych.music.page_reading import read_systems
from diptych.music.page_symbols import symbol_of
from diptych.music.symbols import CLASS, draw_page, draw_symbols

STAFF = Staff(0, 200, np.full(220, 60.0), SPACE, 1.0)
TUPLETS = """X:1
L:1/8
M:4/4
K:F
(3:2:2A2F c2 (3:2:2A2F c2 | (3fcA (3cAB c4 | (12:8:12A/B/c/d/e/f/g/f/e/d/c/B/ A4 |]
"""


def blank():
    return np.zeros((120, 220), np.uint8)


def put_head(seen, x, position, kind="head"):
    """Draw a head of the usual size on a staff position."""
    y = STAFF.row(x, position)
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    seen[((columns - x) / 3.8) ** 2 + ((rows - y) / 3.2) ** 2 <= 1] = CLASS[kind]


def tied_chords(*chords):
    """Return a score of one measure in MEI: half notes as chords, whose notes are all tied to those of the next."""
    half, ties = [], []
    for number, chord in enumerate(chords):
        notes = "".join(f'<note xml:id="n{number}{name}" pname="{name[0]}" oct="{name[1]}"/>' for name in chord.split())
        half.append(f'<chord dur="2">{notes}</chord>')
        ties += [f'<tie startid="#n{number}{n}" endid="#n{number + 1}{n}"/>' for n in chord.split() if number + 1 < len(chords)]
    staff = f'<staff n="1"><layer n="1">{"".join(half)}</layer></staff>{"".join(ties)}'
    head = '<staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>'
    meter = f'<scoreDef meter.count="{len(chords)}" meter.unit="2">{head}</scoreDef>'
    score = f'{meter}<section><measure n="1">{staff}</measure></section>'
    mei = '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
    mei += f"<music><body><mdiv><score>{score}</score></mdiv></body>"
    return f'<?xml version="1.0"?>{mei}</music></mei>'


def read_exactly(tmp_path, text, name="tune.abc"):
    (tmp_path / name).write_text(text)
    page = next(free_pages(load_mei(tmp_path / name), FreeStyle(width=90.0)))
    found = read_geometry(draw_page(page.drawing, round(page.width * 12)))
    seen = draw_symbols(page.drawing, found.gray.shape[1])[: len(found.gray)]
    return page, joined(read_systems(seen, found))


def places(notes):
    return sorted((n.onset, n.duration, n.midi) for n in notes)


def test_each_tie_of_a_chord_joins_its_own_heads(tmp_path):
    for chord in ("e4 g4 b4 e5", "c4 e4 g4 a4 c5"):  # thirds, whose ties lie between two heads, and a second
        page, reading = read_exactly(tmp_path, tied_chords(chord, chord), "tied.mei")
        assert len(page.notes) == len(chord.split()) and places(reading.notes) == places(page.notes)


def test_tuplets_of_unequal_values_rests_and_two_digits_fill_their_measures(tmp_path):
    page, reading = read_exactly(tmp_path, TUPLETS)
    assert reading.measures == (4, 4, 4) and places(reading.notes) == places(page.notes)
    assert sum(note.duration == Fraction(1, 6) for note in reading.notes) == 12


def test_two_heads_side_by_side_are_two():
    seen = blank()
    put_head(seen, 60, 1)
    put_head(seen, 67, 1)
    seen[54:60, 60:67] = CLASS["head"]  # what is between them is as black
    xs = [s.x for s in find_symbols(seen, [STAFF])]
    assert len(xs) == 2 and abs(xs[0] - 60) <= 1.5 and abs(xs[1] - 67) <= 1.5


def test_a_hollow_head_under_a_beam_lasts_as_long_as_its_beam_says():
    seen = blank()
    for x, kind in ((60, "hollow head"), (90, "head"), (130, "hollow head")):
        put_head(seen, x, 0, kind)
        seen[34:60, x + 4] = CLASS["stem"]
    seen[34:37, 64:95] = CLASS["beam"]
    events = find_events(find_symbols(seen, [STAFF]), seen, [STAFF])
    assert [event.duration for event in events] == [Fraction(1, 2), Fraction(1, 2), 2]


def test_a_thick_staff_line_that_looks_like_a_beam_is_none():
    def quarters(rows):
        seen = blank()
        for x in (60, 100):
            put_head(seen, x, 1)
            seen[58:73, x - 4 : x - 2] = CLASS["stem"]  # to the lowest line, at row 72
        seen[rows, 56:104] = CLASS["beam"]
        seen = without_lines(seen, [STAFF])
        return [str(event.duration) for event in find_events(find_symbols(seen, [STAFF]), seen, [STAFF])]

    assert STAFF.row(60, -4) == 72
    assert quarters(slice(72, 74)) == ["1", "1"]
    assert quarters(slice(71, 74)) == ["1/2", "1/2"]  # a beam there
    assert quarters(slice(75, 77)) == ["1/2", "1/2"]  # a thin one between the lines


def test_two_sharps_that_touch_on_a_page_without_a_single_one_stand_on_their_steps():
    part = np.ones((26, 6), bool)
    symbol = symbol_of("sharp", part, 50, 40, [STAFF])
    heights = sorted(s.y for s in single_accidentals([(symbol, part)], [STAFF]))
    assert np.allclose(heights, [48, 57], atol=1)


def page_of_lines(space, gray, count=2):
    page = np.full((110 * count, 700), 255, np.uint8)
    for staff in range(count):
        for line in range(5):
            page[30 + 110 * staff + line * space, 40:660] = gray
    return page


def test_pale_lines_between_beams_of_another_distance_give_the_staff_space():
    page = page_of_lines(12, 185)
    for x in range(60, 640, 40):
        page[30 + 3 : 80 : 10, x : x + 12] = 0
    found = read_geometry(page)
    assert abs(found.gray.shape[1] / page.shape[1] - SPACE / 12) < 0.01
    assert [round(staff.middle_at(100) / SPACE * 12) // 110 for (staff,) in found.systems] == [0, 1]


def test_ledger_lines_beside_a_staff_are_no_staff():
    page = page_of_lines(SPACE, 0)
    for row in range(5):
        page[30 + (6 + row) * SPACE, 300:380] = 185
    assert [round(staff.middle_at(100)) for staff in find_staves(page)] == [42, 152]


def test_a_staff_without_lines_is_found_by_its_bar_lines():
    page = page_of_lines(SPACE, 0)
    page[30 + 110 : 30 + 110 + 4 * SPACE + 1, 40:660] = 255  # the lines of the second staff are lost
    page[140:165, 52:60] = page[140:165, [200, 420, 659]] = 0  # its clef and its bar lines
    page[140:158, 300] = page[155:161, 294:300] = 0  # a note, whose stem is shorter
    (first,), (second,) = read_geometry(page).systems
    assert [round(staff.middle_at(100)) for staff in (first, second)] == [42, 152]
    assert (second.left, second.right) == (46, 659)


def test_thousands_of_strokes_as_high_as_a_staff_do_not_keep_it_busy():
    page, random = np.full((2000, 1500), 255, np.uint8), np.random.default_rng(0)
    for row in range(20, 1950, 31):
        for x in range(20, 1480, 14):
            top = row + random.integers(0, 4)
            page[top : top + 25, x] = 0
    far = Staff(0, 1499, np.full(1500, 5000.0), float(SPACE), 1.0)
    middles = sorted(staff.middle_at(20) for staff in faint_staves(page, [far]))
    assert len(middles) > 20 and min(np.diff(middles)) >= 7 * SPACE


def test_a_staff_with_pale_lines_begins_at_its_clef():
    page = page_of_lines(SPACE, 190)
    for first in (30, 140):
        page[first : first + 25, 44:110] = 255  # the lines are lost below the clef and the key
        for x in range(44, 110, 8):
            page[first : first + 25, x : x + 5] = 0
    assert all(staff.left <= 44 for (staff,) in read_geometry(page).systems)


def test_the_part_of_a_beam_that_ends_beside_a_stem_counts_for_no_note_of_it():
    seen = blank()
    for x in (60, 71, 82):
        put_head(seen, x, -2)
        seen[36:64, x + 4] = CLASS["stem"]
    seen[34:38, 64:87] = CLASS["beam"]
    seen[38:42, [*range(64, 73), *range(78, 87)]] = CLASS["beam"]  # touches the first one, up to 3 pixels from the second stem
    events = find_events(find_symbols(seen, [STAFF]), seen, [STAFF])
    assert [event.duration for event in events] == [Fraction(1, 4), Fraction(1, 2), Fraction(1, 4)]


def test_a_staff_without_lines_is_found_by_pale_bar_lines():
    page = np.full((220, 700), 255, np.uint8)
    page[140:165, [200, 420, 659]] = 190
    far = Staff(0, 699, np.full(700, 42.0), float(SPACE), 1.0)
    assert [round(staff.middle_at(100)) for staff in faint_staves(page, [far])] == [152]


def test_a_staff_without_lines_begins_right_of_the_table_below_the_paper():
    page = np.full((220, 700), 255, np.uint8)
    page[140:165, [200, 420, 659]] = page[140:165, 120:123] = 0  # its bar lines, and a part of its clef half a staff space wide
    page[:, :60], page[150:, 60] = 0, 0  # the table, whose edge leans
    far = Staff(0, 699, np.full(700, 42.0), float(SPACE), 1.0)
    assert [staff.left for staff in faint_staves(page, [far])] == [120 - SPACE]


def test_beams_do_not_bend_a_staff_with_pale_lines():
    page = page_of_lines(SPACE, 225, 1)
    for row in (34, 40):  # two beams in the spaces of the staff, at the distance of its lines
        page[row - 2 : row + 2, 250:365] = 0
    (staff,) = find_staves(page)
    assert np.ptp([staff.middle_at(x) for x in range(60, 640, 20)]) <= 0.5


def test_flats_of_a_key_that_touch_the_next_one_stand_on_their_steps():
    flat = np.zeros((17, 7), bool)
    flat[:, :2] = flat[9:15, 2:5] = flat[10:13, 5:7] = flat[15, 2] = True
    part = np.zeros((40, 22), bool)
    part[10, 0] = True  # a spot that is seen as part of the first one
    for column, top in ((1, 9), (8, 0), (15, 12)):
        part[top : top + 17, column : column + 7] |= flat
    part[17:19, 7] = part[17, 8] = True  # the first one touches the stem of the second one
    symbol = symbol_of("flat", part, 50, 30, [STAFF])
    found = [s.y - 30 for s in single_accidentals([(symbol, part)], [STAFF])]
    assert np.allclose(found, [9 + 12.3, 12.3, 12 + 12.3], atol=1.1)


def test_a_head_that_is_seen_as_filled_and_hollow_is_one():
    seen = blank()
    put_head(seen, 60, 1)
    seen[58:61, 57:64] = np.where(seen[58:61, 57:64] > 0, CLASS["hollow head"], 0)
    assert [s.kind for s in find_symbols(seen, [STAFF])] == ["head"]

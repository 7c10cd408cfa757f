"""A system of music is drawn as a roll and read back: the same notes, in every clef and key, at both widths and both scales."""

import re
from fractions import Fraction

import numpy as np
import pytest

from diptych.music.beams import COMPOUND, EIGHTHS, HALF, SIMPLE
from diptych.music.layout import QUARTER_WIDTHS, Layout
from diptych.music.mei import plain_xml, verovio_toolkit
from diptych.music.notes import CLEFS, Note, System, apply_accidentals, with_accidentals, without_overlaps
from diptych.music.roll import draw_roll, key_position, read_roll

GRID = [Fraction(k, 24) for k in (3, 6, 8, 12, 16, 18, 24, 36, 48)]


def random_system(seed, layout):
    """Whole measures full of notes on the grid, chords too, spelled in a random key."""
    random = np.random.default_rng(seed)
    quarter_width = QUARTER_WIDTHS[int(random.integers(2))]
    clefs = tuple(str(random.choice(list(CLEFS))) for _ in range(layout.staves))
    length = Fraction(int(random.integers(1, 9)), 2)
    count = max(n for n in range(1, 20) if layout.fits([length] * n, quarter_width))
    notes = []
    for staff, clef in enumerate(clefs):
        time, end = Fraction(0), length * count
        while time < end:
            duration = min(GRID[int(random.integers(len(GRID)))], end - time)
            for position in random.choice(
                np.arange(-layout.max_position, layout.max_position + 1), size=int(random.integers(4)), replace=False
            ):
                alter, velocity = int(random.integers(-1, 2)), int(random.integers(1, 128))
                if duration >= Fraction(3, 24):
                    notes.append(Note(time, staff, CLEFS[clef] + int(position), alter, duration, "", velocity))
            time += duration
    beat = COMPOUND if length % COMPOUND == 0 else SIMPLE
    if length == 4 and random.integers(2):
        beat = HALF
    elif length % 1 and length > 2:
        beat = EIGHTHS
    system = System(clefs, int(random.integers(-7, 8)), (length,) * count, quarter_width, without_overlaps(notes), beat)
    return with_accidentals(system)


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 4), Layout(1, 8), Layout(2, 8)], ids=str)
def test_what_is_drawn_is_read_back(layout):
    for seed in range(60):
        system = random_system(seed, layout)
        assert read_roll(draw_roll(system, layout), layout) == system


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 4)], ids=str)
def test_a_clef_that_is_known_need_not_be_there(layout):
    for seed in range(20):
        system = random_system(seed, layout)
        roll = draw_roll(system, layout)
        lines, header = layout.line_rows(0), slice(layout.space, 3 * layout.space)
        roll[: layout.panel_height, header, 2] = 0
        roll[lines, header, 2] = roll[lines[0], 0, 2]
        assert read_roll(roll, layout, clef=system.clefs[0]) == system


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 8)], ids=str)
@pytest.mark.parametrize("quarter_width", QUARTER_WIDTHS)
def test_measures_of_any_length_are_read_back_down_to_one_pixel(layout, quarter_width):
    for lengths in ([(7, 16)] * 2, [(1, 8), (5, 8), (1, 4)], [(1, 96)] * 4, [(9, 8)], [(1, 32), (1, 4), (1, 96), (1, 32)]):
        measures = tuple(4 * Fraction(*length) for length in lengths)
        compound = all(length % COMPOUND == 0 for length in measures)
        system = System(("G2", "F4")[: layout.staves], 0, measures, quarter_width, (), COMPOUND if compound else SIMPLE)
        seen = read_roll(draw_roll(system, layout), layout)
        assert (seen.measures, seen.notes) == (measures, ())


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 8)], ids=str)
@pytest.mark.parametrize(("after", "spaces"), [(0, 2), (0, 2.75), (0, 3), (1, 0.25), (1, 1.25), (1, 3)])
def test_a_bar_line_where_no_measure_can_end_is_none(after, spaces, layout):
    system = with_accidentals(
        System(("G2",) * layout.staves, 0, (Fraction(4),) * 2, 6, (Note(Fraction(5), 0, 30, 0, Fraction(1)),))
    )
    roll = draw_roll(system, layout)
    downbeat = layout.downbeat_columns(system.measures, 6)[after]
    column = layout.barline_column(downbeat) + round(spaces * layout.space)
    for staff in range(layout.staves):
        roll[layout.line_rows(staff)[0] : layout.line_rows(staff)[-1] + 1, column, 2] = 255
    assert read_roll(roll, layout) == system


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 8)], ids=str)
def test_measures_last_wherever_a_network_paints_bar_lines(layout):
    for seed in range(10):
        roll = np.zeros((layout.height, layout.width, 3), np.uint8)
        roll[:, np.random.default_rng(seed).random(layout.width) < 0.3, 2] = 255
        measures = read_roll(roll, layout).measures
        assert len(measures) > 5 and min(measures) > 0


def test_an_accidental_holds_to_the_end_of_its_measure_for_its_own_octave():
    c, d = 28, 29
    times = [(0, c, 1), (1, c, 1), (2, c + 7, 0), (3, c, 0), (4, c, 0), (5, d, -1), (6, d, -1), (8, d, 0)]
    notes = tuple(Note(Fraction(t), 0, step, alter, Fraction(1, 2)) for t, step, alter in times)
    system = with_accidentals(System(("G2",), 0, (Fraction(4), Fraction(4), Fraction(4)), 6, notes))
    assert [note.accidental for note in system.notes] == ["s", "", "", "n", "", "f", "", ""]
    assert apply_accidentals(system) == system


def test_the_key_needs_no_accidental_and_its_naturals_do():
    f, b = 31, 34
    notes = tuple(Note(Fraction(t), 0, step, alter, Fraction(1)) for t, step, alter in [(0, f, 1), (1, f, 0), (2, b, -1)])
    assert [note.accidental for note in with_accidentals(System(("G2",), 1, (Fraction(4),), 6, notes)).notes] == ["", "n", "f"]
    assert [note.accidental for note in with_accidentals(System(("G2",), -1, (Fraction(4),), 6, notes)).notes] == ["s", "n", ""]


def test_one_step_sounds_once_at_a_time():
    long, short, later = (Note(Fraction(t), 0, 30, 0, Fraction(d)) for t, d in ((0, 4), (0, 1), (2, 1)))
    assert [(n.onset, n.duration) for n in without_overlaps([short, later, long])] == [(0, 2), (2, 1)]


@pytest.mark.parametrize("clef", CLEFS)
def test_keys_stand_where_verovio_engraves_them(clef):
    for accidental, signature in (("s", "7s"), ("f", "7f")):
        engraver = verovio_toolkit()
        engraver.resetOptions()
        below = ' dis="8" dis.place="below"' if clef.endswith("_8") else ""
        signs = f'<clef shape="{clef[0]}" line="{clef[1]}"{below}/><keySig sig="{signature}"/>'
        score = f'<scoreDef><staffGrp><staffDef n="1" lines="5">{signs}</staffDef></staffGrp></scoreDef>'
        score += '<section><measure><staff n="1"><layer><mRest/></layer></staff></measure></section>'
        head = '<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv>'
        assert engraver.loadData(f"{head}<score>{score}</score></mdiv></body></music></mei>")
        svg = plain_xml(engraver.renderToSVG(1))
        engraver.resetOptions()
        lines = [path.get("d") for path in next(g for g in svg.iter("g") if g.get("class") == "staff") if path.tag == "path"]
        top, middle, *_ = (int(re.match(r"M-?\d+ (-?\d+)", line)[1]) for line in (lines[0], lines[2]))
        signs = [next(g.iter("use")) for g in svg.iter("g") if g.get("class", "").startswith("keyAccid")]
        rows = [float(re.match(r"translate\(-?[\d.]+,? (-?[\d.]+)\)", sign.get("transform"))[1]) for sign in signs]
        drawn = [round((middle - row) / (middle - top) * 4) for row in rows]
        assert [key_position(accidental, index, clef) for index in range(7)] == drawn

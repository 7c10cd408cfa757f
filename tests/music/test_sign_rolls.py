"""A system of music is drawn as a roll of signs and read back, and each sign lies where a printed sheet has its own."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from diptych.music.layout import Layout
from diptych.music.notes import CLEFS, Note, System, apply_accidentals, with_accidentals
from diptych.music.sign_rolls import draw_signs, read_signs

STEP_B4 = CLEFS["G2"]  # the middle line
BLACK, RED, GREEN, BLUE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)
YELLOW, MAGENTA, WHITE, LINE = (255, 255, 0), (255, 0, 255), (255, 255, 255), (0, 0, 60)


def melody(*values, fifths=0, measures=(4, 4), quarter_width=6, alters=None, start=STEP_B4 - 3):
    """One note after another, each a step higher; a negative value is a rest."""
    notes, time = [], Fraction(0)
    for index, value in enumerate(map(Fraction, values)):
        if value > 0:
            notes.append(Note(time, 0, start + index % 7, (alters or {}).get(index, 0), value))
        time += abs(value)
    system = System(("G2",), fifths, tuple(map(Fraction, measures)), quarter_width, tuple(notes))
    keyed = replace(system, notes=tuple(replace(n, alter=n.alter or system.key_alter_of(n)) for n in system.notes))
    return with_accidentals(keyed)


def written(system):
    return [(n.onset, n.staff, n.step, n.alter, n.duration, n.accidental) for n in system.notes]


@pytest.mark.parametrize("layout", [Layout(1, 4, True), Layout(1, 8, True)], ids=str)
@pytest.mark.parametrize("fifths", range(-7, 8))
def test_keys_notes_rests_and_accidentals_are_read_back(layout, fifths):
    system = melody(1, "1/2", "1/2", 2, -1, "3/2", "1/2", 1, fifths=fifths, alters={1: 1, 3: -1})
    read = read_signs(draw_signs(system, layout), layout)
    assert (read.fifths, read.clefs, read.quarter_width) == (fifths, ("G2",), 6)
    assert written(read) == written(system)


def test_random_melodies_are_read_back_whatever_their_spelling():
    layout, random = Layout(1, 4, True), np.random.default_rng(0)
    for _ in range(100):
        values = random.choice(["1", "1/2", "3/2", "2", "-1", "-1/2"], size=40)
        total = np.cumsum([abs(Fraction(v)) for v in values])
        kept = [v for v, t in zip(values, total, strict=True) if t <= 8]
        alters = {int(k): int(random.integers(-1, 2)) for k in range(len(kept))}
        system = melody(*kept, fifths=int(random.integers(-7, 8)), alters=alters, start=STEP_B4 - int(random.integers(8)))
        if system.notes:
            read = read_signs(draw_signs(system, layout), layout)
            assert [each[:4] for each in written(read)] == [each[:4] for each in written(system)]


def test_every_clef_is_read():
    layout = Layout(1, 4, True)
    for clef in CLEFS:
        system = System((clef,), 2, (Fraction(4),), 6, (Note(Fraction(0), 0, CLEFS[clef], 0, Fraction(4)),))
        assert read_signs(draw_signs(apply_accidentals(system), layout), layout).clefs == (clef,)
        assert read_signs(draw_signs(system, layout), layout, clef="G2").clefs == ("G2",)


def test_wide_quarters_are_told_by_long_measures_and_by_the_values_of_notes():
    layout = Layout(1, 4, True)
    plain = melody(1, 1, 1, 1, measures=(4,), quarter_width=12)
    assert read_signs(draw_signs(plain, layout), layout).quarter_width == 12
    narrow = melody(2, 2, 1, 1, measures=(6,))  # as long on paper as three wide quarters, but hollow notes tell
    assert read_signs(draw_signs(narrow, layout), layout).quarter_width == 6
    short = melody("3/2", "1/2", 1, "1/2", "1/2", measures=(2, 2), quarter_width=12)
    assert read_signs(draw_signs(short, layout), layout).quarter_width == 12


def test_marks_are_where_and_as_large_as_printed_signs():
    layout = Layout(1, 4, True)
    roll = draw_signs(melody(2, 1, -1, 4, fifths=1, alters={1: -1}, start=STEP_B4), layout)
    assert roll.shape == (64, 320, 3)
    middle, first = 32, 60  # the row of the middle line, and the column of the first downbeat
    at = lambda row, column: tuple(int(c) for c in roll[row, column])  # noqa: E731
    assert [at(middle, first + k) for k in range(6)] == [GREEN] * 5 + [LINE]
    assert at(middle - 1, first) == at(middle + 2, first) == (0, 127, 0) and at(middle - 3, first) == BLACK
    assert at(middle - 2, first + 48) == YELLOW  # C, a step higher, half a measure later
    assert [at(middle - 2, first + 48 - k) for k in (2, 3, 5, 6)] == [BLACK, BLUE, BLUE, BLACK]  # its flat, three columns wide
    assert at(middle, first + 72) == WHITE and at(middle + 5, first + 72) == WHITE and at(middle + 6, first + 72) == BLACK
    assert at(middle - 8, 16) == RED == at(middle - 9, 18) and at(middle - 8, 19) == LINE  # the key's F sharp on the upper line
    assert at(middle - 8, first + 96 + 4) == BLUE  # the bar line
    assert (roll[:, 4:12, 2] == 255).any() and not roll[:, :4, :2].any()


def test_what_a_tie_leads_to_is_white_and_no_onset():
    layout = Layout(1, 4, True)
    system = melody(-2, 4, 2, start=STEP_B4 - 1)
    roll = draw_signs(system, layout)
    held = 60 + 96 + 12  # the second downbeat
    assert roll[32, held].tolist() == [255, 255, 255]
    assert written(read_signs(roll, layout)) == written(system)
    inner = [(Fraction(3), 0, system.notes[0].step)]
    assert draw_signs(system, layout, inner)[32, 60 + 72].tolist() == [255, 255, 255]
    assert written(read_signs(draw_signs(system, layout, inner), layout)) == written(system)


def test_triplets_have_the_colours_of_their_printed_values():
    layout = Layout(1, 4, True)
    system = melody(*["4/3"] * 3, *["2/3"] * 3, 2)
    roll = draw_signs(system, layout)
    colours = [
        tuple(roll[layout.step_rows(0, n.step - STEP_B4).start, 60 + int(n.onset * 24)].tolist()) for n in system.notes[:3]
    ]
    assert colours == [GREEN] * 3
    assert written(read_signs(roll, layout)) == written(system)


def test_two_heads_at_once_are_two_notes():
    layout = Layout(1, 4, True)
    for distance in (1, 2, 3, 7):
        chord = tuple(Note(Fraction(0), 0, STEP_B4 + k, 0, Fraction(4)) for k in (0, distance))
        system = System(("G2",), 0, (Fraction(4),), 6, chord)
        assert [n.step for n in read_signs(draw_signs(system, layout), layout).notes] == [STEP_B4, STEP_B4 + distance]


def test_faint_marks_are_nothing_and_noise_changes_nothing():
    layout, system = Layout(1, 4, True), melody(1, 1, "1/2", "1/2", 1, -2, 2, fifths=-3, alters={0: 1})
    roll = draw_signs(system, layout)
    assert read_signs(roll // 3, layout).notes == ()
    noise = np.random.default_rng(0).normal(0, 20, roll.shape)
    assert written(read_signs(np.clip(roll + noise, 0, 255).astype(np.uint8), layout)) == written(system)
    assert read_signs(np.zeros_like(roll), layout).notes == ()


def test_a_page_of_signs_has_one_system():
    assert Layout(1, 4, True).systems_per_page == 1 and Layout(1, 4).systems_per_page == 5

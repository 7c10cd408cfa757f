"""Voices, tuplets, chords and signs that the pages of pianos have, by shapes and measures worked out by hand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.mei import load_mei
from diptych.music.notes import Note
from diptych.music.page_digits import in_text, without_symbols
from diptych.music.page_events import _ways
from diptych.music.page_geometry import SPACE, Staff, group_systems
from diptych.music.page_heads import heads_of
from diptych.music.page_meters import PrintedMeter
from diptych.music.page_reading import Measure, _in_meter, _measures, _tie
from diptych.music.page_rhythm import time_events, time_measures
from diptych.music.page_stems import count_beams
from diptych.music.page_symbols import Symbol
from diptych.music.page_tuplets import Event, with_tuplets
from diptych.music.symbols import CLASS

WIDTH = 400
UPPER, LOWER = (Staff(20, WIDTH - 1, np.full(WIDTH, y), float(SPACE), 1.0) for y in (60.0, 132.0))


def symbol(kind, x, y, half=3, on=0):
    return Symbol(kind, on, x - half, x + half, y - half, y + half, x, y, (2 * half + 1) ** 2)


def note(x, duration, up=None, group=0, on=0, tip=0.0):
    return Event(on, float(x), Fraction(duration), (symbol("head", x + 3, 60),), up, tip, 1, beamed=group > 0, group=group)


def rest(x, duration, on=0):
    return Event(on, float(x), Fraction(duration))


def lasts(events, symbols, staves=(UPPER, LOWER)):
    return [event.duration for event in with_tuplets(list(events), symbols, staves)]


def test_a_number_between_two_staves_counts_the_notes_of_the_beam_beside_it():
    group = [note(x, "1/2", True, 1, on=1, tip=106.0) for x in (100, 116, 132)]
    nearer_to_the_upper_staff = symbol("digit", 118, 95)
    assert lasts(group, [nearer_to_the_upper_staff]) == [Fraction(1, 3)] * 3
    assert lasts(group, [symbol("digit", 118, 88)]) == [Fraction(1, 2)] * 3


def test_a_rest_before_a_beam_belongs_to_a_tuplet_whose_number_is_in_the_middle_of_both():
    events = [rest(100, "1/2"), *(note(x, "1/2", True, 1, tip=40.0) for x in (120, 140, 160, 180, 200))]
    assert lasts(events, [symbol("digit", 150, 34)]) == [Fraction(1, 3)] * 6
    assert lasts(events, [symbol("digit", 160, 34)]) == [Fraction(1, 2), *[Fraction(2, 5)] * 5]


def test_a_slur_beside_a_number_is_no_text():
    gray, seen = np.full((60, 80), 255, np.uint8), np.zeros((60, 80), np.uint8)
    for x in range(20, 60):
        gray[x - 15 : x - 12, x] = 0
    number = symbol("digit", 34, 25, half=4)
    assert in_text(without_symbols(gray, seen), number, [number])
    seen[gray == 0] = CLASS["curve"]
    assert not in_text(without_symbols(gray, seen), number, [number])


def test_notes_of_two_voices_beside_each_other_begin_together():
    beside = [note(60, 1, True), note(68, 1, True), note(90, 1, True), note(120, 2, True)]
    assert time_events(beside).onsets == (0, 0, 1, 2)
    bass = [note(x, 1, False, on=1) for x in (60, 90, 120, 150)]
    farther = [note(60, "3/2", True), note(71, 4, True), note(105, "1/2", True), note(120, 1, True), note(150, 1, True)]
    assert time_events([*farther, *bass], Fraction(4)).onsets[:2] == (0, 0)
    assert time_events([rest(60, "1/4"), note(67, "3/4", True), note(90, 1, True)]).onsets == (0, Fraction(1, 4), 1)


def test_a_measure_is_not_two_where_voices_beside_each_other_explain_it_as_one():
    upper = [note(108, "3/4", True), note(132, "1/4", True), note(144, "1/2", True), note(159, "1/2", True)]
    whole = [note(99, 2, False, on=1), rest(107, "1/2"), *(replace(event, staff=1) for event in upper)]
    whole += [note(123, 1, False), note(159, "1/2", False)]
    usual = [note(60, 1, True), note(90, 1, True)]
    timings = time_measures([whole, usual, usual, usual], [True, False, False, False], known=[Fraction(2)] * 4)
    assert [timing.length for timing in timings] == [2] * 4


def test_one_value_that_was_misread_is_mended_in_one_of_two_staves():
    bass = [note(x, 1, False, on=1) for x in (60, 90, 120, 150)]
    dotted = [note(60, "3/2", True), note(90, 1, True), note(120, 1, True), note(150, 1, True)]
    usual = [*bass, *(replace(event, staff=0, up=True) for event in bass)]
    timings = time_measures([[*bass, *dotted], usual, usual, usual], [False] * 4)
    assert timings[0].length == 4 and timings[0].durations == (1,) * 8


def test_what_looks_like_a_clef_within_a_meter_is_none():
    own, digit = symbol("clef F", 30, 60, half=6), symbol("clef G", 70, 60)
    meters = [PrintedMeter(4, 2, 64, 76)]
    assert _in_meter(digit, [own, digit], meters)
    assert not _in_meter(digit, [digit], meters)  # its staff shows no other one
    assert not _in_meter(replace(digit, x=120), [own, digit], meters)


def test_an_area_lower_than_two_heads_in_thirds_is_one_head():
    seen = np.zeros((120, WIDTH), np.uint8)
    part = np.ones((10, 9), bool)
    found = list(heads_of(Symbol("hollow head", 0, 100, 108, 55, 64, 104, 59.5, 90), part, seen, UPPER))
    assert len(found) == 1


def test_a_part_of_a_beam_that_ends_before_a_stem_is_not_its_second_beam():
    seen = np.zeros((120, WIDTH), np.uint8)
    seen[40:43, 100:140] = CLASS["beam"]
    seen[43:48, 100:118] = CLASS["beam"]  # of the stem at 100, with no gap to the beam of both, up to 2 pixels before the next
    stem = Symbol("stem", 0, 120, 120, 40, 70, 120.0, 55.0, 30)
    assert count_beams(seen, stem, up=True, limit=70.0) == 1


def test_a_stem_that_leads_from_its_right_head_to_a_beam_is_that_of_two_voices():
    seen = np.zeros((160, WIDTH), np.uint8)
    stem = Symbol("stem", 0, 103, 103, 30, 95, 103.0, 62.0, 65)
    left, right = [symbol("head", 100, 60), symbol("head", 100, 90)], [symbol("head", 106, 66)]
    assert len(_ways(stem, [*left, *right], seen)) == 1
    seen[92:96, 103:140] = CLASS["beam"]
    assert [chord for _, chord in _ways(stem, [*left, *right], seen)] == [left, right]


def test_a_tie_leads_to_the_same_pitch():
    def tied(alter, accidental):
        notes = Note(Fraction(0), 0, 30, 1, Fraction(2)), Note(Fraction(2), 0, 30, alter, Fraction(2), accidental)
        heads = symbol("head", 100, 60), symbol("head", 160, 60)
        curve = Symbol("curve", 0, 104, 156, 64, 67, 130, 66, 100)
        return [note.continued for note in _tie([Measure(Fraction(4), 0, notes, heads)], [curve])[0].notes]

    assert tied(1, "") == tied(1, "s") == [False, True]
    assert tied(0, "n") == [False, False]


def test_a_narrow_last_measure_is_one_where_a_note_has_a_stem():
    def number(up):
        bars = [symbol("bar line", x, 60, half=12) for x in (200, WIDTH - 20)]
        events = [note(100, 1, True), note(240, 1, True), note(WIDTH - 10, 1, up)]
        return len(_measures(bars, events, [[(20.0, "G2")]], [UPPER], 0, None, [], []))

    assert (number(True), number(None)) == (3, 2)


def test_staves_whose_left_ends_are_seen_behind_their_clefs_are_one_system():
    gray = np.full((200, WIDTH), 255, np.uint8)
    gray[47:145, 20] = 0
    below = Staff(49, WIDTH - 1, np.full(WIDTH, 132.0), float(SPACE), 1.0)
    assert len(group_systems(gray, [UPPER, below])) == 1


def test_a_note_is_in_the_staff_in_which_it_is_printed(tmp_path):
    staves = "".join(f'<staffDef n="{n}" lines="5" clef.shape="G" clef.line="2"/>' for n in (1, 2))
    low = '<note pname="c" oct="4" dur="2"/><note pname="e" oct="5" dur="4" staff="1"/>'
    low += '<chord dur="4" staff="1"><note pname="d" oct="5"/><note pname="f" oct="5" staff="2"/></chord>'
    content = [f'<staff n="{n + 1}"><layer n="1">{each}</layer></staff>' for n, each in enumerate(("<mRest/>", low))]
    score = f'<scoreDef meter.count="4" meter.unit="4"><staffGrp>{staves}</staffGrp></scoreDef>'
    score += f"<section><measure>{''.join(content)}</measure></section>"
    mei = '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
    (tmp_path / "x.mei").write_text(f"{mei}<music><body><mdiv><score>{score}</score></mdiv></body></music></mei>")
    page = next(free_pages(load_mei(tmp_path / "x.mei"), FreeStyle(width=110.0)))
    assert [(note.midi, note.staff) for note in page.notes] == [(60, 1), (76, 0), (74, 0), (77, 1)]

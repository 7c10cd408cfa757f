"""Engraved pages are read from the exact maps of their symbols: the notes are those of the score, whatever the network sees."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diptych.cli import main
from diptych.data.formats import read_pixels, write_pixels
from diptych.errors import DataError
from diptych.music.arrangement import arrange
from diptych.music.free_pages import FreeStyle, free_pages, free_style
from diptych.music.free_reading import FreeReading, check_plausible, joined, read_pages, show_pages, to_song
from diptych.music.mei import load_mei
from diptych.music.midi import read_midi
from diptych.music.musicxml import to_musicxml
from diptych.music.notes import Note, midi_pitch, step_of
from diptych.music.page_clefs import clef_at, clefs_of
from diptych.music.page_files import load_pages
from diptych.music.page_geometry import SPACE, Page, Staff, find_staves, read_geometry
from diptych.music.page_reading import read_systems
from diptych.music.page_straightening import skew, staff_space
from diptych.music.page_symbols import Symbol
from diptych.music.scans import CLEAN, Scan, levelled, scanned
from diptych.music.symbol_pages import SMALLEST, build_symbols, draw_pair
from diptych.music.symbols import CLASS, SYMBOLS, draw_page, draw_symbols

TUNE = """X:1
L:1/4
M:3/4
K:D
D F A | d/2^g/2 =c B- | B z A/2>G/2 | (3F/2G/2A/2 [DFA] z | d3- | d ^A A | B2 z/2 d/4e/4 | D3 |]
"""
READ = [  # onset in quarters, duration and MIDI pitch, by hand: D major has F sharp and C sharp
    *((0, 1, 62), (1, 1, 66), (2, 1, 69)),
    *((3, 0.5, 74), (3.5, 0.5, 80), (4, 1, 72), (5, 2, 71)),
    *((8, 0.75, 69), (8.75, 0.25, 67)),
    *((9, 1 / 3, 66), (9 + 1 / 3, 1 / 3, 67), (9 + 2 / 3, 1 / 3, 69), (10, 1, 62), (10, 1, 66), (10, 1, 69)),
    *((12, 4, 74), (16, 1, 70), (17, 1, 70)),
    *((18, 2, 71), (20.5, 0.25, 74), (20.75, 0.25, 76), (21, 3, 62)),
]


def page_of(tmp_path, text=TUNE, style=None):
    (tmp_path / "tune.abc").write_text(text)
    return next(free_pages(load_mei(tmp_path / "tune.abc"), style or FreeStyle(width=70.0)))


def read_exactly(page):
    """Read a page from its true map, as the network would see it without an error."""
    width = round(page.width * SPACE)
    drawn = Image.fromarray(draw_page(page.drawing, 2 * width))
    seen = draw_symbols(page.drawing, width)
    gray = levelled(np.array(drawn.resize(seen.shape[::-1], Image.Resampling.BILINEAR)))
    return read_systems(seen, Page(gray, tuple((staff,) for staff in find_staves(gray))))


def heard(notes):
    return sorted((round(float(n.onset), 3), round(float(n.duration), 3), n.midi) for n in notes)


def rounded(notes):
    return sorted((round(onset, 3), round(duration, 3), pitch) for onset, duration, pitch in notes)


@pytest.mark.parametrize("font", ["Leipzig", "Petaluma"])
def test_a_tune_is_read_as_it_was_written_in_fonts_that_differ(tmp_path, font):
    page = page_of(tmp_path, style=FreeStyle(font=font, width=70.0))
    systems = read_exactly(page)
    found = joined(systems)
    assert len(systems) > 1 and [system.clefs for system in systems] == [("G2",)] * len(systems)
    assert set(found.fifths) == {2} and found.measures == (Fraction(3),) * 8 and found.confidence == 1
    assert heard(found.notes) == rounded(READ)
    assert len(page.notes) == len(READ) and page.measures == found.measures


@pytest.mark.parametrize("clef", ["F4", "C1", "C4", "G2_8"])
def test_every_clef_gives_its_pitches(tmp_path, clef):
    page = page_of(tmp_path, style=FreeStyle(clef=clef, width=70.0))
    systems = read_exactly(page)
    assert {system.clefs for system in systems} == {(clef,)}
    notes = joined(systems).notes
    octaves = {(midi - expected) for (_, _, midi), (_, _, expected) in zip(heard(notes), rounded(READ), strict=True)}
    assert len(octaves) == 1 and octaves.pop() % 12 == 0
    assert [(n.onset, n.step) for n in notes] == [(n.onset, n.step) for n in page.notes]


def test_a_misread_measure_keeps_the_others_in_time_and_costs_confidence(tmp_path):
    systems = read_exactly(page_of(tmp_path))
    first = systems[0]
    short = replace(first.measures[1], printed=Fraction(5, 2))
    broken = [replace(first, measures=(first.measures[0], short, *first.measures[2:])), *systems[1:]]
    found = joined(broken)
    assert found.measures == (Fraction(3),) * 8
    assert 0 < found.confidences[0] < 1 and found.confidences[1:] == (1.0,) * (len(systems) - 1)
    with pytest.raises(DataError, match=r"p\.png: shows staves, but no notes were found"):
        check_plausible("p.png", FreeReading((), (), (), (1.0,)))
    with pytest.raises(DataError, match=r"^p.png: seems to show 23 systems, but only 1 note on them; give a page"):
        check_plausible("p.png", FreeReading(found.notes[:1], (), (), (1.0,) * 23))  # noise adds up where it is empty
    with pytest.raises(DataError, match=r"p\.png: only 20% of its measures add up to their meter, at least 30%"):
        check_plausible("p.png", FreeReading(found.notes, found.measures, found.fifths, (0.2,)))


def test_what_was_read_becomes_a_song_with_keys_and_meters(tmp_path):
    song = to_song(joined(read_exactly(page_of(tmp_path))))
    assert [(meter.onset, meter.length) for meter in song.meters] == [(0, 3)]
    assert [(key.onset, key.fifths) for key in song.keys] == [(0, 2)]
    assert len(song.notes) == len(READ) and song.notes[0].pitch == midi_pitch(step_of("d", 4), 0)


def test_a_double_bar_line_is_read_and_written_where_it_stands(tmp_path):
    page = page_of(tmp_path, "X:1\nL:1/4\nM:3/4\nK:D\nD F A | d2 z || B A G | F3 | D3 |]\n")
    song = to_song(joined(read_exactly(page)))
    assert 6 in song.double_bars
    measures = ET.fromstring(to_musicxml(arrange(song))).findall("part/measure")
    styles = [measure.findtext("barline/bar-style") for measure in measures]
    assert styles == [None, "light-light", None, None, "light-heavy"]


def test_a_staff_that_only_rests_stays_a_staff_of_its_part():
    upper = tuple(Note(Fraction(k), 0, step_of("c", 5) + k, 0, Fraction(1)) for k in range(2))
    song = to_song(FreeReading(upper, (Fraction(2),), (0,), (1.0,), ((2, 4),), 2))
    (part,) = arrange(song).parts
    assert [[note.midi for measure in staff for note in measure] for staff in part.staves] == [[72, 74], []]
    assert to_musicxml(arrange(song)).count("<staves>2</staves>") == 1


@pytest.mark.parametrize("staves", [2, 3])
def test_a_staff_whose_clef_is_not_known_is_written_with_a_usual_one(staves):
    notes = tuple(Note(Fraction(k), 0, step_of("c", 5) + k, 0, Fraction(1)) for k in range(2))
    song = to_song(FreeReading(notes, (Fraction(2),), (0,), (1.0,), ((2, 4),), staves, (("C3",),)))
    clefs = [(clef.findtext("sign")) for clef in ET.fromstring(to_musicxml(arrange(song))).iter("clef")]
    assert clefs == {2: ["C", "F"], 3: ["C", "G", "G"]}[staves]


def test_a_turned_page_is_straightened_and_scaled(tmp_path):
    page = page_of(tmp_path)
    drawn = draw_page(page.drawing, round(page.width * 13))
    assert staff_space(drawn < 160) == pytest.approx(13, abs=0.6)
    for angle in (-1.6, 0.8):
        turned = np.array(Image.fromarray(drawn).rotate(-angle, Image.Resampling.BICUBIC, fillcolor=255))
        assert skew(1 - turned / 255) == pytest.approx(angle, abs=0.1)
        found = read_geometry(turned)
        straight = read_geometry(drawn)
        assert len(found.systems) == len(straight.systems) > 1
        for (a,), (b,) in zip(found.systems, straight.systems, strict=True):
            assert a.space == pytest.approx(SPACE, abs=0.25) and abs(a.middle_at(200) - b.middle_at(200)) < 6
    assert read_geometry(np.full((400, 300), 255, np.uint8)) is None


def test_noise_does_not_change_the_scale_of_a_page(tmp_path):
    page = page_of(tmp_path)
    drawn = np.pad(draw_page(page.drawing, round(page.width * 18)), ((0, 2400), (0, 0)), constant_values=255)  # A4 at 300 dpi
    clean, systems = read_geometry(drawn), len(read_exactly(page))
    for deviation in (20, 40):
        noise = np.random.default_rng(0).normal(0, deviation, drawn.shape)
        noisy = np.clip(drawn + noise, 0, 255).astype(np.uint8)
        found = read_geometry(noisy)
        assert found.gray.shape[1] == pytest.approx(clean.gray.shape[1], rel=0.01)
        assert len(found.systems) == systems


def test_the_map_of_a_page_names_its_symbols(tmp_path):
    seen = draw_symbols(page_of(tmp_path).drawing, 420)
    there = {SYMBOLS[number] for number in np.unique(seen)}
    assert {"head", "hollow head", "stem", "bar line", "beam", "dot", "digit"} <= there
    assert {"quarter rest", "clef G", "sharp", "natural"} <= there
    assert not there & {"flat", "clef F", "clef C"}
    ink = draw_page(page_of(tmp_path).drawing, 420) < 200
    assert (ink[seen == CLASS["head"]].mean() > 0.85) and (ink & (seen == 0)).mean() < 0.15  # staff lines and digits of measures


def test_scans_are_levelled_to_black_on_white():
    page = np.full((96, 160), 255, np.uint8)
    page[40:44] = 0
    assert scanned(page, 6.0, CLEAN, 0) is page
    dim = scanned(page, 6.0, Scan(ink=80, paper=200, uneven=30, noise=2), 1)
    level = levelled(dim)
    assert dim.max() < 240 and np.median(level[:30]) > 245 and np.median(level[41:43]) < 12


def test_pages_for_training_are_pairs_of_one_size_and_test_composers_stay_out(tmp_path):
    scores = tmp_path / "scores"
    scores.mkdir()
    for name in "abcd":
        (scores / f"{name}.abc").write_text(TUNE.replace("X:1", f"X:1\nT:{name}\nC:{name * 5} {name * 6}"))
    (scores / "e.abc").write_text("")
    (scores / "f.musicxml").write_text("<score-partwise><part>")
    (scores / "g.mei").write_text('<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body/></music></mei>')
    number, problems = build_symbols([str(scores)], tmp_path / "data", most=99, seed=3)
    failed = {line.partition(": ")[0].rpartition("/")[2] for line in problems}
    assert failed <= {"e.abc", "f.musicxml", "g.mei"} and len(problems) == len(failed) >= 2  # one may be kept for testing
    assert all(line.partition(": ")[2] for line in problems)
    names = sorted(path.name for path in (tmp_path / "data" / "page").iterdir())
    assert len(names) == number and names == sorted(path.name for path in (tmp_path / "data" / "symbols").iterdir())
    assert len({name[0] for name in names}) < 4  # a composer was kept for testing
    page, symbols = (read_pixels(tmp_path / "data" / side / names[0]) for side in ("page", "symbols"))
    assert page.shape == symbols.shape and page.shape[0] >= SMALLEST[0] and symbols.max() < len(SYMBOLS)
    again = draw_pair(page_of(tmp_path, style=free_style("x")), "x"), draw_pair(page_of(tmp_path, style=free_style("x")), "x")
    assert all(np.array_equal(a, b) for a, b in zip(*again, strict=True))


def test_a_reader_that_does_not_ship_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("diptych.music.translators.PRETRAINED", tmp_path)
    page = page_of(tmp_path)
    write_pixels(tmp_path / "page.png", draw_page(page.drawing, round(page.width * 12))[..., None])
    assert main(["music", "read", str(tmp_path / "page.png"), "--out", str(tmp_path / "x.mid")]) == 2
    assert "diptych ships no reader of engraved pages; train one" in " ".join(capsys.readouterr().err.split())


def test_what_shows_no_music_is_refused_in_one_line(tmp_path, capsys):
    write_pixels(tmp_path / "page.png", np.full((900, 700, 3), 255, np.uint8))
    assert main(["music", "read", str(tmp_path / "page.png"), "--out", str(tmp_path / "x.mid")]) == 2
    assert "page.png: shows no staff of five lines" in " ".join(capsys.readouterr().err.split())
    assert main(["music", "read", str(tmp_path / "page.png"), "--out", str(tmp_path / "x.mid"), "--clef", "G2"]) == 2
    assert "--clef is for sheets on diptych's own grid" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("space", [4.6, 12.0])
def test_a_page_of_low_resolution_is_named_with_what_it_needs(tmp_path, capsys, space):
    page = page_of(tmp_path)
    gray = Image.fromarray(draw_page(page.drawing, round(page.width * 12)))
    small = gray.resize([round(side * space / 12) for side in gray.size], Image.Resampling.LANCZOS)
    found = read_pages(tmp_path / "x.png", [np.array(small)], lambda g: np.zeros_like(g))
    assert [(number, round(each, 1)) for number, each in found.small] == ([(1, 4.6)] if space < 5 else [])
    small.save(tmp_path / "small.png")
    main(["music", "read", str(tmp_path / "small.png"), "--out", str(tmp_path / "x.mid")])
    said = " ".join(capsys.readouterr().err.split())
    expected = "page 1 has a low resolution, 4.6 pixels from one staff line to the next, and may be misread; give 6 or more"
    assert (expected in said) == (space < 5)


def test_a_page_upside_down_is_refused_and_an_upright_one_is_not(tmp_path, capsys):
    page = page_of(tmp_path)
    upright = draw_page(page.drawing, round(page.width * 12))
    for name, picture in (("up.png", upright), ("down.png", upright[::-1, ::-1])):
        Image.fromarray(picture).save(tmp_path / name)
    assert main(["music", "read", str(tmp_path / "up.png"), "--out", str(tmp_path / "up.mid")]) == 0
    capsys.readouterr()
    assert main(["music", "read", str(tmp_path / "down.png"), "--out", str(tmp_path / "down.mid")]) == 2
    assert "down.png: page 1 stands upside down; turn it by 180 degrees" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "down.mid").exists()


def test_a_page_that_is_white_on_black_is_read_as_the_one_that_is_black_on_white(tmp_path, capsys):
    page = page_of(tmp_path)
    printed = draw_page(page.drawing, round(page.width * 12))
    table = np.pad(printed, [(side, side) for side in printed.shape], constant_values=20)  # black on white, on a dark table
    read = {}
    for name, picture in (("black", printed), ("white", 255 - printed), ("table", table)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
        assert main(["music", "read", str(tmp_path / f"{name}.png"), "--out", str(tmp_path / f"{name}.mid")]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert ("page 1 is white on black, and was read as its negative" in said) == (name == "white")
        read[name] = read_midi(tmp_path / f"{name}.mid").notes
    assert len(read["black"]) == len(READ) and read["white"] == read["black"] and len(read["table"]) > len(READ) // 2


def test_the_pages_of_a_pdf_are_loaded(tmp_path):
    pytest.importorskip("pypdfium2")
    pages = [Image.new("L", (600, 800), 255), Image.new("L", (600, 800), 0)]
    pages[0].save(tmp_path / "x.pdf", "PDF", save_all=True, append_images=pages[1:], resolution=100)
    first, second = load_pages(tmp_path / "x.pdf")
    assert first.shape == second.shape == (1600, 1200) and first.min() > 250 and second.max() < 5
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'bad.pdf'}: is damaged or locked")):
        load_pages(tmp_path / "bad.pdf")


def pdf(path, pages, box="0 0 612 792"):
    """A PDF by hand, whose list of pages names these objects; object 3 is an empty page, and 2 is the list itself."""
    kids = " ".join(f"{number} 0 R" for number in pages)
    path.write_text(
        f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[{box}]>>endobj\ntrailer<</Root 1 0 R>>"
    )
    return path


def test_a_pdf_whose_pages_go_round_or_would_fill_the_memory_is_refused_in_one_line(tmp_path):
    pytest.importorskip("pypdfium2")
    assert [page.shape for page in load_pages(pdf(tmp_path / "x.pdf", [3, 3]))] == [(2200, 1700)] * 2
    with pytest.raises(DataError, match=r"round.pdf: is damaged or locked \(.*\); export it again"):
        load_pages(pdf(tmp_path / "round.pdf", [2]))
    with pytest.raises(DataError, match=r"large.pdf: its pages have 2,560,000,000 pixels, and at most 1,000,000,000 are drawn"):
        load_pages(pdf(tmp_path / "large.pdf", [3] * 40, box="0 0 2880 2880"))


def test_the_picture_of_what_was_understood_frames_each_head(tmp_path):
    page = page_of(tmp_path)
    gray = draw_page(page.drawing, round(page.width * 12))
    found = read_pages(tmp_path / "x.png", [gray, np.full((200, 200), 255, np.uint8)], lambda g: np.zeros_like(g))
    assert found.without_staves == (2,) and len(found.pages) == 1 and not found.joined().notes
    shown = show_pages(found)
    assert shown.shape[0] == 2 * len(found.pages[0].gray) and (shown == (0, 0, 220)).all(-1).any()


def test_a_staff_without_a_clef_takes_that_of_the_other_systems_or_is_marked_as_a_guess():
    def staff(middle):
        return Staff(10, 400, np.full(420, middle, np.float32), SPACE, 1.0)

    def clef(kind, number, x, height):  # 4 spaces high, around a height
        return Symbol(kind, number, x, x + 2 * SPACE, height - 2 * SPACE, height + 2 * SPACE, x + SPACE, height, 90)

    systems = [[staff(50), staff(120)], [staff(250), staff(320)], [staff(450)]]
    spot = Symbol("clef F", 2, 20, 22, 250, 252, 21, 251, 6)
    seen = [clef("clef C", 0, 20, 50), clef("clef F", 1, 20, 120), spot, clef("clef G", 2, 300, 250), clef("clef C", 3, 20, 314)]
    found, guessed = clefs_of(seen, systems)
    assert [[name for _, name in clefs] for clefs in found] == [["C3"], ["F4"], ["C3", "G2"], ["C4"], ["G2"]]
    assert guessed == {4}
    assert clef_at(found[2], 299) == "C3" and clef_at(found[2], 330) == "G2"

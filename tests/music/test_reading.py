"""What is no sheet is refused; the shipped reader reads every clef; what was read can be shown."""

import itertools
from collections import Counter

import numpy as np
import pytest

from diptych.cli import main
from diptych.data.formats import write_pixels
from diptych.music.build import page_of
from diptych.music.excerpts import excerpts
from diptych.music.layout import Layout
from diptych.music.midi import read_midi
from diptych.music.notes import CLEFS
from diptych.music.print_styles import FONTS, PrintStyle, varied_style
from diptych.music.reading import MIN_CONFIDENCE, check_legible, legibility, show_reading
from tests.music.songs import attributes, melody, note, score

LAYOUT = Layout()


def systems(tmp_path, monkeypatch, style):
    monkeypatch.setattr("diptych.music.excerpts.varied_style", lambda name: style)
    (tmp_path / "x.musicxml").write_text(score(melody()))
    return excerpts(tmp_path / "x.musicxml", LAYOUT, varied="x")[0]


def sounding(found):
    """The onset and the pitch of every note of systems that follow each other."""
    starts = itertools.accumulate((sum(each.system.measures) for each in found), initial=0)
    return [(start + n.onset, n.midi) for start, each in zip(starts, found, strict=False) for n in each.system.notes]


@pytest.mark.parametrize(("clef", "font"), [(clef, FONTS[k % len(FONTS)]) for k, clef in enumerate(CLEFS)])
def test_a_clef_is_found_whatever_is_printed(clef, font, tmp_path, monkeypatch):
    for style in (PrintStyle(font, clef), PrintStyle(font, clef, 1.6, 110, 0.85)):
        for each in systems(tmp_path, monkeypatch, style):
            assert each.system.clefs == (clef,) and each.font == font
            seen = legibility(each.sheet, LAYOUT)
            assert seen.clefs == (clef,) and seen.confidence > MIN_CONFIDENCE


def test_styles_take_every_clef_and_font_and_keep_the_notes(tmp_path, monkeypatch):
    styles = [varied_style(str(k)) for k in range(300)]
    assert {style.clef for style in styles} == set(CLEFS) and {style.font for style in styles} == set(FONTS)
    assert styles[7] == varied_style("7")
    plain, tenor = (systems(tmp_path, monkeypatch, PrintStyle("Leland", clef, weight, gray)) for clef, weight, gray in (
        ("G2", 1.0, 0), ("C4", 0.6, 90),
    ))  # fmt: skip
    notes = [[(n.onset, n.duration, n.midi % 12) for n in each.system.notes] for each in (*plain, *tenor)]
    assert notes[: len(plain)] == notes[len(plain) :]
    assert plain[0].sheet[LAYOUT.line_rows(0)].max() == 0 and tenor[0].sheet[LAYOUT.line_rows(0)].max() == 90


def test_noise_is_refused(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320, 1)).astype(np.uint8)
    write_pixels(tmp_path / "noise.png", pixels)
    assert main(["music", "read", str(tmp_path / "noise.png"), "--out", str(tmp_path / "x.mid")]) == 2
    assert "noise.png: system 1 has no staff lines where diptych draws them" in capsys.readouterr().err.replace("\n", " ")
    blank = np.full((LAYOUT.height, LAYOUT.width), 255, np.uint8)
    assert check_legible(tmp_path / "p.png", [blank], LAYOUT)[0].confidence == 0
    assert not (tmp_path / "x.mid").exists()


@pytest.mark.parametrize(("clef", "font"), [(clef, FONTS[k % len(FONTS)]) for k, clef in enumerate(CLEFS)])
def test_the_shipped_reader_reads_every_clef(clef, font, tmp_path, monkeypatch):
    found = systems(tmp_path, monkeypatch, PrintStyle(font, clef))
    write_pixels(tmp_path / "page.png", page_of([each.sheet for each in found], LAYOUT, 255))
    assert main(["music", "read", str(tmp_path / "page.png"), "--out", str(tmp_path / "read.mid")]) == 0
    true = sounding(found)
    read = [(n.onset, n.pitch) for n in read_midi(tmp_path / "read.mid").notes]
    both = (Counter(true) & Counter(read)).total()
    assert len(true) > 20 and 2 * both / (len(true) + len(read)) > 0.9


def test_the_shipped_reader_reads_a_piano(tmp_path):
    layout = Layout(staves=2)
    bars = []
    for k in range(4):
        right = "".join(note(name, 1) for name in ("c5", "e5", "g5", "d5")[k % 2 :] + ("c5",) * (k % 2))
        left = "<backup><duration>96</duration></backup>" + note("c3", 2, staff=2, voice=5) + note("g3", 2, staff=2, voice=5)
        bars.append((attributes(clefs=(("G", 2), ("F", 4))) if not k else "") + right + left)
    (tmp_path / "x.musicxml").write_text(score(bars))
    found = excerpts(tmp_path / "x.musicxml", layout)[0]
    write_pixels(tmp_path / "page.png", page_of([each.sheet for each in found], layout, 255))
    out = tmp_path / "read.mid"
    assert main(["music", "read", str(tmp_path / "page.png"), "--layout", "grand", "--out", str(out)]) == 0
    read = [(n.onset, n.pitch) for n in read_midi(out).notes]
    assert Counter(read) == Counter(sounding(found)) and len(read) == 24


def test_what_was_read_is_shown_and_written_as_a_score(tmp_path, monkeypatch):
    found = systems(tmp_path, monkeypatch, PrintStyle("Leipzig", "G2"))
    write_pixels(tmp_path / "page.png", page_of([each.sheet for each in found], LAYOUT, 255))
    out, report = tmp_path / "read.musicxml", tmp_path / "report.png"
    assert main(["music", "read", str(tmp_path / "page.png"), "--out", str(out), "--report", str(report), "--tempo", "90"]) == 0
    assert "<pitch>" in out.read_text() and 'tempo="90"' in out.read_text() and report.exists()
    sheets, truth = [each.sheet for each in found], [each.system for each in found]
    picture = show_reading(sheets, truth, LAYOUT)
    red = (picture == (220, 0, 0)).all(2)
    assert red.any() and (picture[~red] == np.repeat(np.concatenate(sheets)[..., None], 3, 2)[~red]).all()
    assert not (show_reading(sheets, [], LAYOUT) == (220, 0, 0)).all(2).any()

"""Metronome marks and rests across a meter are no music: pages whose ink and symbols were placed by hand, and verovio's own."""

import mido
import numpy as np
import pytest

from diptych.cli import main
from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.free_reading import joined
from diptych.music.mei import load_mei
from diptych.music.note_metrics import _matches
from diptych.music.page_geometry import SPACE, Staff, read_geometry
from diptych.music.page_reading import read_systems
from diptych.music.page_symbols import Symbol
from diptych.music.page_tempos import without_tempos
from diptych.music.symbols import draw_page, draw_symbols

STAFF = Staff(0, 200, np.full(220, 80.0), SPACE, 1.0)
HEAD, ZERO, LOWER = (42, 50), (85, 48), (85, 76)  # columns and rows: the mark's note, a zero of its number, a head in the staff


def page(gap=2, *, note=True, number=True, low=0):
    """A staff with a mark above it: a note on a baseline, an equals sign with a gap between its strokes, and three digits."""
    gray = np.full((120, 220), 255, np.uint8)
    for position in (4, 2, 0, -2, -4):
        gray[round(STAFF.row(0, position)), :200] = 0
    if note:
        gray[34 + low : 53 + low, 45:47] = gray[48 + low : 53 + low, 38:46] = 0
    gray[45 - gap : 47 - gap, 56:65] = gray[47:49, 56:65] = 0
    if number:
        for x in (72, 81, 90):
            gray[42:53, x : x + 6] = 0
    return gray


def symbol(kind, x, y):
    return Symbol(kind, 0, x - 4, x + 4, y - 3, y + 3, x, y, 30)


SEEN = [symbol("head", *HEAD), symbol("hollow head", *ZERO), symbol("head", *LOWER), symbol("head", 180, 45)]


@pytest.mark.parametrize("gap", [0, 1, 2])
def test_the_note_and_the_zeros_of_a_metronome_mark_are_no_notes(gap):
    assert without_tempos(page(gap), SEEN, [STAFF]) == SEEN[2:]


@pytest.mark.parametrize("other", [{"note": False}, {"number": False}, {"low": 8}, {"gap": 9}])
def test_what_only_looks_like_an_equals_sign_takes_no_note_away(other):
    assert without_tempos(page(**other), SEEN, [STAFF]) == SEEN


def test_a_page_with_a_metronome_mark_right_above_its_notes_is_read_as_it_sounds(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.music.score_pages.RAISED", 0)
    midi = mido.MidiFile(ticks_per_beat=480)
    midi.tracks.append(track := mido.MidiTrack())
    track.append(mido.MetaMessage("time_signature", numerator=6, denominator=8))
    track.append(mido.MetaMessage("key_signature", key="Bb"))
    track.append(mido.MetaMessage("set_tempo", tempo=600_000))
    track.append(mido.Message("program_change", program=73))
    for pitch, ticks in [(pitch, 240) for pitch in (72, 74, 76, 77, 76, 74) * 4] + [(72, 720), (74, 720), (76, 1440)]:
        track.append(mido.Message("note_on", note=pitch, velocity=64))
        track.append(mido.Message("note_off", note=pitch, time=ticks))
    midi.save(tmp_path / "My six8.mid")
    paths = [str(tmp_path / name) for name in ("My six8.mid", "song.musicxml", "song.png", "read.musicxml")]
    for out in paths[1:3]:
        assert main(["music", "sheet", paths[0], "--out", out]) == 0
    assert main(["music", "read", paths[2], "--out", paths[3]]) == 0
    true, read = ([note for found in free_pages(load_mei(tmp_path / name)) for note in found.notes] for name in paths[1::2])
    assert len(true) == len(read) == len(_matches(true, read, offsets=False)) == 27


@pytest.mark.parametrize("font", ["Leipzig", "Bravura", "Petaluma"])
def test_the_rest_of_an_upbeat_across_the_meter_takes_no_time(font, tmp_path):
    staff = '<staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>'
    measures = '<measure n="0" metcon="false"><staff n="1"><layer n="1"><mRest/></layer></staff></measure>'
    notes = "".join(f'<note pname="{name}" oct="4" dur="4"/>' for name in "gab")
    measures += f'<measure><staff n="1"><layer n="1">{notes}</layer></staff></measure>' * 3
    score = f'<scoreDef meter.count="3" meter.unit="4" key.sig="4s">{staff}</scoreDef><section>{measures}</section>'
    (tmp_path / "x.mei").write_text(
        '<?xml version="1.0"?><mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
        f"<music><body><mdiv><score>{score}</score></mdiv></body></music></mei>"
    )
    page = next(free_pages(load_mei(tmp_path / "x.mei"), FreeStyle(width=70.0, font=font)))
    found = read_geometry(draw_page(page.drawing, round(page.width * 12)))
    seen = draw_symbols(page.drawing, found.gray.shape[1])
    seen = np.pad(seen, ((0, max(0, len(found.gray) - len(seen))), (0, 0)))[: len(found.gray)]
    reading = joined(read_systems(seen, found))
    assert [note.onset for note in reading.notes] == list(range(9)) and reading.measures == (3, 3, 3)
    assert reading.meters == ((3, 4),) * 3

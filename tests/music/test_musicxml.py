"""Scores as MusicXML: verovio, an independent reader, plays the notes of the MIDI file that they were made of."""

import base64
import random
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diptych.errors import ConfigError
from diptych.music.arrangement import arrange
from diptych.music.mei import plain_xml, verovio_toolkit
from diptych.music.midi import Key, Meter, PlayedNote, Song, Tempo, Track, read_midi
from diptych.music.musicxml import tempos_of, to_musicxml
from diptych.music.quantize import quantize
from diptych.music.rasters import missing_letters
from diptych.music.score_pages import engrave_pages, write_score

METERS = {
    "4/4": Meter(unit=4), "3/4": Meter(length=Fraction(3), unit=4), "2/2": Meter(unit=2),
    "5/8": Meter(length=Fraction(5, 2), unit=8),
    "6/8": Meter(length=Fraction(3), beat=Fraction(3, 2), unit=8), "12/8": Meter(length=Fraction(6), beat=Fraction(3, 2), unit=8),
}  # fmt: skip
STRAIGHT = [Fraction(k, 8) for k in (1, 2, 3, 4, 6, 7, 8, 10, 12, 16, 20, 44)]
TRIPLETS = [Fraction(k, 6) for k in (1, 2, 4, 8)]


def played(text, path):
    """The notes that verovio plays."""
    engraver = verovio_toolkit()
    engraver.resetOptions()
    assert engraver.loadData(text)
    path.write_bytes(base64.b64decode(engraver.renderToMIDI()))
    return sorted((n.onset, n.end, n.pitch) for n in read_midi(path).notes)


def one_by_one(*spans, track=0, **about):
    """A song of (pitch, duration) one after another; None is a rest."""
    notes, time = [], Fraction(0)
    for pitch, duration in spans:
        if pitch is not None:
            notes.append(PlayedNote(time, time + Fraction(duration), pitch, 64, track))
        time += Fraction(duration)
    return Song(tuple(notes), **about)


def random_song(seed, meter):
    """Two hands of chords and rests, in values down to 32nds or in triplets, over the whole keyboard."""
    dice = random.Random(seed)
    notes = []
    for pitches in (range(60, 109), range(21, 59)):
        time = Fraction(0)
        while time < 12:
            lengths = TRIPLETS if time.denominator in (3, 6) or dice.random() < 0.3 else STRAIGHT
            length = dice.choice(lengths)
            notes += [PlayedNote(time, time + length, p, 64, 0) for p in dice.sample(pitches, dice.randint(0, 3))]
            time += length
            if dice.random() < 0.5 and (time * 3).denominator == 1:
                time = Fraction(-(-time // 1))
    return Song(tuple(sorted(notes, key=lambda n: (n.onset, n.pitch))), (meter,), keys=(Key(Fraction(0), dice.randint(-6, 6)),))


@pytest.mark.parametrize("meter", METERS)
def test_a_score_plays_the_notes_of_its_song(meter, tmp_path):
    for seed in range(8):
        song = random_song(seed, METERS[meter])
        for staves in ("auto", "grand"):
            score = arrange(song, staves)
            assert played(to_musicxml(score), tmp_path / "x.mid") == sorted((n.onset, n.end, n.pitch) for n in song.notes)


def values(song):
    """Type, dots and ties of the notes and rests of a song with one voice."""
    root = plain_xml(to_musicxml(arrange(song)))
    return [
        note.findtext("type", "") + "." * len(note.findall("dot")) + "~" * any(t.get("type") == "start" for t in note.iter("tie"))
        for note in root.iter("note")
    ]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(72, 1), (72, "1/2"), (72, "5/2")], ["quarter", "eighth", "eighth~", "half"]),
        ([(72, 1), (72, 3), (72, "3/2"), (72, "5/2")], ["quarter", "half.", "quarter.", "eighth~", "half"]),
        ([(72, 3), (72, 2), (72, 3)], ["half.", "quarter~", "quarter", "half."]),
        ([(72, "1/2"), (72, 1), (72, "1/2"), (72, 2)], ["eighth", "quarter", "eighth", "half"]),
        ([(72, "3/2"), (72, 1), (72, "3/2")], ["quarter.", "eighth~", "eighth", "eighth~", "quarter"]),  # the middle is seen
        ([(72, "1/4"), (72, "1/2"), (72, "1/4"), (72, 3)], ["16th", "eighth", "16th", "half."]),
        ([(72, "9/4"), (72, "7/4")], ["half~", "16th", "eighth.~", "quarter"]),
        ([(72, "1/3"), (72, "2/3"), (72, 3)], ["eighth", "quarter", "half."]),
        ([(None, 1), (72, "1/2"), (None, "5/2")], ["quarter", "eighth", "eighth", "half"]),
    ],
)  # fmt: skip
def test_durations_are_written_so_that_beats_are_seen(spans, expected):
    assert values(one_by_one(*spans)) == expected


def test_triplets_have_one_bracket_over_what_belongs_together():
    song = one_by_one(
        *[(72, "1/3")] * 3, (72, 1), *[(72, "2/3")] * 3, *[(72, "4/3")] * 3, (72, "1/2"), *[(72, "1/6")] * 3, (72, 3)
    )
    root = plain_xml(to_musicxml(arrange(song)))
    brackets = [[bracket.get("type") for bracket in note.iter("tuplet")] for note in root.iter("note")]
    triplet = [["start"], [], ["stop"]]
    assert brackets == [*triplet, [], *triplet, *triplet, [], *triplet, []]
    ratios = [note.find("time-modification") is not None for note in root.iter("note")]
    assert ratios == [*[True] * 3, False, *[True] * 6, False, *[True] * 3, False]


def test_beams_join_flags_within_a_beat():
    song = one_by_one((72, "1/2"), (72, "1/4"), (72, "1/4"), (72, "3/4"), (72, "1/4"), (72, "1/2"), (None, "1/2"), (72, 1))
    root = plain_xml(to_musicxml(arrange(song)))
    beams = [" ".join(beam.text for beam in note.iter("beam")) for note in root.iter("note")]
    assert beams == ["begin", "continue begin", "end end", "begin", "end backward hook", "", "", ""]


def test_accidentals_are_printed_where_the_measure_needs_them():
    song = one_by_one(*[(p, 1) for p in (66, 65, 66, 65)], (66, 5), (66, 1), keys=(Key(Fraction(0), 1),))
    root = plain_xml(to_musicxml(arrange(song)))
    marks = [note.findtext("accidental", "") for note in root.iter("note")]
    assert marks == ["", "natural", "sharp", "natural", "", "", "", "", ""][: len(marks)] and len(marks) >= 7


def test_keys_and_meters_stand_where_they_change():
    keys = Key(Fraction(0), 0), Key(Fraction(4), 4), Key(Fraction(10), -3, minor=True)
    song = one_by_one((60, 4), (64, 6), (63, 3), meters=(METERS["4/4"], replace(METERS["3/4"], onset=Fraction(4))), keys=keys)
    root = plain_xml(to_musicxml(arrange(song)))
    found = [
        (measure.get("number"), key.findtext("fifths"), measure.findtext("attributes/time/beats"))
        for measure in root.iter("measure")
        for key in measure.iter("key")
    ]
    assert found == [("1", "0", "4"), ("2", "4", "3"), ("4", "-3", None)]


def test_a_score_says_who_plays_how_fast(tmp_path):
    song = one_by_one((72, 4), tracks=(Track(0, "Flöte & Co", 73),), title="A < B", bpm=96.0)
    root = ET.fromstring(to_musicxml(arrange(song)))
    assert root.findtext("work/work-title") == "A < B" and root.findtext("part-list/score-part/part-name") == "Flöte & Co"
    assert root.find("part/measure/direction/sound").get("tempo") == "96"
    assert root.findtext("part/measure/barline/bar-style") == "light-heavy"


def test_every_tempo_is_printed_and_sounds_where_it_begins():
    changes = Tempo(Fraction(8), 60.0), Tempo(Fraction(21, 2), 140.0), Tempo(Fraction(13), 140.4), Tempo(Fraction(14), 90.0)
    song = one_by_one(*[(72, 1)] * 16, bpm=100.0, tempo_changes=changes, tracks=(Track(0), Track(1)))
    song = replace(song, notes=(*song.notes, *(replace(note, track=1) for note in song.notes)))
    text = to_musicxml(arrange(song, "staff"))
    root = plain_xml(text)
    marks, sounds = [], []
    for part in root.iter("part"):
        for number, measure in enumerate(part.iter("measure")):
            for sound in measure.iter("sound"):
                sounds.append((4 * number + int(sound.findtext("offset", "0")) / 48, float(sound.get("tempo"))))
            for direction in measure.iter("direction"):
                place = 4 * number + int(direction.findtext("offset", "0")) / 48
                marks.append((place, direction.findtext("direction-type/metronome/per-minute")))
    assert marks == [(0, "100"), (8, "60"), (10.5, "140"), (14, "90")]
    assert sounds == [(0, 100), (8, 60), (10.5, 140), (13, 140.4), (14, 90)]
    assert "".join(engrave_pages(text)).count("\u2669") == 4


def test_a_tempo_that_changes_with_every_beat_is_printed_once_it_has_settled():
    beats = [(0, 100.0), (4, 104.0), (5, 97.0), (8, 90.0), (9, 80.0), (10, 70.0), (11, 60.0), (13, 101.0), (14, 99.0)]
    tempos = tuple(Tempo(Fraction(onset), bpm) for onset, bpm in beats)
    song = one_by_one(*[(72, 1)] * 16, bpm=100.0, tempo_changes=tempos[1:])
    found = tempos_of(arrange(song))
    assert [tempo for tempo, _ in found] == list(tempos)
    assert [tempo.onset for tempo, printed in found if printed] == [0, 11, 13]


@pytest.mark.parametrize(("tracks", "millimetres"), [(1, 6.5), (3, 5.0), (12, 4.0)])
def test_staves_are_as_high_as_players_are_used_to(tracks, millimetres):
    notes = tuple(PlayedNote(Fraction(k), Fraction(k + 1), 72, 64, track) for k in range(8) for track in range(tracks))
    song = Song(notes, tracks=tuple(Track(k, f"Part {k}", 73) for k in range(tracks)))
    (page,) = engrave_pages(to_musicxml(arrange(song)))
    high = int(re.findall(r'viewBox="0 0 \d+ (\d+)"', page)[-1])
    lines = [int(y) for y in re.findall(r'<path d="M\d+ (\d+) L\d+ \1"', page)]
    assert abs((lines[4] - lines[0]) * 297 / high - millimetres) < 0.1
    assert max(lines) < high - 24 * high / 297


def test_parts_without_a_name_have_that_of_their_instrument_and_hands_are_one_part():
    names = [("Piano right", 0), ("Piano left", 0), ("", 73), ("", None)]
    tracks = tuple(Track(k, *each) for k, each in enumerate(names))
    notes = tuple(PlayedNote(Fraction(0), Fraction(4), 72 - 12 * (k == 1), 64, k) for k in range(4))
    root = ET.fromstring(to_musicxml(arrange(Song(notes, tracks=tracks))))
    assert [each.text for each in root.iter("part-name")] == ["Piano", "Flute", None]
    assert [each.text for each in root.iter("staves")] == ["2"]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (("Violin I", "Violin II", "Viola", "Violoncello"), ("Vln. I", "Vln. II", "Vla.", "Vc.")),
        (("1st Violins", "Violin 2", "Double Bass", "Cello"), ("1st Vln.", "Vln. 2", "Db.", "Vc.")),
        (("Flute1", "Alto Saxophone", "Horn in F", "Bass Guitar"), ("Fl. 1", "A. Sax.", "Hn. in F", "B. Gtr.")),
        (("Vl. I", "Vl. II", "Lead IV", "Lead VI", "Pad"), ("Vl. I", "Vl. II", "L IV", "L VI", "Pad")),
        (
            ("Melody", "Melodica", "Shamisen", "Left Track", "Late Theme"),
            ("Melody", "Melodica", "Sham.", "Left Track", "Late Theme"),
        ),
        (("Violin", "Vln.", "Violin"), ("Violin", "Vln.", "Violin")),
    ],
)
def test_short_names_of_parts_are_the_usual_ones_and_differ_where_the_names_do(names, short):
    tracks = tuple(Track(k, name, 73) for k, name in enumerate(names))
    notes = tuple(PlayedNote(Fraction(0), Fraction(4), 72, 64, k) for k in range(len(names)))
    root = ET.fromstring(to_musicxml(arrange(Song(notes, tracks=tracks))))
    assert tuple(each.text for each in root.iter("part-name")) == names
    assert tuple(each.text for each in root.iter("part-abbreviation")) == short


def test_pages_are_a4_at_print_resolution(tmp_path):
    text = to_musicxml(arrange(one_by_one(*[(60 + k % 20, "1/2") for k in range(2400)])))
    assert write_score(tmp_path / "x.png", text) == len(list(tmp_path.glob("x*.png"))) > 1
    with Image.open(tmp_path / "x.png") as page:
        assert page.size == (2480, 3508) and page.getextrema() == (0, 255)
    assert write_score(tmp_path / "x.pdf", text) == (tmp_path / "x.pdf").read_bytes().count(b"/Type /Page\n")
    assert write_score(tmp_path / "x.musicxml", text) == 0 and (tmp_path / "x.musicxml").read_text() == text
    assert write_score(tmp_path / "x.svg", text) > 1 and (tmp_path / "x-2.svg").read_text().lstrip().startswith("<")
    with pytest.raises(ConfigError, match=r"x\.doc: a score is written as \.musicxml, \.svg, \.png or \.pdf, found \.doc"):
        write_score(tmp_path / "x.doc", text)


def test_a_quantized_song_is_what_is_printed(tmp_path):
    dice = random.Random(0)
    exact = one_by_one(*[(60 + k % 12, length) for k, length in enumerate(["1", "1/2", "1/2", "2", "1/4", "1/4", "3/2"] * 4)])
    moved = tuple(
        replace(n, onset=max(n.onset + Fraction(dice.randint(-1, 1), 24), Fraction(0)), end=n.end - Fraction(1, 12))
        for n in exact.notes
    )
    found = quantize(replace(exact, notes=moved))
    assert [(n.onset, n.end) for n in found.song.notes] == [(n.onset, n.end) for n in exact.notes]
    assert played(to_musicxml(arrange(found.song)), tmp_path / "x.mid") == sorted((n.onset, n.end, n.pitch) for n in exact.notes)


def test_a_title_stands_in_the_middle_of_its_page(tmp_path):
    song = one_by_one((72, 4), title="A title of some length")
    write_score(tmp_path / "x.png", to_musicxml(arrange(song)))
    with Image.open(tmp_path / "x.png") as page:
        title = np.asarray(page)[:230] < 128
    columns = np.flatnonzero(title.any(0))
    assert abs(columns.min() + columns.max() - page.width) < 40 and columns.max() - columns.min() > 200


@pytest.mark.parametrize("words", [8, 14, 40])
def test_a_long_title_is_fitted_into_its_page(words, tmp_path):
    song = one_by_one((72, 4), title=" ".join(["<title>"] * words))
    write_score(tmp_path / "x.png", to_musicxml(arrange(song)))
    with Image.open(tmp_path / "x.png") as page:
        title = np.asarray(page)[:230] < 128
    columns = np.flatnonzero(title.any(0))
    assert columns.min() > 100 and columns.max() < page.width - 100


def test_letters_that_no_font_has_are_found():
    assert missing_letters("Für Élise ♪ \U0010fffd\U000f1234") == ["\U0010fffd", "\U000f1234"]


@pytest.mark.parametrize(("pitch", "place", "printed"), [(103, "above", 6), (101, "above", 6), (21, "below", 1)])
def test_an_octave_sign_says_which_way_it_goes(pitch, place, printed):
    song = Song(tuple(PlayedNote(Fraction(k), Fraction(k + 1), each, 64, 0) for k, each in enumerate([60] * 4 + [pitch] * 12)))
    engraver = verovio_toolkit()
    engraver.resetOptions()
    assert engraver.loadData(to_musicxml(arrange(song, "grand")))
    mei = plain_xml(engraver.getMEI())
    assert [(sign.get("dis"), sign.get("dis.place")) for sign in mei.iter("octave")] == [("8", place)]
    octaves = {(note.get("oct"), note.get("oct.ges")) for note in mei.iter("note")} - {("4", None)}
    assert octaves == {(str(printed), str(pitch // 12 - 1))}

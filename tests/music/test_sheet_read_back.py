"""Pages that `diptych music sheet` engraves, with titles and names of parts, are read back by the translator that ships."""

import xml.etree.ElementTree as ET
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diptych.cli import main
from diptych.music.midi import Meter, PlayedNote, Song, Track, midi_bytes, read_midi

SCALE = [69, 71, 73, 74, 76, 73, 68, 69]  # A B C# D E C# G# A, in quarters


def written(tmp_path, title, fifths, *parts):
    """The MIDI file of a song of quarters in 4/4, a named part for each list of pitches."""
    notes = [
        PlayedNote(Fraction(k), Fraction(k + 1), p, 64, n) for n, (_, pitches) in enumerate(parts) for k, p in enumerate(pitches)
    ]
    tracks = tuple(Track(number, name) for number, (name, _) in enumerate(parts))
    path = tmp_path / f"{title}.mid"
    path.write_bytes(
        midi_bytes(Song(tuple(sorted(notes, key=lambda n: (n.onset, n.pitch))), (Meter(),), fifths, tracks=tracks), 100)
    )
    return path


def read_back(tmp_path, path):
    page, back = tmp_path / "page.png", tmp_path / "back.mid"
    assert main(["music", "sheet", str(path), "--layout", "staff", "--out", str(page)]) == 0
    assert main(["music", "read", str(page), "--out", str(back)]) == 0
    return sorted((note.onset, note.pitch) for note in read_midi(back).notes)


@pytest.mark.parametrize(("fifths", "shift"), [(3, 0), (4, 7), (-3, 6)])
def test_the_key_beside_a_parts_name_is_read_and_no_letter_of_the_title_becomes_a_note(tmp_path, fifths, shift):
    pitches = [pitch + shift for pitch in SCALE]
    found = read_back(tmp_path, written(tmp_path, "k E", fifths, ("Tune", pitches)))
    assert found == [(k, pitch) for k, pitch in enumerate(pitches)]


def test_three_named_parts_are_one_system(tmp_path):
    parts = ("Flute", [p + 12 for p in SCALE]), ("Clarinet", SCALE), ("Cello", [p - 24 for p in SCALE])
    found = read_back(tmp_path, written(tmp_path, "band", 3, *parts))
    assert found == sorted((k, pitch) for _, pitches in parts for k, pitch in enumerate(pitches))


def test_noise_is_no_music(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (1000, 800), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert main(["music", "read", str(tmp_path / "noise.png"), "--out", str(tmp_path / "noise.mid")]) == 2
    assert not (tmp_path / "noise.mid").exists() and "error: " in capsys.readouterr().err


def scores(tmp_path, path):
    """The score of a MIDI file, and the score that is read from its page."""
    engraved, page, read = (tmp_path / name for name in ("engraved.musicxml", "page.png", "read.musicxml"))
    for out in (engraved, page):
        assert main(["music", "sheet", str(path), "--layout", "staff", "--out", str(out)]) == 0
    assert main(["music", "read", str(page), "--out", str(read)]) == 0
    return ET.parse(engraved).getroot(), ET.parse(read).getroot()


def printed(score):
    """The clefs of a score in their order with their measures, and the names of its notes."""
    parts = []
    for part in score.iter("part"):
        clefs = [
            (int(m.get("number")), clef.findtext("sign"), clef.findtext("line"), clef.findtext("clef-octave-change"))
            for m in part.iter("measure")
            for clef in m.iter("clef")
        ]
        names = [tuple(pitch.findtext(tag, "0") for tag in ("step", "alter", "octave")) for pitch in part.iter("pitch")]
        parts.append((clefs, names))
    return parts


def test_a_read_score_keeps_its_clefs(tmp_path):
    low, high = [57, 60, 59, 57, 55, 53, 52, 50], [76, 79, 81, 83, 84, 83, 81, 79]
    engraved, read = map(printed, scores(tmp_path, written(tmp_path, "clefs", 0, ("Viola", low * 4 + high * 4))))
    assert read == engraved
    assert [clef[1:3] for clef in read[0][0]] == [("C", "3"), ("G", "2")]


def test_a_read_score_keeps_the_names_of_its_notes(tmp_path):
    path = written(tmp_path, "names", -6, ("Voice", [66, 71, 70, 68, 66, 65, 59 + 12, 73]))
    engraved, read = map(printed, scores(tmp_path, path))
    assert read == engraved
    assert ("C", "-1", "5") in read[0][1]  # C flat, not B


def test_letters_of_a_title_are_no_clefs(tmp_path):
    pitches = [61, 63, 65, 66, 68, 70, 72, 73] * 2
    assert read_back(tmp_path, written(tmp_path, "My key", 7, ("Voice", pitches))) == list(enumerate(pitches))

"""Pages that `diptych music sheet` engraves, with titles and names of parts, are read back by the translator that ships."""

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

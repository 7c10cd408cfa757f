"""The HTML page of a score: what its embedded files contain."""

import base64
import io
import re
from fractions import Fraction

import mido
import numpy as np

from diptych.music.evaluate import Example
from diptych.music.listening import BPM, write_page
from diptych.music.notes import Note, System


def test_the_midi_files_of_a_page_play_as_fast_as_its_sound(tmp_path):
    system = System(("G2",), 0, (Fraction(2),), 6, (Note(Fraction(0), 0, 34, 0, Fraction(1)),))
    pixels = np.zeros((64, 320, 3), np.uint8)
    write_page(tmp_path / "page.html", "title", "facts", [], [Example("name", pixels, pixels, pixels, system, system, None)])
    files = re.findall(r"data:audio/midi;base64,([^\"]+)", (tmp_path / "page.html").read_text())
    for each in files:
        midi = mido.MidiFile(file=io.BytesIO(base64.b64decode(each)))
        assert [round(mido.tempo2bpm(m.tempo)) for m in midi.tracks[0] if m.type == "set_tempo"] == [BPM]
    assert len(files) == 2

"""MIDI files become systems and come back: the same notes, meters and velocities."""

from fractions import Fraction

import mido
import pytest

from diptych.errors import DataError
from diptych.music.layout import Layout
from diptych.music.midi import Meter, Played, Song, key_of, midi_bytes, read_midi, spell, systems, to_song
from diptych.music.notes import LETTERS, midi_pitch
from diptych.music.pages import stacked, unstacked

METERS = Meter(length=Fraction(3)), Meter(length=Fraction(3), beat=Fraction(3, 2))  # 3/4 and 6/8


def song(seed=0, staves=1):
    """Some notes on a sixteenth grid, no pitch twice at once."""
    import random

    dice = random.Random(seed)
    notes = []
    for staff in range(staves):
        time = Fraction(0)
        while time < 20:
            length = Fraction(dice.choice([1, 2, 3, 4, 8]), 4)
            for pitch in dice.sample(range(62, 80) if not staff else range(40, 58), dice.randint(0, 2)):
                notes.append(Played(time, time + length, pitch, dice.randint(1, 127), staff))
            time += length
    return Song(tuple(sorted(notes, key=lambda n: (n.onset, n.pitch))), (METERS[seed % 2],), None, 90.0)


def file(path, song_):
    path.write_bytes(midi_bytes(song_))
    return path


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 4), Layout(2, 8)], ids=str)
def test_midi_to_roll_and_back_is_exact(layout, tmp_path):
    for seed in range(20):
        before = read_midi(file(tmp_path / "x.mid", song(seed, layout.staves)))
        picture = stacked(systems(before, layout), layout)
        after = to_song(unstacked(picture, layout))
        kept = [sorted((n.onset, n.end, n.pitch, n.velocity) for n in each.notes) for each in (before, after)]
        assert kept[0] == kept[1]
        assert read_midi(file(tmp_path / "y.mid", after)).meters == before.meters


def test_a_note_over_many_systems_comes_back_as_one_and_a_repeated_one_as_two():
    notes = Played(Fraction(0), Fraction(60), 64, 80, 0), Played(Fraction(0), Fraction(20), 72, 80, 0)
    notes += (Played(Fraction(20), Fraction(40), 72, 80, 0), Played(Fraction(60), Fraction(61), 64, 80, 0))
    layout = Layout()
    found = systems(Song(notes), layout)
    assert len(found) > 4 and sum(note.held for system in found for note in system.notes) > 4
    back = to_song(unstacked(stacked(found, layout), layout))
    assert back.notes == tuple(sorted(notes, key=lambda n: (n.onset, n.pitch)))


def test_every_pitch_has_a_name_in_every_key():
    for fifths in range(-7, 8):
        for pitch in range(128):
            step, alter = spell(pitch, fifths)
            assert midi_pitch(step, alter) == pitch and abs(alter) <= 1


@pytest.mark.parametrize(
    ("pitch", "fifths", "name"),
    [(66, 1, "f+1"), (66, -5, "g-1"), (70, 0, "b-1"), (70, 5, "a+1"), (61, 2, "c+1"), (63, 0, "e-1"), (60, 0, "c+0")],
)
def test_spelling_follows_the_key(pitch, fifths, name):
    step, alter = spell(pitch, fifths)
    assert f"{LETTERS[step % 7]}{alter:+d}" == name


def test_the_key_is_found_from_what_sounds():
    scale = [Played(Fraction(k), Fraction(k + 1), pitch, 64, 0) for k, pitch in enumerate([62, 64, 66, 67, 69, 71, 73, 74])]
    assert key_of(scale) == 2


def bad(tmp_path, name):
    path = tmp_path / f"{name}.mid"
    midi = mido.MidiFile()
    track = mido.MidiTrack()
    if name == "drums":
        track.append(mido.Message("note_on", channel=9, note=40, velocity=90, time=0))
    elif name == "tracks":
        midi.tracks.extend(mido.MidiTrack() for _ in range(10_000))
    midi.tracks.append(track)
    midi.save(path)
    if name == "text":
        path.write_text("no MIDI at all")
    elif name == "torn":
        path.write_bytes(midi_bytes(song())[:60])
    elif name == "huge":
        path.write_bytes(bytes(17_000_000))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "holds no notes"), ("drums", "holds percussion alone"), ("tracks", "10,001 tracks, at most 256"),
        ("text", "no MIDI file"),
        ("torn", "damaged or no MIDI file|cannot be read"), ("huge", "17,000,000 bytes, at most"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(name, message, tmp_path):
    path = bad(tmp_path, name)
    with pytest.raises(DataError, match=message) as caught:
        read_midi(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_note_that_no_staff_holds_is_refused_with_what_helps():
    low = Song((Played(Fraction(0), Fraction(1), 20, 64, 0), Played(Fraction(1), Fraction(2), 90, 64, 0)))
    with pytest.raises(DataError, match=r"the note 20 at quarter 0 stands \d+ steps from the middle of its staff, at most 15"):
        systems(low, Layout())


def test_rests_between_notes_keep_their_time_through_a_roll():
    far = Song(tuple(Played(Fraction(t), Fraction(t + 1), 72, 64, 0) for t in (0, 40)))
    back = to_song(unstacked(stacked(systems(far, Layout()), Layout()), Layout()))
    assert [note.onset for note in back.notes] == [0, 40]


def test_a_note_held_over_many_systems_is_in_each_of_them():
    long = Song((Played(Fraction(0), Fraction(40), 72, 64, 0), Played(Fraction(20), Fraction(21), 65, 64, 0)))
    found = systems(long, Layout())
    assert len(found) > 3 and all(any(note.midi == 72 for note in system.notes) for system in found)


def test_a_meter_of_nothing_and_a_song_without_end_are_no_trap(tmp_path):
    midi, track = mido.MidiFile(ticks_per_beat=1), mido.MidiTrack()
    midi.tracks.append(track)
    track.append(mido.MetaMessage("time_signature", numerator=0, denominator=4))
    track.append(mido.Message("note_on", note=70, velocity=90, time=0))
    track.append(mido.Message("note_off", note=70, time=4))
    midi.save(tmp_path / "zero.mid")
    assert len(systems(read_midi(tmp_path / "zero.mid"), Layout())) == 1
    track[-1].time = 2**27
    midi.save(tmp_path / "long.mid")
    with pytest.raises(DataError, match=r"long\.mid: lasts 134,217,728 quarters, at most 20,000 are read"):
        read_midi(tmp_path / "long.mid")

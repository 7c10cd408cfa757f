"""MIDI files become systems and come back with the same notes, meters and velocities."""

import io
import os
import time
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise

import mido
import pytest

from diptych.errors import ConfigError, DataError
from diptych.music.layout import Layout
from diptych.music.midi import Key, Meter, PlayedNote, Song, Tempo, Track, choose_tracks, midi_bytes, read_midi, signature_of
from diptych.music.pages import stacked, unstacked
from diptych.music.staves import measures_of, to_song, to_systems

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
                notes.append(PlayedNote(time, time + length, pitch, dice.randint(1, 127), staff))
            time += length
    return Song(tuple(sorted(notes, key=lambda n: (n.onset, n.pitch))), (METERS[seed % 2],))


def file(path, song_):
    path.write_bytes(midi_bytes(song_))
    return path


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(2, 4), Layout(2, 8)], ids=str)
def test_midi_to_roll_and_back_is_exact(layout, tmp_path):
    for seed in range(20):
        before = read_midi(file(tmp_path / "x.mid", song(seed, layout.staves)))
        picture = stacked(to_systems(before, layout), layout)
        after = to_song(unstacked(picture, layout))
        kept = [sorted((n.onset, n.end, n.pitch, n.velocity) for n in each.notes) for each in (before, after)]
        assert kept[0] == kept[1]
        assert read_midi(file(tmp_path / "y.mid", after)).meters == before.meters


def test_a_note_over_many_systems_comes_back_as_one_and_a_repeated_one_as_two():
    notes = PlayedNote(Fraction(0), Fraction(60), 64, 80, 0), PlayedNote(Fraction(0), Fraction(20), 72, 80, 0)
    notes += (PlayedNote(Fraction(20), Fraction(40), 72, 80, 0), PlayedNote(Fraction(60), Fraction(61), 64, 80, 0))
    layout = Layout()
    found = to_systems(Song(notes), layout)
    assert len(found) > 4 and sum(note.continued for system in found for note in system.notes) > 4
    back = to_song(unstacked(stacked(found, layout), layout))
    assert back.notes == tuple(sorted(notes, key=lambda n: (n.onset, n.pitch)))


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
    elif name == "nothing":
        path.write_bytes(b"")
    elif name == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif name == "bytes":
        path.write_bytes(midi_bytes(song())[:14] + b"no track")
    elif name == "huge":
        path.write_bytes(bytes(17_000_000))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "holds no notes"), ("drums", "holds only percussion"), ("tracks", "10,001 tracks, at most 256"),
        ("text", "is no MIDI file, which begins with MThd"), ("nothing", "is empty"),
        ("torn", "ends too early, after 60 bytes"), ("huge", "17,000,000 bytes, more than 16,000,000"),
        ("pipe", r"cannot be read \(is a pipe, socket or device, not a file\)"), ("bytes", "is a damaged MIDI file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line(name, message, tmp_path):
    path = bad(tmp_path, name)
    with pytest.raises(DataError, match=message) as caught:
        read_midi(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_note_that_no_staff_holds_is_refused_with_what_helps():
    low = Song((PlayedNote(Fraction(0), Fraction(1), 20, 64, 0), PlayedNote(Fraction(1), Fraction(2), 90, 64, 0)))
    rule = "the note 90 at quarter 1 stands 23 steps from the middle of its staff, at most 15 .* engrave it"
    with pytest.raises(DataError, match=rule):
        to_systems(low, Layout())


def test_a_note_that_no_staff_holds_under_its_other_name_is_refused():
    high = Song(tuple(PlayedNote(Fraction(0), Fraction(1), pitch, 64, 0) for pitch in (96, 97)), fifths=0)
    with pytest.raises(DataError, match="the note 97 at quarter 0 stands 16 steps from the middle of its staff, at most 15"):
        to_systems(high, Layout())


def test_two_tracks_have_a_staff_each_also_where_they_cross():
    spans = [(0, 60, 0), (0, 55, 1), (1, 62, 0), (1, 64, 1)]
    song_ = Song(tuple(PlayedNote(Fraction(t), Fraction(t + 1), pitch, 64, track) for t, pitch, track in spans))
    (system,) = to_systems(song_, Layout(2))
    assert [(note.onset, note.staff, note.midi) for note in system.notes] == [(0, 0, 60), (0, 1, 55), (1, 0, 62), (1, 1, 64)]


def test_rests_between_notes_keep_their_time_through_a_roll():
    far = Song(tuple(PlayedNote(Fraction(t), Fraction(t + 1), 72, 64, 0) for t in (0, 40)))
    back = to_song(unstacked(stacked(to_systems(far, Layout()), Layout()), Layout()))
    assert [note.onset for note in back.notes] == [0, 40]


def test_a_note_held_over_many_systems_is_in_each_of_them():
    long = Song((PlayedNote(Fraction(0), Fraction(40), 72, 64, 0), PlayedNote(Fraction(20), Fraction(21), 65, 64, 0)))
    found = to_systems(long, Layout())
    assert len(found) > 3 and all(any(note.midi == 72 for note in system.notes) for system in found)


def saved(path, *tracks, kind=1, ppq=24):
    """A MIDI file; a track is (tick, message) in any order of types, by mido."""
    midi = mido.MidiFile(type=kind, ticks_per_beat=ppq)
    for messages in tracks:
        track, time = mido.MidiTrack(), 0
        for ticks, message in messages:
            track.append(message.copy(time=ticks - time))
            time = ticks
        midi.tracks.append(track)
    midi.save(path)
    return path


def on(pitch, channel=0, velocity=90):
    return mido.Message("note_on", note=pitch, channel=channel, velocity=velocity)


def off(pitch, channel=0):
    return mido.Message("note_off", note=pitch, channel=channel)


def meter(numerator, denominator):
    return mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)


A, B = 69, 71


@pytest.mark.parametrize(
    ("messages", "spans"),
    [
        ([(0, on(A)), (24, on(A)), (24, off(A)), (48, off(A))], [(0, 1, A), (1, 2, A)]),  # the new note comes before the old ends
        ([(0, on(A)), (24, off(A)), (24, on(A)), (48, off(A))], [(0, 1, A), (1, 2, A)]),
        ([(0, on(A)), (24, on(A)), (48, off(A)), (96, off(A))], [(0, 2, A), (1, 4, A)]),
        ([(0, on(A)), (24, on(A, velocity=0)), (48, off(A))], [(0, 1, A)]),  # what ends nothing is nothing
        ([(0, on(A)), (0, on(A, 1)), (24, off(A, 1)), (48, off(A))], [(0, 1, A), (0, 2, A)]),  # two channels of type 0
        ([(0, on(A)), (24, on(B)), (48, off(B))], [(0, 2, A), (1, 2, B)]),  # no note-off
        ([(0, on(A)), (24, on(B)), (48, off(B)), (96, mido.MetaMessage("end_of_track"))], [(0, 4, A), (1, 2, B)]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [0, 1])
def test_every_note_on_is_a_note_and_the_oldest_ends_first(kind, messages, spans, tmp_path):
    song_ = read_midi(saved(tmp_path / "x.mid", messages, kind=kind))
    assert sorted((n.onset, n.end, n.pitch) for n in song_.notes) == spans


def test_overlaps_of_one_pitch_are_written_and_read_again(tmp_path):
    notes = tuple(PlayedNote(Fraction(a), Fraction(b), A, 64, 0) for a, b in [(0, 2), (1, 4), (4, 5)])
    assert read_midi(file(tmp_path / "x.mid", Song(notes))).notes == tuple(replace(n, track=1) for n in notes)


def test_a_file_of_several_songs_is_refused(tmp_path):
    track = [(0, on(A)), (24, off(A))]
    assert len(read_midi(saved(tmp_path / "one.mid", track, kind=2)).notes) == 1
    with pytest.raises(
        DataError, match=r"two\.mid: holds several songs, 2 tracks of MIDI type 2, and one can be read; export one"
    ):
        read_midi(saved(tmp_path / "two.mid", track, track, kind=2))


def test_no_tempo_hinders(tmp_path):
    track = [(0, mido.MetaMessage("set_tempo", tempo=0)), (0, on(A)), (24, off(A))]
    assert len(read_midi(saved(tmp_path / "x.mid", track)).notes) == 1


def test_every_tempo_stands_where_it_begins(tmp_path):
    def tempo(bpm):
        return mido.MetaMessage("set_tempo", tempo=round(60e6 / bpm))

    notes = [(0, on(A)), (1200, off(A))]
    found = read_midi(
        saved(tmp_path / "x.mid", [(0, tempo(100)), (192, tempo(60)), (480, tempo(60))], [*notes, (1200, tempo(150))])
    )
    assert (found.bpm, found.tempo_changes) == (100, (Tempo(Fraction(8), 60), Tempo(Fraction(50), 150)))
    late = read_midi(saved(tmp_path / "y.mid", [(192, tempo(60)), (192, tempo(50))], notes))  # 120 until then, which no file says
    assert (late.bpm, late.tempo_changes) == (None, (Tempo(Fraction(8), 50),))


def test_meters_keys_and_tempos_of_a_file_come_back_from_it(tmp_path):
    meters = Meter(beat=Fraction(2), unit=2), Meter(Fraction(8), Fraction(3, 2), Fraction(3, 4), 16), Meter(Fraction(11), unit=4)
    changes = Tempo(Fraction(3), 60.0), Tempo(Fraction(8), 125.0)
    before = replace(song(), meters=meters, keys=(Key(Fraction(0), 2, minor=True),), fifths=2, bpm=100.0, tempo_changes=changes)
    after = read_midi(file(tmp_path / "x.mid", before))
    assert [(m.onset, *signature_of(m)) for m in after.meters] == [(0, 2, 2), (8, 6, 16), (11, 4, 4)]
    assert (after.bpm, after.tempo_changes, after.keys) == (100, changes, before.keys)


def test_a_tempo_is_written_where_one_is_known():
    def tempos(data):
        return [m.tempo for m in mido.MidiFile(file=io.BytesIO(data)).tracks[0] if m.type == "set_tempo"]

    assert tempos(midi_bytes(song())) == [] and tempos(midi_bytes(song(), 96)) == [625_000]


@pytest.mark.parametrize(("numerator", "denominator"), [(1, 2**30), (3, 2**100), (1, 64), (0, 4)])
def test_a_meter_off_the_grid_is_none(numerator, denominator, tmp_path):
    path = saved(tmp_path / "x.mid", [(0, meter(3, 4)), (72, meter(numerator, denominator))], [(0, on(A)), (144, off(A))])
    song_ = read_midi(path)
    assert song_.meters == (Meter(length=Fraction(3)),)
    assert [system.measures for system in to_systems(song_, Layout())] == [(3, 3)]


def test_a_meter_of_any_unit_comes_back_from_a_roll(tmp_path):
    meters = [(7, 16), (5, 8), (12, 8), (2, 2), (1, 32), (9, 8), (3, 4)]
    starts = list(accumulate((2 * 96 * count // unit for count, unit in meters), initial=0))  # two measures of each
    changes = [(start, meter(*each)) for start, each in zip(starts, meters, strict=False)]
    notes = [event for a, b in pairwise(starts) for event in ((a, on(A)), (b, off(A)))]
    before = read_midi(saved(tmp_path / "x.mid", changes, notes))
    after = to_song(unstacked(stacked(to_systems(before, Layout()), Layout()), Layout()))
    kept = read_midi(file(tmp_path / "y.mid", after))
    assert [kept.meters, after.meters] == [before.meters, before.meters] and len(kept.notes) == len(meters)


def test_a_meter_for_each_measure_takes_no_longer(tmp_path):
    num, seconds = 2000, []
    for changes in ([], [(96 * k, meter(*((4, 4), (8, 8))[k % 2])) for k in range(num)]):
        song_ = read_midi(saved(tmp_path / "x.mid", changes, [(0, on(A)), (96 * num, off(A))]))
        started = time.process_time()
        assert sum(len(system.measures) for system in to_systems(song_, Layout())) == num
        seconds.append(time.process_time() - started)
    assert seconds[1] < 2 * seconds[0]


def test_a_meter_of_nothing_and_a_song_without_end_are_no_trap(tmp_path):
    midi, track = mido.MidiFile(ticks_per_beat=1), mido.MidiTrack()
    midi.tracks.append(track)
    track.append(mido.MetaMessage("time_signature", numerator=0, denominator=4))
    track.append(mido.Message("note_on", note=70, velocity=90, time=0))
    track.append(mido.Message("note_off", note=70, time=4))
    midi.save(tmp_path / "zero.mid")
    assert len(to_systems(read_midi(tmp_path / "zero.mid"), Layout())) == 1
    track[-1].time = 2**27
    midi.save(tmp_path / "long.mid")
    with pytest.raises(DataError, match=r"long\.mid: lasts 134,217,728 quarters, at most 20,000 are read"):
        read_midi(tmp_path / "long.mid")


def test_tracks_have_names_programs_and_numbers_and_percussion_is_counted(tmp_path):
    name, drums = mido.MetaMessage("track_name", name="  Flute \x00 1\x1b "), [(0, on(40, 9)), (24, off(40, 9)), (24, on(41, 9))]
    path = saved(
        tmp_path / "x.mid",
        [(0, mido.MetaMessage("track_name", name="Title")), (0, mido.MetaMessage("set_tempo", tempo=625_000))],
        [(0, name), (0, mido.Message("program_change", program=73)), (0, on(A)), (24, off(A))],
        drums,
        [
            (0, on(A, 2)),
            (0, on(B, 3)),
            (0, mido.Message("program_change", channel=3, program=40)),
            (24, off(A, 2)),
            (24, off(B, 3)),
        ],
    )
    song_ = read_midi(path)
    assert song_.tracks == (Track(1, "Flute 1", 73), Track(3), Track(6, "", 40))
    assert [(n.pitch, n.track) for n in song_.notes] == [(A, 1), (A, 3), (B, 6)]
    assert (song_.percussion, song_.title, song_.bpm) == (2, "Title", 96)
    assert choose_tracks(song_, ["2", "flute 1"]).tracks == song_.tracks[:2]
    assert [n.pitch for n in choose_tracks(song_, ["3"]).notes] == [B]
    with pytest.raises(ConfigError, match="there is no pitched track 'Oboe'; choose from 1 Flute 1, 2, 3, by number or by name"):
        choose_tracks(song_, ["1", "Oboe"])


def test_percussion_that_is_asked_for_is_called_so(tmp_path):
    named = [(0, mido.MetaMessage("track_name", name=name)) for name in ("Flute", "Drums")]
    tune = [(0, mido.Message("note_on", note=A)), (24, mido.Message("note_off", note=A))]
    drums = [(0, mido.Message("note_on", channel=9, note=40)), (24, mido.Message("note_off", channel=9, note=40))]
    song_ = read_midi(saved(tmp_path / "x.mid", [named[0], *tune], [named[1], *drums]))
    with pytest.raises(ConfigError, match="'drums' is percussion, which has no pitches; choose from 1 Flute, by number"):
        choose_tracks(song_, ["drums"])


@pytest.mark.parametrize("staves", [1, 2])
def test_no_layout_is_advised_that_was_chosen(staves):
    apart = Song(tuple(PlayedNote(Fraction(0), Fraction(1), pitch, 64, 0) for pitch in (0, 5, 120, 127)))
    with pytest.raises(DataError, match="which has no limit") as raised:
        to_systems(apart, Layout(staves))
    assert ("choose --layout grand" in str(raised.value)) == (staves == 1)


@pytest.mark.parametrize(
    ("tracks", "title", "names"),
    [
        ([("Prelude in D", [60])], "Prelude in D", [""]),  # the only track's name is that of the piece
        ([("Grand Piano", [60])], "", ["Grand Piano"]),  # unless it is an instrument's
        ([("Prelude", []), ("Oboe", [60])], "Prelude", ["Oboe"]),
        ([("control track", []), ("Oboe", [60])], "", ["Oboe"]),
        ([("Oboe", [60]), ("Song", [60])], "", ["Oboe", "Song"]),
        ([("\u97f3\u8f68", [60])], "\u97f3\u8f68", [""]),  # written as UTF-8
    ],
)
def test_the_first_track_gives_the_title_where_it_names_no_part(tracks, title, names, tmp_path):
    raw = [
        [(0, mido.MetaMessage("track_name", name=name.encode().decode("latin-1"))), *((0, on(p)) for p in pitches)]
        for name, pitches in tracks
    ]
    song_ = read_midi(saved(tmp_path / "x.mid", *([*track, (96, mido.MetaMessage("marker", text="end"))] for track in raw)))
    assert (song_.title, [track.name for track in song_.tracks]) == (title, names)


def test_every_key_stands_where_it_begins(tmp_path):
    keys = [(k * 96, mido.MetaMessage("key_signature", key=key)) for k, key in enumerate(("C", "E", "Cm"))]
    song_ = read_midi(saved(tmp_path / "x.mid", keys, [(0, on(A)), (288, off(A))]))
    assert song_.keys == (Key(Fraction(0), 0), Key(Fraction(4), 4), Key(Fraction(8), -3, minor=True)) and song_.fifths == 0


def test_a_meter_that_begins_in_a_measure_ends_it(tmp_path):
    path = saved(tmp_path / "x.mid", [(0, meter(4, 4)), (144, meter(3, 4))], [(0, on(A)), (288, off(A))])
    assert [start for start, *_ in measures_of(read_midi(path))] == [0, 4, 6, 9]
    assert [m for system in to_systems(read_midi(path), Layout()) for m in system.measures] == [4, 2, 3, 3]


def test_a_system_takes_the_clef_that_reaches_its_notes(tmp_path):
    pitches = [*[84] * 8, *[28] * 8, *[96] * 4, *[26] * 4]  # over five octaves, treble clef by their mean
    wide = Song(tuple(PlayedNote(Fraction(k), Fraction(k + 1), pitch, 64, 0) for k, pitch in enumerate(pitches)), fifths=0)
    for layout in (Layout(), Layout(1, 8)):
        found = to_systems(wide, layout)
        assert [(system.clefs, len(system.measures)) for system in found] == [
            (("G2",), 2), (("F4",), 2), (("G2",), 1), (("F4",), 1),
        ]  # fmt: skip
        assert to_song(unstacked(stacked(found, layout), layout)).notes == wide.notes


def test_every_key_and_meter_comes_back_from_a_roll(tmp_path):
    signs = [(0, meter(2, 2)), (0, KEYS[0]), (384, meter(6, 16)), (384, KEYS[1]), (456, meter(5, 8)), (576, KEYS[2])]
    played = [each for k in range(0, 732, 12) for each in ((k, on(A)), (k + 12, off(A)))]
    before = read_midi(saved(tmp_path / "x.mid", signs, played))
    layout = Layout()
    (tmp_path / "back.mid").write_bytes(midi_bytes(to_song(unstacked(stacked(to_systems(before, layout), layout), layout))))
    after = read_midi(tmp_path / "back.mid")
    assert [signature_of(m) for m in after.meters] == [signature_of(m) for m in before.meters] == [(2, 2), (6, 16), (5, 8)]
    assert [m.onset for m in after.meters] == [m.onset for m in before.meters]
    assert [(k.onset, k.fifths) for k in after.keys] == [(0, 0), (16, 4), (24, -3)]


KEYS = [mido.MetaMessage("key_signature", key=key) for key in ("C", "E", "Cm")]


def fine(path, *spans):
    """A file of 96 ticks a quarter, with notes a semitone apart at these ticks."""
    midi, track, time_ = mido.MidiFile(ticks_per_beat=96), mido.MidiTrack(), 0
    midi.tracks.append(track)
    events = [each for k, (a, b) in enumerate(spans) for each in ((b, 0, off(60 + k)), (a, 1, on(60 + k)))]
    for ticks, _, message in sorted(events, key=lambda each: each[:2]):
        track.append(message.copy(time=ticks - time_))
        time_ = ticks
    midi.save(path)
    return path


@pytest.mark.parametrize("grid", [24, 48])
def test_short_notes_keep_their_place_and_end(grid, tmp_path):
    step = 96 // grid
    found = read_midi(fine(tmp_path / "x.mid", *((k * step, (k + 1) * step) for k in range(8))), grid)
    assert [(n.onset, n.end) for n in found.notes] == [(Fraction(k, grid), Fraction(k + 1, grid)) for k in range(8)]
    assert found.moved == 0


def test_an_end_that_is_rounded_counts_as_moved(tmp_path):
    assert read_midi(fine(tmp_path / "x.mid", (0, 97), (96, 192))).moved == 1


def test_names_programs_and_the_title_are_written(tmp_path):
    notes = (PlayedNote(Fraction(0), Fraction(1), 60, 64, 0), PlayedNote(Fraction(0), Fraction(1), 48, 64, 1))
    tracks = (Track(0, "Oboe", 68), Track(1, "Left hand"))
    path = tmp_path / "named.mid"
    path.write_bytes(midi_bytes(Song(notes, title="Aria", tracks=tracks)))
    file = mido.MidiFile(path)
    assert [track.name for track in file.tracks] == ["Aria", "Oboe", "Left hand"]
    assert [m.program for track in file.tracks for m in track if m.type == "program_change"] == [68]
    read = read_midi(path)
    assert read.title == "Aria" and [(t.name, t.program) for t in read.tracks] == [("Oboe", 68), ("Left hand", None)]

"""Performances are told from scores, and their beats and bars are found from the notes."""

import re
from dataclasses import replace
from fractions import Fraction

import mir_eval
import numpy as np
import pytest

from diptych.music.beat_tracking import find_beats
from diptych.music.mei import plain_xml
from diptych.music.midi import Key, Meter, PlayedNote, Song, Tempo, midi_bytes
from diptych.music.performances import agreement, bar_performance, is_performance
from diptych.music.quantize import quantize
from diptych.music.staves import measures_of
from tests.cli.pictures import diptych

# Onsets and lengths of a melody in quarters, bar by bar; the left hand has a bass on each downbeat and chords on the other beats.
MELODIES = {
    (3, 1): [(0, 1), (1, Fraction(1, 2)), (Fraction(3, 2), Fraction(1, 2)), (2, 1)],
    (4, 1): [(0, 2), (2, Fraction(1, 2)), (Fraction(5, 2), Fraction(1, 2)), (3, 1)],
    (3, Fraction(3, 2)): [(Fraction(k, 2), Fraction(1, 2)) for k in (0, 1, 2)] + [(Fraction(3, 2), Fraction(3, 2))],
}


def waltz(length, beat, bars=12, pickup=0):
    """A song that is written on exact note values, for two hands in one track, and its beats in quarters."""
    notes = []
    for bar in range(bars):
        start = pickup + bar * length
        for k, (onset, duration) in enumerate(MELODIES[length, beat]):
            notes.append((start + onset, duration, 72 + (0, 2, 4, 7)[(bar + k) % 4]))
        notes.append((start, length, 41 + (0, 5, 7, 0)[bar % 4]))
        for k in range(1, int(length / beat)):
            notes += [(start + k * beat, beat, pitch + bar % 3) for pitch in (57, 60)]
    if pickup:
        notes.append((Fraction(0), pickup, 71))
    played = [PlayedNote(Fraction(a), Fraction(a + d), pitch, 64, 0) for a, d, pitch in sorted(notes)]
    beats = np.arange(float(pickup % beat), float(pickup + bars * length), float(beat))
    return Song(tuple(played), (Meter(Fraction(0), Fraction(length), Fraction(beat)),)), beats


def perform(song, bpm, seed, jitter=0.02, rubato=0.15, gate=0.9):
    """Play a song by a clock of 120 quarters per minute: a tempo that comes and goes, jitter, and notes that end early.

    Return it with a function from written quarters to seconds.
    """
    rng = np.random.default_rng(seed)
    written = np.arange(0, 400, 0.25)
    curve = 1 + rubato * np.sin(2 * np.pi * (written / 14 + rng.uniform()))
    seconds = 1 + np.cumsum(15 / bpm * curve) - 15 / bpm * curve[0]

    def clock(quarters):
        return np.interp(quarters, written, seconds)

    notes = []
    for note in song.notes:
        onset = clock(float(note.onset)) + rng.normal(0, jitter)
        end = onset + gate * (clock(float(note.end)) - clock(float(note.onset)))
        a, b = (Fraction(round(time * 2 * 48), 48) for time in (onset, end))
        notes.append(replace(note, onset=a, end=max(b, a + Fraction(1, 48))))
    order = sorted(range(len(notes)), key=lambda k: (notes[k].onset, notes[k].pitch))
    return Song(tuple(notes[k] for k in order), bpm=120.0), clock, order


@pytest.mark.parametrize(("length", "beat"), [(3, 1), (4, 1), (3, Fraction(3, 2))])
def test_beats_and_meter_of_a_performance_are_found(length, beat):
    song, beats = waltz(length, beat)
    played, clock, _ = perform(song, 92 * float(beat), 0)
    found = find_beats(played.notes, 0.5)
    assert (found.per_bar, found.compound) == (length / beat, beat != 1)
    times = np.array(found.times)
    inside = times[(times > clock(0) - 0.1) & (times < clock(beats[-1]) + 0.1)]
    assert mir_eval.beat.f_measure(clock(beats), inside, f_measure_threshold=0.07) > 0.97
    downbeats = times[(np.arange(len(times)) + found.first) % found.per_bar == 0]
    assert all(np.abs(downbeats - clock(bar * length)).min() < 0.07 for bar in range(12))


@pytest.mark.parametrize("pickup", [0, 1])
def test_notes_of_a_performance_come_to_their_bars(pickup):
    song, _ = waltz(3, 1, pickup=pickup)
    played, _, order = perform(song, 92, 0)
    barred = bar_performance(played)
    assert 85 < barred.bpm < 99 and barred.meter.length == 3
    found = quantize(barred.song).song
    assert [length for _, length, _ in measures_of(found)] == [pickup] * (pickup > 0) + [3] * 12
    written = sorted((song.notes[k].onset, song.notes[k].pitch) for k in order)
    assert len(set(written) & {(note.onset, note.pitch) for note in found.notes}) >= 0.95 * len(written)


def test_scores_are_no_performances_and_performances_are():
    song, _ = waltz(3, 1)
    assert agreement([float(note.onset) for note in song.notes]) == pytest.approx(1)
    assert not is_performance(song)
    loose = [replace(n, onset=n.onset + Fraction(int(k), 48)) for n, k in zip(song.notes, jitter(len(song.notes)), strict=True)]
    assert not is_performance(Song(tuple(loose)))  # a click was heard
    assert is_performance(perform(song, 92, 0)[0])
    assert not is_performance(Song(perform(song, 92, 0)[0].notes[:20]))  # too short to tell


def jitter(count):
    return np.random.default_rng(0).normal(0, 2, count).round()  # about 20 ms at 120 quarters per minute


def random_notes(seconds):
    rng = np.random.default_rng(0)
    count = round(2.2 * seconds)
    times = np.sort(rng.integers(0, seconds * 48, count))
    notes = [PlayedNote(Fraction(int(t), 48), Fraction(int(t) + 12, 48), 40 + k * 7 % 41, 64, 0) for k, t in enumerate(times)]
    return Song(tuple(sorted(notes, key=lambda note: (note.onset, note.pitch))), bpm=60.0)


def test_notes_at_random_have_no_beat():
    song = random_notes(40)
    assert is_performance(song) and bar_performance(song) is None


def test_keys_of_a_performance_keep_their_place():
    song, _ = waltz(3, 1)
    played, clock, _ = perform(song, 92, 0)
    change = Fraction(round(clock(24) * 2 * 48), 48)  # the ninth bar
    keys, tempos = (Key(Fraction(0), 0), Key(change, 2)), (Tempo(change, 60.0),)
    barred = bar_performance(replace(played, keys=keys, tempo_changes=tempos))
    assert barred.song.tempo_changes == ()  # of beats that are no longer there
    assert [round(float(key.onset)) for key in barred.song.keys] == [0, 24]


def test_the_command_says_what_it_found(tmp_path, capsys):
    played = perform(waltz(3, 1, bars=9)[0], 92, 0)[0]
    (tmp_path / "waltz.mid").write_bytes(midi_bytes(played, 120.0))
    assert diptych("music", "sheet", tmp_path / "waltz.mid", "--out", tmp_path / "waltz.musicxml") == 0
    said = re.search(r"bars of 3/4 were found from its notes, at about (\d+) quarters per minute", capsys.readouterr().err)
    assert 85 < int(said[1]) < 99
    measures = plain_xml((tmp_path / "waltz.musicxml").read_text()).findall("part/measure")
    assert len(measures) == 9 and measures[0].findtext("attributes/time/beats") == "3"
    (tmp_path / "random.mid").write_bytes(midi_bytes(random_notes(30), 60.0))
    assert diptych("music", "sheet", tmp_path / "random.mid", "--out", tmp_path / "random.musicxml") == 0
    assert "no steady beat was found; bars and note values follow the file's clock" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "random.musicxml").read_text().count("<pitch>") >= 65

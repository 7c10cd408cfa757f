"""Played times become note values, and what moves is counted."""

import random
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest

from diptych.music.midi import Meter, PlayedNote, Song
from diptych.music.quantize import count_unwritten, quantize

LENGTHS = [Fraction(each) for each in ("1", "1/2", "1/2", "3/2", "1/2", "1/4", "1/4", "1/2", "1/3", "1/3", "1/3", "1", "2")]
SIX_EIGHT = Meter(length=Fraction(3), beat=Fraction(3, 2), unit=8)


def song(shares=1, shifts=0, lengths=LENGTHS, meter=None):
    """A melody whose notes sound for a share of their lengths, on the grid, and begin some 24ths of a quarter off."""
    starts = list(accumulate(lengths, initial=Fraction(0)))
    notes = []
    for k, (start, end) in enumerate(pairwise(starts)):
        onset = max(start + Fraction(shifts and (-1) ** k * shifts, 24), Fraction(0))
        sounding = max(Fraction(round((end - start) * Fraction(shares) * 24), 24), Fraction(1, 8))
        notes.append(PlayedNote(onset, onset + sounding, 60 + k, 64, 0))
    return Song(tuple(notes), (meter or Meter(),))


def spans(song_):
    return [(n.onset, n.end) for n in song_.notes]


def test_exact_note_values_stay():
    rests = replace(song(), notes=song().notes[::2])
    for exact in (song(), rests):
        assert quantize(exact).song == exact and quantize(exact).ends_moved == 0


@pytest.mark.parametrize("share", ["0.95", "0.9", "0.8", "0.6"])
def test_notes_that_end_early_are_printed_up_to_the_next(share):
    found = quantize(song(share))
    assert spans(found.song)[:-1] == spans(song())[:-1] and found.onsets_moved == 0


@pytest.mark.parametrize("meter", [Meter(), SIX_EIGHT])
def test_onsets_a_little_off_come_to_the_beat(meter):
    lengths = [Fraction(each) for each in ("1/2", "1/2", "1/2", "1", "1/2", "3/2", "1/4", "1/4", "1/2", "1/2", "3")]
    assert spans(quantize(song("0.95", 1, lengths, meter)).song)[:-1] == spans(song(1, 0, lengths, meter))[:-1]


def test_rests_stay_where_notes_are_played_in_full():
    eighths = replace(song(), notes=tuple(PlayedNote(Fraction(k), k + Fraction(11, 24), 60, 64, 0) for k in range(8)))
    whole = PlayedNote(Fraction(8), Fraction(12) - Fraction(1, 24), 60, 64, 0)
    full = tuple(PlayedNote(12 + Fraction(k, 2), 12 + Fraction(k + 1, 2), 60, 64, 0) for k in range(12))
    found = quantize(replace(eighths, notes=(*eighths.notes, whole, *full)))
    assert spans(found.song)[:9] == [*((k, k + Fraction(1, 2)) for k in range(8)), (8, 12)]


def test_a_little_overlap_is_no_chord_and_a_large_one_stays():
    notes = [(0, Fraction(13, 12), 60), (1, Fraction(49, 24), 62), (2, 4, 64), (3, 4, 67)]
    found = quantize(Song(tuple(PlayedNote(Fraction(a), Fraction(b), pitch, 64, 0) for a, b, pitch in notes)))
    assert spans(found.song) == [(0, 1), (1, 2), (2, 4), (3, 4)]
    sharp = Fraction(3, 8)  # a dotted sixteenth, which no rounding to sixteenths would give
    notes = [(0, sharp + Fraction(1, 24), 60), (sharp, 1, 62), (1, 2, 64)]
    found = quantize(Song(tuple(PlayedNote(Fraction(a), Fraction(b), pitch, 64, 0) for a, b, pitch in notes)))
    assert spans(found.song) == [(0, sharp), (sharp, 1), (1, 2)]


def test_an_end_is_no_finer_than_the_onsets_around_it():
    bass = [PlayedNote(Fraction(k), k + Fraction(9, 24), 40, 64, 0) for k in range(4)]  # eighths, played short
    right = [PlayedNote(Fraction(k, 4), Fraction(k, 4) + Fraction(5, 24), 72, 64, 0) for k in range(16)]
    found = quantize(Song(tuple(sorted([*bass, *right], key=lambda n: (n.onset, n.pitch))))).song
    assert [note.end - note.onset for note in found.notes if note.pitch == 40] == [Fraction(1, 2)] * 4


def test_ends_on_triplets_are_a_way_of_playing_where_no_onset_is_on_one():
    def ends(*onsets):
        return spans(quantize(Song(tuple(PlayedNote(Fraction(k), k + Fraction(1, 3), 60, 64, 0) for k in onsets))).song)

    assert ends(0, 2) == [(0, Fraction(1, 2)), (2, Fraction(5, 2))]
    assert ends(0, Fraction(1, 3), 2) == [(0, Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3)), (2, Fraction(5, 2))]


def test_a_performance_becomes_plain_values_whose_onsets_scatter():
    dice = random.Random(0)
    chords = [(Fraction(k, 2), pitch) for k in range(64) for pitch in (60, 64, 67)]
    played = [(max(onset + Fraction(round(dice.gauss(0, 2)), 48), Fraction(0)), onset, pitch) for onset, pitch in chords]
    notes = tuple(PlayedNote(at, at + Fraction(1, 2), pitch, 64, 0) for at, _, pitch in sorted(played))
    true = [onset for _, onset, _ in sorted(played)]

    def right(performed):
        found = quantize(Song(notes), performed=performed).song.notes
        return sum(a.onset == b for a, b in zip(sorted(found, key=lambda n: n.onset), sorted(true), strict=True)) / len(true)

    assert right(performed=True) > 0.97 > 0.9 > right(performed=False)


def test_a_beat_is_divided_no_finer_than_it_must():
    late = song("0.95", 2, [Fraction(1)] * 8)  # every other quarter comes a twelfth late, the others a twelfth early
    assert [n.onset for n in quantize(late).song.notes] == list(range(8))


def test_what_moves_by_more_than_a_twelfth_is_counted():
    found = quantize(song("0.8"))  # a quarter ends 0.2 early, an eighth 1/12
    assert (found.onsets_moved, found.ends_moved) == (0, sum(length >= 1 for length in LENGTHS)) == (0, 4)


@pytest.mark.parametrize(("parts", "unwritten"), [(5, 20), (7, 28), (6, 0), (8, 0)])
def test_notes_in_quintuplets_and_septuplets_are_counted(parts, unwritten):
    notes = [
        PlayedNote(Fraction(k * 480 // parts, 480), Fraction((k + 1) * 480 // parts, 480), 60, 64, 0) for k in range(4 * parts)
    ]
    long = PlayedNote(Fraction(4), Fraction(8), 72, 64, 0)
    assert count_unwritten(Song((*notes, long))) == unwritten


def test_loose_playing_is_no_quintuplet():
    draw = random.Random(0)
    lengths = [Fraction(1, 4)] * 400
    starts = accumulate(lengths, initial=Fraction(0))
    onsets = sorted(max(Fraction(0), start + Fraction(round(draw.gauss(0, 20)), 960)) for start in starts)
    notes = tuple(PlayedNote(a, b, 60, 64, 0) for a, b in pairwise(onsets) if a < b)
    assert count_unwritten(Song(notes)) <= 0.02 * len(notes)

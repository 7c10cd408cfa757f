"""Pitches are spelled by their key, and notes that sound together stand on different steps."""

import random
from fractions import Fraction
from itertools import pairwise, product

import pytest

from diptych.errors import DataError
from diptych.music.layout import Layout
from diptych.music.midi import Key, PlayedNote, Song
from diptych.music.notes import LETTERS, midi_pitch
from diptych.music.pages import stacked, unstacked
from diptych.music.spelling import estimate_key, spell, spell_notes
from diptych.music.staves import count_changed, to_song, to_systems


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
    scale = [PlayedNote(Fraction(k), Fraction(k + 1), pitch, 64, 0) for k, pitch in enumerate([62, 64, 66, 67, 69, 71, 73, 74])]
    assert estimate_key(scale) == 2


def song(*spans, fifths=0):
    """Notes of (onset, end, pitch)."""
    return Song(tuple(PlayedNote(Fraction(a), Fraction(b), pitch, 64, 0) for a, b, pitch in sorted(spans)), fifths=fifths)


def spans(song_):
    return [(note.onset, note.end, note.pitch) for note in song_.notes]


def names(song_):
    (system,) = to_systems(song_, Layout())
    return [f"{LETTERS[note.step % 7]}{note.alter:+d}" for note in sorted(system.notes, key=lambda note: (note.onset, note.midi))]


def through_rolls(song_):
    layout = Layout()
    return to_song(unstacked(stacked(to_systems(song_, layout), layout), layout))


OVER = Fraction(1, 24)  # quarters that a player's legato overlaps


def test_legato_over_semitones_without_names_ends_the_note_before_the_next():
    legato = song((0, 1 + OVER, 67), (1, 2 + OVER, 68), (2, 3, 69))
    assert names(legato) == ["g+0", "a-1", "a+0"]
    assert spans(through_rolls(legato)) == [(0, 1 + OVER, 67), (1, 2, 68), (2, 3, 69)]
    assert count_changed(legato, to_systems(legato, Layout())) == (1, 0)


@pytest.mark.parametrize("onset", [20, 24])  # within a system, and where one begins
def test_a_note_that_is_ended_early_is_not_there_in_the_next_system(onset):
    long = song((0, 40, 67), (10, 60, 68), (onset, 60, 69), (0, 60, 80))
    found = to_systems(long, Layout())
    assert len(found) > 4 and all(note.duration > 0 for system in found for note in system.notes)
    assert spans(through_rolls(long)) == [(0, 40, 67), (0, 60, 80), (10, onset, 68), (onset, 60, 69)]


@pytest.mark.parametrize(
    ("pitches", "found"),
    [
        ((60, 61, 62), ["b+1", "c+1", "d+0"]),
        ((64, 65, 66), ["e+0", "f+0", "g-1"]),
        ((65, 66), ["f+0", "g-1"]),
        ((60, 62), ["c+0", "d+0"]),
    ],
)
def test_semitones_that_have_names_keep_their_time(pitches, found):
    chord = song(*((0, 1, pitch) for pitch in pitches))
    assert names(chord) == found
    arpeggio = song(*((k, 8, pitch) for k, pitch in enumerate(pitches)))
    for each in (chord, arpeggio):
        assert spans(through_rolls(each)) == spans(each)


def nameable(pitches):
    """Whether different pitches have names on different steps, by trying all names."""
    ways = [[step for step in range(75) for alter in (-1, 0, 1) if midi_pitch(step, alter) == pitch] for pitch in pitches]
    return any(len(set(steps)) == len(steps) for steps in product(*ways))


def test_a_chord_is_refused_where_no_names_are_left_and_nowhere_else():
    dice, refused = random.Random(0), 0
    for _ in range(150):
        pitches = dice.sample(range(64, 72), dice.randint(3, 6))
        chord = song(*((4, 5, pitch) for pitch in pitches), (0, 5, 70), fifths=dice.randint(-6, 6))
        try:
            assert {pitch for *_, pitch in spans(through_rolls(chord))} == {*pitches, 70}
            assert nameable(pitches)
        except DataError:
            refused += 1
            assert not nameable(pitches)
    assert 20 < refused < 130


def test_notes_that_cannot_be_named_are_refused_with_their_place():
    rule = r"the notes 67, 68 and 69 begin together at quarter 4\.5 and have no staff steps of their own; leave one of them out"
    with pytest.raises(DataError, match=rule):
        to_systems(song((0, 4, 60), *((Fraction(9, 2), 5, pitch) for pitch in (67, 68, 69, 74))), Layout())


def test_any_melody_can_be_played_legato():
    for seed in range(20):
        dice = random.Random(seed)
        times = sorted(dice.sample(range(1, 240), 60))
        melody = song(
            *((Fraction(a, 6), Fraction(b, 6) + dice.choice((OVER, 1, 3)), dice.randint(62, 74)) for a, b in pairwise(times)),
            fifths=dice.randint(-6, 6),
        )
        heard = to_song(to_systems(melody, Layout()))
        assert [(n.onset, n.pitch) for n in heard.notes] == [(n.onset, n.pitch) for n in melody.notes]
        assert all(after.end <= before.end for before, after in zip(melody.notes, heard.notes, strict=True))


@pytest.mark.parametrize(
    ("pitch", "fifths", "minor", "name"),
    [
        (68, 0, False, "g+1"), (71, -3, False, "b+0"), (71, -3, True, "b+0"),
        (63, 0, False, "e-1"), (63, 0, True, "d+1"), (66, 0, True, "f+1"),
    ],
)  # fmt: skip
def test_leading_notes_of_minor_keys_are_raised(pitch, fifths, minor, name):
    step, alter = spell(pitch, fifths, minor)
    assert f"{LETTERS[step % 7]}{alter:+d}" == name


def spelled(names_, fifths):
    """What a run of quarters with these names, such as f#4, is spelled as, given their pitches."""
    octaves = [midi_pitch(7 * int(name[-1]) + LETTERS.index(name[0]), name.count("#") - name[1:].count("b")) for name in names_]
    notes = [PlayedNote(Fraction(k), Fraction(k + 1), pitch, 64, 0) for k, pitch in enumerate(octaves)]
    marks = {0: "", 1: "#", 2: "##", -1: "b", -2: "bb"}
    found = spell_notes(notes, (Key(Fraction(0), fifths),), doubles=True)
    return [f"{LETTERS[step % 7]}{marks[alter]}{step // 7}" for step, alter in found]


@pytest.mark.parametrize(
    ("fifths", "music"),
    [
        (-3, "c4 d4 eb4 f4 g4 ab4 b4 c5 b4 c5 g4 eb4 d4 b3 c4"),  # C minor, whose key signature is that of E flat major
        (5, "g#4 a#4 b4 c#5 d#5 e5 f##5 g#5 f##5 g#5 d#5 b4 a#4 f##4 g#4"),  # G sharp minor
        (0, "a4 b4 c5 d5 e5 f5 g#5 a5 d#5 e5 c5 g#4 a4"),  # A minor, with the leading note of its fifth
        (4, "e4 f#4 g#4 a4 b4 c#5 d#5 e5 a#4 b4 e#4 f#4 e4"),
        (-5, "db4 eb4 f4 gb4 ab4 bb4 c5 db5 cb5 bb4 ab4 gb4 f4 eb4 db4"),
        (0, "c4 eb4 g4 c5 ab4 f4 c4 b3 d4 g4 c4 eb4 c4"),  # C minor without its key signature
    ],
)
def test_notes_are_spelled_by_what_sounds_around_them(fifths, music):
    assert spelled(music.split(), fifths) == music.split()

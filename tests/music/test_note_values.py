"""Notes of one staff and measure become voices, worked out by hand."""

from fractions import Fraction

from diptych.music.note_values import write_measure
from diptych.music.notes import Note, step_of


def note(name, onset, duration):
    return Note(Fraction(onset), 0, step_of(name[0], int(name[1])), 0, Fraction(duration))


def voices_of(*notes, length=4):
    """Names of the notes of each voice, the upper voice first."""
    given = {note(*each): each[0] for each in notes}
    written = write_measure(given, Fraction(0), Fraction(length), Fraction(1))
    return [[given[n] for event in voice for n in event.notes] for voice in written]


def test_a_melody_keeps_its_voice_where_the_accompaniment_comes_near_it():
    melody = [("c5", 0, 1), ("d5", 1, 1)]
    below = [("c4", 0, "1/2"), ("d5", "1/2", "1/2"), ("d4", 1, "1/2"), ("b4", "3/2", "1/2")]  # its d5 is the next of the melody
    assert voices_of(*melody, *below, length=2) == [["c5", "d5"], ["c4", "d5", "d4", "b4"]]


def test_a_voice_that_just_ended_goes_on_before_one_that_rested():
    assert voices_of(("e5", 0, 2), ("c4", 0, 1), ("d4", 2, 2)) == [["e5", "d4"], ["c4"]]

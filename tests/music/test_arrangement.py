"""Songs are arranged on staves: hands, clefs and octave signs, parts, and no note is out of range."""

from dataclasses import replace
from fractions import Fraction

import pytest

from diptych.errors import ConfigError
from diptych.music.arrangement import arrange, count_changed, count_out_of_key
from diptych.music.clefs import Placement, choose_clefs, usual_clefs
from diptych.music.hands import split_hands
from diptych.music.mei import plain_xml
from diptych.music.midi import Key, Meter, PlayedNote, Song, Track
from diptych.music.musicxml import to_musicxml
from diptych.music.notes import Note
from diptych.music.pickups import likely_pickup, with_pickup
from diptych.music.spelling import spell
from diptych.music.staves import measures_of


def chord(onset, *pitches, track=0, length=1):
    return [PlayedNote(Fraction(onset), Fraction(onset + length), pitch, 64, track) for pitch in sorted(pitches)]


def song(*chords, tracks=()):
    notes = sorted((note for each in chords for note in each), key=lambda n: (n.onset, n.pitch, n.track))
    return Song(tuple(notes), tracks=tuple(tracks))


def pitches(part):
    """The pitches on each staff of a part, each once."""
    return [sorted({note.midi for measure in staff for note in measure}) for staff in part.staves]


# --- hands ---


def test_hands_follow_the_music_over_middle_c():
    low, high = [48, 55, 60], [67, 72, 76]  # both hands go up by an octave, a semitone a chord, and down again
    shifts = [min(k, 24 - k) for k in range(24)]
    notes = [note for k, shift in enumerate(shifts) for note in chord(k, *(p + shift for p in low + high))]
    expected = [note.pitch - shifts[int(note.onset)] in low for note in notes]
    assert split_hands(notes) == expected
    assert [note.pitch < 60 for note in notes] != expected


def test_no_hand_spans_more_than_it_must():
    notes = chord(0, 40, 47, 52, 64, 68, 71)
    assert split_hands(notes) == [True, True, True, False, False, False]


def test_a_melody_alone_in_its_register_is_one_hand():
    assert split_hands([n for k, p in enumerate((72, 74, 76, 77, 79, 81)) for n in chord(k, p)]) == [False] * 6
    assert split_hands([n for k, p in enumerate((48, 50, 52, 53, 43, 41)) for n in chord(k, p)]) == [True] * 6


# --- clefs ---


def measures(*names):
    """A measure for each of some pitches by MIDI number."""
    return [[Note(Fraction(k), 0, *spell(pitch, 0), Fraction(1)) for pitch in each] for k, each in enumerate(names)]


G, F, G8, F8 = Placement("G2"), Placement("F4"), Placement("G2", 1), Placement("F4", -1)


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ([[60, 64, 67], [72, 76]], [G, G]),
        ([[72] * 4, [48] * 4, [45] * 4, [43] * 4, [72] * 4], [G, F, F, F, G]),
        ([[72] * 4, [57], [72] * 4], [G, G, G]),  # one low note is worth ledger lines, not a clef
        ([[76] * 4, [98] * 4, [100] * 4, [76] * 4], [G, G8, G8, G]),
        ([[43] * 4, [24] * 4, [22] * 4, [43] * 4], [F, F8, F8, F]),
        ([[72] * 4, [], [], [74] * 4], [G] * 4),
        ([[48, 50], [52]], [F, F]),  # a short piece too begins in the clef that it needs
        ([[57, 59, 60], [72] * 4, [74] * 4], [G, G, G]),  # a low beginning is no reason to change
    ],
)
def test_clefs_and_octave_signs_save_ledger_lines(music, expected):
    assert choose_clefs(measures(*music), ("G2", "F4")) == expected


def test_a_viola_reads_alto_clef_and_treble_when_high():
    assert [p.clef for p in choose_clefs(measures([55, 60], [60, 64], [84] * 4, [86] * 4), ("C3", "G2"))] == [
        "C3",
        "C3",
        "G2",
        "G2",
    ]


def test_no_instrument_reads_more_than_some_ledger_lines():
    high = measures([108, 110, 112], [108, 115], [110, 103])  # C8 has nine
    assert all(place.octaves > 0 for place in choose_clefs(high, ("G2", "F4"), octave_signs=False))
    violin = measures([88, 91, 93, 96], [96, 93])  # C7 has five, which a violinist reads
    assert [place.octaves for place in choose_clefs(violin, ("G2", "F4"), octave_signs=False)] == [0, 0]


def test_an_instrument_that_sounds_an_octave_away_has_octave_signs():
    low = [chord(k, pitch) for k, pitch in enumerate((28, 31, 33, 35, 36, 35, 33, 31, 28, 29, 26, 28))]
    bass, tuba = (arrange(song(*low, tracks=[Track(0, name, 58)])).parts[0] for name in ("Contrabass", "Tuba"))
    assert [place.octaves for place in bass.placements[0]] == [-1] * 3
    assert [place.octaves for place in tuba.placements[0]] == [0] * 3


def test_an_octave_sign_prints_notes_an_octave_nearer():
    c7 = Note(Fraction(0), 0, 49, 0, Fraction(1))
    assert [Placement("G2", octaves).position(c7) for octaves in (0, 1, 2)] == [15, 8, 1]
    assert Placement("F4", -1).position(Note(Fraction(0), 0, 7, 0, Fraction(1))) == -8


def test_every_pitch_of_midi_has_a_place():
    for pitch in range(128):
        score = arrange(song(chord(0, 60), chord(1, pitch), chord(2, 60)))
        assert sorted({60, pitch}) == sorted(p for part in score.parts for staff in pitches(part) for p in staff)


# --- parts ---


def test_each_track_is_a_part_in_its_clef():
    found = arrange(song(chord(0, 76), chord(0, 60, track=1), chord(0, 43, track=2), tracks=STRINGS))
    assert [part.name for part in found.parts] == ["Violin", "Viola", "Cello"]
    assert [[staff[0].clef for staff in part.placements] for part in found.parts] == [["G2"], ["C3"], ["F4"]]


def test_the_voices_of_a_choir_have_their_clefs_whatever_plays_them():
    names = ("Soprano", "Tenor 2", "Bass", "Tenor Saxophone", "Bass Clarinet")
    assert [usual_clefs(name, 52)[0] for name in names] == ["G2", "G2_8", "F4", "G2", "G2"]
    score = arrange(song(chord(0, 55), chord(1, 62), tracks=[Track(0, "Tenor", 52)]))
    assert "<clef-octave-change>-1<" in to_musicxml(score)


STRINGS = Track(0, "Violin", 40), Track(1, "Viola", 41), Track(2, "Cello", 42)
WIDE = [chord(k, 43, 50, 67, 71, 74) for k in range(8)]


@pytest.mark.parametrize(
    ("music", "tracks", "staves"),
    [
        (WIDE, [], [2]),  # no program: may be a keyboard
        (WIDE, [Track(0, "", 0)], [2]),
        (WIDE, [Track(0, "Guitar", 24)], [1]),
        ([chord(k, 60 + k) for k in range(12)], [Track(0, "", 0)], [1]),  # a melody needs one staff, whoever plays it
        ([chord(0, 72), chord(0, 48, track=1)], [Track(0), Track(1)], [2]),
        ([chord(0, 72), chord(0, 48, track=1)], [Track(0, "Flute", 73), Track(1, "Bassoon", 70)], [1, 1]),
        ([chord(0, 72), chord(0, 48, track=1), *WIDE], [Track(1, "Piano", 0), Track(0, "Piano", 0)], [2]),
        (
            [chord(0, 72, track=1), chord(0, 60, track=2), chord(0, 48, track=3)],
            [Track(1, "Voice", 52), Track(2, "Piano", 0), Track(3, "Piano", 0)],
            [1, 2],
        ),
        (
            [chord(0, 72, track=1), chord(0, 60, track=2), chord(0, 48, track=3)],
            [Track(1, "Voice", 52), Track(2, "Piano I", 0), Track(3, "Piano II", 0)],
            [1, 1, 1],
        ),
    ],
)
def test_staves_are_chosen_by_what_is_played(music, tracks, staves):
    found = arrange(song(*music, tracks=tracks))
    assert [len(part.staves) for part in found.parts] == staves
    assert sum(len(p) for part in found.parts for p in pitches(part)) >= len({n.pitch for each in music for n in each})


def test_staves_are_as_asked():
    assert [len(part.staves) for part in arrange(song(*WIDE), "staff").parts] == [1]
    assert [len(part.staves) for part in arrange(song(*WIDE, chord(0, 72, track=1)), "grand").parts] == [2]


def test_a_key_that_no_file_names_is_said_to_be_estimated():
    assert arrange(song(chord(0, 60))).estimated_key


VOICES, HEAD = (
    "a staff has 4 voices at most",
    "another begins with them on their pitch and staff, and one head stands for both",
)
VALUES = "no note values fit their times"


@pytest.mark.parametrize(("voices", "changed"), [(1, 0), (4, 0), (5, 1), (6, 2)])
def test_notes_that_no_voice_is_free_for_are_counted(voices, changed):
    held = [PlayedNote(Fraction(k, 2), Fraction(8), 60 + 3 * k, 64, 0) for k in range(voices)]  # over two measures
    assert count_changed(arrange(Song(tuple(held)), "staff")) == ({VOICES: changed} if changed else {})


@pytest.mark.parametrize(
    ("spans", "reasons"),
    [
        ([(k, k + 2) for k in range(8)], {}),  # overlaps of one pitch, never more than two at once
        ([(k // 2 * 4, k // 2 * 4 + 1 + k % 2) for k in range(12)], {HEAD: 6}),  # two begin together, of which one is longer
        ([(k // 2 * 4, k // 2 * 4 + 1) for k in range(4)], {HEAD: 2}),  # two of one length
        ([(Fraction(k), Fraction(k) + Fraction(1, 5)) for k in range(4)], {VALUES: 4}),
    ],
)
def test_a_length_that_cannot_be_printed_has_its_own_reason(spans, reasons):
    notes = tuple(PlayedNote(Fraction(start), Fraction(end), 60, 64, 0) for start, end in spans)
    assert count_changed(arrange(Song(notes), "staff")) == reasons


def test_notes_that_the_key_signature_does_not_give_are_counted():
    scale = song(*(chord(k, pitch) for k, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 66))))
    assert count_out_of_key(arrange(scale)) == 1
    assert count_out_of_key(arrange(replace(scale, keys=(Key(Fraction(0), 7),)))) == 5  # C, F and F sharp are in it


def test_notes_that_no_voice_is_free_for_end_once_and_are_not_struck_again(tmp_path):
    held = [PlayedNote(Fraction(k, 2), Fraction(12), 60 + 3 * k, 64, 0) for k in range(6)]  # six voices over three measures
    score = arrange(Song(tuple(held)), "staff")
    heads = sorted({(note.onset, note.midi) for staff in score.parts[0].staves for notes in staff for note in notes})
    assert heads == [(note.onset, note.pitch) for note in held] and score.shortened == 2
    played = plain_xml(to_musicxml(score))
    assert sum(note.find("pitch") is not None and note.find("tie[@type='stop']") is None for note in played.iter("note")) == 6


# --- pickups ---


def waltz(shift, bars=16):
    """A low long note and two chords a bar, which begins so many quarters after the file's."""
    bass = [chord(3 * k + shift, 40 + k % 5, length=3) for k in range(bars)]
    return replace(song(*bass, *(chord(3 * k + j + shift, 60, 64, 67) for k in range(bars) for j in (1, 2))), meters=(WALTZ,))


WALTZ = Meter(length=Fraction(3), unit=4)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_accents_say_where_bars_begin(shift):
    assert likely_pickup(waltz(shift)) == (shift or None)
    assert likely_pickup(waltz(shift, 6)) is None  # too few bars
    even = replace(song(*(chord(k, 60) for k in range(48))), meters=(WALTZ,))
    assert likely_pickup(even) is None


def test_a_song_begins_with_the_pickup_that_is_asked_for():
    measures = measures_of(with_pickup(waltz(1), Fraction(1)))
    assert [start for start, *_ in measures][:3] == [0, 1, 4]
    assert [m.whole for m in arrange(with_pickup(waltz(1), Fraction(1))).measures][:2] == [3, 3]
    eighths = replace(waltz(0), meters=(Meter(length=Fraction(3), beat=Fraction(3, 2), unit=8),))
    assert [start for start, *_ in measures_of(with_pickup(eighths, Fraction(1)))][:2] == [0, Fraction(1, 2)]
    for wrong in (Fraction(0), Fraction(3)):
        with pytest.raises(ConfigError, match=f"--pickup must be more than 0 and less than 3, .* of 3/4, found {wrong}"):
            with_pickup(waltz(0), wrong)
    changing = replace(waltz(0), meters=(WALTZ, Meter(Fraction(1), unit=4)))
    with pytest.raises(ConfigError, match="--pickup 2: the meter changes at quarter 1, within the pickup; leave it out"):
        with_pickup(changing, Fraction(2))


def test_of_more_notes_than_a_staff_can_show_an_even_choice_is_kept_and_the_others_are_counted():
    """98 notes at once, 40 times, took minutes to engrave, whose time grows with the square of a chord."""
    found = arrange(song(chord(0, *range(16, 114)), chord(1, *range(60, 76))), "staff")
    (staff,) = found.parts[0].staves
    assert sorted(note.midi for note in staff[0] if note.onset == 0) == [
        *(16, 22, 29, 35, 42, 48, 55, 61, 68, 74, 81, 87, 94, 100, 107, 113)  # every 97 / 15 semitones
    ]
    assert sorted(note.midi for note in staff[0] if note.onset == 1) == list(range(60, 76))
    assert found.thinned == 82
    assert count_changed(found)["more than 16 begin together on a staff, and so many of them are shown"] == 82

"""`diptych music`, each action as a user types it; a reader is trained for a moment on what was built."""

import base64
import io
import json
import os
import re
import wave
from fractions import Fraction
from itertools import accumulate, pairwise

import mido
import numpy as np
import pytest

from diptych.data.formats import read_pixels, write_pixels
from diptych.music.build import BuildConfig, assign_splits
from diptych.music.composers import composer_key
from diptych.music.listening import BPM, sound
from diptych.music.midi import PlayedNote, Song, midi_bytes, read_midi
from diptych.music.notes import Note, System
from tests.cli.pictures import diptych
from tests.music.songs import melody, mxl, score
from tests.music.test_midi import song


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    for k in range(8):
        (folder / f"work {k}.mxl").write_bytes(mxl(score(melody(k, 8, k % 3), composer=f"Anna {'abcdefgh'[k]}mann")))
    (folder / "broken.mxl").write_bytes(b"PK\x03\x04 and no more")
    return folder


@pytest.fixture(scope="module")
def built(scores, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "voice"
    assert diptych("music", "build", scores, "--out", out, "--jobs", 1, "--test", 0.25, "--val", 0.12) == 0
    return out


@pytest.fixture(scope="module")
def snapshots(built, tmp_path_factory):
    """A reader and a drawer, hardly trained."""
    out = tmp_path_factory.mktemp("runs")
    small = ["--method.ngf", 4, "--train.epochs", 1, "--train.decay_epochs", 0, "--previews", 0, "--validations", 0]
    for task, sides in (("read", ("sheet", "roll")), ("draw", ("roll", "sheet"))):
        folders = [built / side for side in sides]
        assert diptych("train", f"music-{task}", *folders, "--out", out / task, *small) == 0
    return {task: out / task / "snapshot.safetensors" for task in ("read", "draw")}


def test_a_build_has_pages_notes_and_counts(built, capsys):
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["works"] == {"test": 2, "train": 6, "val": 1}
    assert any("damaged" in reason for reason in manifest["left_out"])
    records = [json.loads(line) for line in (built / "notes.jsonl").read_text().splitlines()]
    assert len(records) == sum(manifest["systems"].values())
    composers = {}
    for record in records:
        assert composers.setdefault(record["composer"], record["split"]) == record["split"]
        page = read_pixels(built / "sheet" / record["split"] / record["page"])
        assert page.shape == (320, 320, 1) and (page < 128).any()
        assert read_pixels(built / "roll" / record["split"] / record["page"]).shape == (320, 320, 3)
    assert len({record["digest"] for record in records}) == len(records)


def test_the_same_command_goes_on_where_it_stopped(scores, built, tmp_path, capsys):
    words = ["music", "build", scores, "--out", tmp_path / "x", "--jobs", 1, "--test", 0.25, "--val", 0.12]
    assert diptych(*words) == 0
    works = (tmp_path / "x" / "works.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "x" / "works.jsonl").write_text("".join(works[:4]) + works[4][:20])  # killed while it wrote the fifth
    assert diptych(*words) == 0
    for name in ("works.jsonl", "manifest.json"):
        assert (tmp_path / "x" / name).read_text() == (built / name).read_text()
    notes = [sorted((folder / "notes.jsonl").read_text().splitlines()) for folder in (tmp_path / "x", built)]
    assert notes[0] == notes[1]
    capsys.readouterr()
    assert diptych(*words, "--space", 8) == 2
    assert "holds a build with other settings" in capsys.readouterr().err


def test_a_split_that_stays_empty_is_named_with_the_next_step(tmp_path, capsys):
    (tmp_path / "scores").mkdir()
    for k in range(2):  # of two works none is 0.15 or 0.05
        (tmp_path / "scores" / f"{k}.mxl").write_bytes(mxl(score(melody(k, 4), composer=f"Anna {'ab'[k]}mann")))
    assert diptych("music", "build", tmp_path / "scores", "--out", tmp_path / "x", "--jobs", 1, "--val", 0) == 0
    said = capsys.readouterr().out
    assert "test is empty: no work came to it; give more works, of more composers, or a larger share with --test" in said
    assert "val is empty" not in said  # it was not asked for


def test_two_processes_build_the_same(scores, built, tmp_path):
    assert diptych("music", "build", scores, "--out", tmp_path / "x", "--jobs", 2, "--test", 0.25, "--val", 0.12) == 0
    assert (tmp_path / "x" / "notes.jsonl").read_text() == (built / "notes.jsonl").read_text()


def test_composers_are_in_one_split_each_and_the_seed_chooses_them(scores):
    files = sorted(scores.glob("work*"))
    found = [{work.composer: work.split for work in assign_splits(files, BuildConfig(seed=seed, test=0.25))} for seed in range(6)]
    assert all(list(split.values()).count("test") == 2 for split in found)
    assert len({tuple(sorted(split.items())) for split in found}) > 1


def test_works_of_one_composer_are_split_each_by_itself(tmp_path):
    for k in range(8):
        (tmp_path / f"{k}.mxl").write_bytes(mxl(score(melody(k), composer="J. S. Bach")))
    splits = [work.split for work in assign_splits(sorted(tmp_path.iterdir()), BuildConfig(test=0.25, val=0.125))]
    assert (splits.count("test"), splits.count("val"), splits.count("train")) == (2, 1, 5)


@pytest.mark.parametrize(
    "names",
    [
        ("Johannes Brahms", "Brahms, Johannes", "Johannes Brahms (1833-1897)", "BRAHMS, J."),
        ("Augusta Mary Anne Holmès", "Holmès, Augusta", "Augusta Holmes"),
        ("Harry Thacker Burleigh", "H.T. Burleigh", "arranged by Harry Thacker Burleigh", "arr. Harry Burleigh [1866]"),
    ],
    ids=lambda names: names[0],
)
def test_a_composer_is_one_person_however_spelled(names):
    assert len({composer_key(name) for name in names}) == 1
    assert (
        composer_key("Clara Schumann") != composer_key("Robert Schumann")
        and composer_key("") == ""
        and composer_key("作曲者") == "作曲者"
    )


def test_the_truth_scores_one_and_baselines_little(built, capsys):
    assert diptych("music", "score", built, "--pred", built / "roll" / "test", "--json", built / "scores.json") == 0
    scores = json.loads((built / "scores.json").read_text())
    assert scores["f1"]["value"] == scores["recall_out_of_key"]["value"] == scores["perfect"]["value"] == 1.0
    for name, most in (("blank", 0.0), ("copy", 0.3), ("nearest", 0.9)):
        assert diptych("music", "score", built, "--baseline", name, "--json", built / "scores.json") == 0
        assert json.loads((built / "scores.json").read_text())["f1"]["value"] <= most
    assert diptych("music", "score", built, "--task", "draw", "--pred", built / "sheet" / "test", "--json", built / "h.json") == 0
    assert json.loads((built / "h.json").read_text())["heads_f1"]["value"] > 0.9
    assert "F1 of note heads" in capsys.readouterr().out


def test_the_page_of_a_score_shows_and_sounds(built, capsys):
    page = built.parent / "page.html"
    words = ["--pred", built / "roll" / "test", "--report", page, "--examples", 2]
    assert diptych("music", "score", built, *words) == 0 and f"report in {page}" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("<article") == 2 and text.count("data:image/png;base64,") == 6 and text.count(" no error") == 2
    sounds = [base64.b64decode(each) for each in re.findall(r"data:audio/wav;base64,([^\"]+)", text)]
    assert len(sounds) == 4 and "http" not in text.replace("http-equiv", "")
    with wave.open(io.BytesIO(sounds[0])) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.uint8).astype(float) - 128
        assert 1 < file.getnframes() / file.getframerate() < 30 and np.abs(samples).max() > 100
    midi = [base64.b64decode(each) for each in re.findall(r"data:audio/midi;base64,([^\"]+)", text)]
    assert len(midi) == 4 and all(each.startswith(b"MThd") for each in midi)


def test_a_system_sounds_at_its_pitches():
    notes = tuple(Note(Fraction(k), 0, step, 0, Fraction(1)) for k, step in enumerate((34, 35)))  # b4, c5
    with wave.open(io.BytesIO(sound(System(("G2",), 0, (Fraction(2),), 6, notes)))) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(10**6), np.uint8).astype(float) - 128
    beat = round(rate * 60 / BPM)
    for k, pitch in enumerate((493.9, 523.3)):
        power = np.abs(np.fft.rfft(samples[k * beat : (k + 1) * beat]))
        assert abs(np.argmax(power) * rate / beat - pitch) < 4


def test_free_sheets_and_rolls_are_of_different_composers_but_for_the_pairs(scores, tmp_path, capsys):
    words = ["music", "build", scores, "--jobs", 1, "--test", 0.25, "--val", 0.12]
    assert diptych(*words, "--out", tmp_path / "x", "--free", "--pairs", 1) == 0
    names = {kind: {path.name for path in (tmp_path / "x" / kind / "train").iterdir()} for kind in ("sheet", "roll")}
    both = {name.rsplit("-", 1)[0] for name in names["sheet"] & names["roll"]}
    assert len(both) == 1 and names["sheet"] - names["roll"] and names["roll"] - names["sheet"]
    records = [json.loads(line) for line in (tmp_path / "x" / "notes.jsonl").read_text().splitlines()]
    composers = [{r["composer"] for r in records if r["page"] in names[kind] and r["work"] not in both} for kind in names]
    assert not composers[0] & composers[1]
    assert diptych("music", "score", tmp_path / "x", "--baseline", "blank") == 0
    capsys.readouterr()
    assert diptych("music", "score", tmp_path / "x", "--baseline", "nearest") == 2
    assert "was built --free" in capsys.readouterr().err
    assert diptych(*words, "--out", tmp_path / "y", "--pairs", 1) == 2


def test_systems_of_one_clef_alone(scores, tmp_path, capsys):
    words = ["music", "build", scores, "--jobs", 1, "--test", 0.25, "--val", 0.12]
    assert diptych(*words, "--out", tmp_path / "x", "--clef", "F4") == 2
    assert "no system for training could be built" in capsys.readouterr().err
    left_out = json.loads((tmp_path / "x" / "manifest.json").read_text())["left_out"]
    assert left_out["another clef than asked for"] > 8
    assert diptych(*words, "--out", tmp_path / "y", "--clef", "G2") == 0
    assert "another clef than asked for" not in json.loads((tmp_path / "y" / "manifest.json").read_text())["left_out"]
    assert diptych(*words, "--out", tmp_path / "z", "--clef", "treble") == 2
    assert "clef must be one of G2, F4" in capsys.readouterr().err


def test_score_takes_one_thing_to_score(built, capsys):
    assert diptych("music", "score", built) == 2
    assert "takes one of --snapshot, --baseline and --pred, found none" in capsys.readouterr().err
    assert diptych("music", "score", built.parent, "--baseline", "blank") == 2
    assert "is not what `diptych music build` writes" in capsys.readouterr().err


def test_few_systems_are_at_least_one_page_and_no_fewer_than_none(built, capsys):
    assert diptych("music", "score", built, "--pred", built / "roll" / "test", "--most", 1, "--json", built / "few.json") == 0
    assert "F1                        1.000\n" in capsys.readouterr().out  # of one work, so without an interval
    assert json.loads((built / "few.json").read_text())["f1"] == {"value": 1.0, "low": "nan", "high": "nan", "n": 1}
    assert diptych("music", "score", built, "--baseline", "blank", "--most", -2) == 2
    assert "--most: must be a whole number of at least 0, found '-2'" in capsys.readouterr().err


def test_what_cannot_be_the_task_is_refused_in_one_line(built, snapshots, tmp_path, capsys):
    page = next((built / "roll" / "test").iterdir())
    for words, message in (
        (
            ["score", built, "--pred", built / "sheet" / "test"],
            r"was translated to \(320, 320, 1\), a page of a roll is \(320, 320, 3\)",
        ),
        (
            ["score", built, "--snapshot", snapshots["draw"]],
            "translates 3 channel.s. to 1; to read, 1 of a sheet become 3 of a roll",
        ),
        (["score", built, "--baseline", "blank", "--reader", snapshots["read"]], "--reader reads what was drawn"),
        (["read", page, "--out", tmp_path / "x.mid"], r"-\d+.png: is a roll, not a sheet"),
    ):
        assert diptych("music", *words) == 2
        assert re.search(message, capsys.readouterr().err), message


def test_trained_translators_are_scored_and_used(built, snapshots, tmp_path, capsys):
    assert diptych("music", "score", built, "--snapshot", snapshots["read"]) == 0
    assert diptych("music", "score", built, "--task", "draw", "--snapshot", snapshots["draw"], "--reader", snapshots["read"]) == 0
    (tmp_path / "song.mid").write_bytes(midi_bytes(song()))
    for name in ("sheet.png", "sheet.pdf"):
        out = tmp_path / name
        assert diptych("music", "sheet", tmp_path / "song.mid", "--out", out, "--snapshot", snapshots["draw"]) == 0
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")
    sheet = read_pixels(tmp_path / "sheet.png")
    assert sheet.shape[1:] == (320, 1) and sheet.shape[0] % 64 == 0
    capsys.readouterr()
    code = diptych("music", "read", tmp_path / "sheet.png", "--out", tmp_path / "x.mid", "--snapshot", snapshots["read"])
    refusal = capsys.readouterr().err  # a drawer of two steps may draw no staff lines, or no notes
    assert code == 0 or "shows no notes" in refusal or "has no staff lines" in refusal


def test_the_translators_that_come_with_diptych_draw_a_song_and_read_it_again(tmp_path, capsys):
    pitches = (62, 66, 69, 74, 73, 71, 69, 68, 69, 67, 66, 64, 62, 61, 62, 57, 62, 69, 66, 62)  # D major, with a g sharp
    lengths = [Fraction(each) for each in (1, 1, 1, 1, Fraction(1, 2), Fraction(1, 2), 1, 2, Fraction(3, 2), Fraction(1, 2))] * 2
    starts = list(accumulate(lengths, initial=Fraction(0)))
    notes = tuple(PlayedNote(a, b, pitch, 64, 0) for pitch, (a, b) in zip(pitches, pairwise(starts), strict=True))
    (tmp_path / "song.mid").write_bytes(midi_bytes(Song(notes, fifths=2)))
    network = ["--engine", "network"]
    assert diptych("music", "sheet", tmp_path / "song.mid", "--out", tmp_path / "song.png", *network) == 0
    assert diptych("music", "read", tmp_path / "song.png", "--out", tmp_path / "back.mid") == 0
    back = {(n.onset, n.pitch) for n in read_midi(tmp_path / "back.mid").notes}
    assert len(back & {(n.onset, n.pitch) for n in notes}) >= 18 and len(back) <= 22
    for clef, low in (("G2", 0), ("G2_8", 12)):
        (tmp_path / "known.mid").unlink(missing_ok=True)
        assert diptych("music", "read", tmp_path / "song.png", "--out", tmp_path / "known.mid", "--clef", clef) == 0
        assert {(n.onset, n.pitch + low) for n in read_midi(tmp_path / "known.mid").notes} == back
    assert diptych("music", "read", tmp_path / "song.png", "--out", tmp_path / "x.mid", "--clef", "treble") == 2
    assert "--clef must be one of G2, F4" in capsys.readouterr().err
    capsys.readouterr()
    assert diptych("music", "sheet", tmp_path / "song.mid", "--out", tmp_path / "x.png", "--space", "8", *network) == 2
    assert "diptych ships a translator for 1 staff at 4 pixels a space" in capsys.readouterr().err
    words = [*network, "--layout", "grand", "--space", 8]
    assert diptych("music", "sheet", tmp_path / "song.mid", "--out", tmp_path / "x.png", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "for 1 staff at 4 pixels a space and 2 staves at 4 pixels a space, not for 2 staves at 8; train one" in said


def test_a_piano_is_drawn_on_two_staves_and_read_again_without_a_word_about_its_layout(tmp_path, capsys):
    right = [(Fraction(k), Fraction(k + 1), pitch) for k, pitch in enumerate((67, 71, 74, 76, 79, 78, 76, 74))]
    left = [(Fraction(k), Fraction(k + 2), pitch) for k, pitch in ((0, 43), (0, 50), (2, 43), (2, 52), (4, 45), (4, 52), (6, 50))]
    notes = tuple(PlayedNote(*note, 64, track) for track, hand in enumerate((right, left)) for note in hand)
    (tmp_path / "piano.mid").write_bytes(midi_bytes(Song(notes, fifths=1)))
    drawn = ["--layout", "grand", "--engine", "network"]
    assert diptych("music", "sheet", tmp_path / "piano.mid", "--out", tmp_path / "piano.png", *drawn) == 0
    assert read_pixels(tmp_path / "piano.png").shape == (160, 320, 1)  # one system, no multiple of a single staff's
    assert diptych("music", "midi2roll", tmp_path / "piano.mid", "--out", tmp_path / "roll.png", "--layout", "grand") == 0
    for action, source in (("read", "piano.png"), ("roll2midi", "roll.png")):
        (tmp_path / "back.mid").unlink(missing_ok=True)
        assert diptych("music", action, tmp_path / source, "--out", tmp_path / "back.mid") == 0
        back = {(n.onset, n.pitch) for n in read_midi(tmp_path / "back.mid").notes}
        truth = {(n.onset, n.pitch) for n in notes}
        assert back == truth if action == "roll2midi" else len(back & truth) >= 14 and len(back) <= 16
    assert "read as a sheet of two staves" in capsys.readouterr().err


def test_a_midi_file_is_drawn_as_a_roll_and_read_back(tmp_path, capsys):
    (tmp_path / "song.mid").write_bytes(midi_bytes(song()))
    assert diptych("music", "midi2roll", tmp_path / "song.mid", "--out", tmp_path / "roll.png") == 0
    assert diptych("music", "roll2midi", tmp_path / "roll.png", "--out", tmp_path / "back.mid") == 0
    before, after = read_midi(tmp_path / "song.mid"), read_midi(tmp_path / "back.mid")
    heard = [{(n.onset, n.end, n.pitch, n.velocity) for n in each.notes} for each in (before, after)]
    assert heard[0] == heard[1]


def test_a_note_tied_over_the_end_of_a_system_counts_once(tmp_path, capsys):
    starts = [Fraction(2), *map(Fraction, range(5, 50, 3))]  # some notes last over the end of a measure, and of a system
    notes = tuple(PlayedNote(start, start + 3, 60 + k % 8, 64, 0) for k, start in enumerate(starts))
    (tmp_path / "song.mid").write_bytes(midi_bytes(Song(notes)))
    assert diptych("music", "midi2roll", tmp_path / "song.mid", "--out", tmp_path / "roll.png") == 0
    capsys.readouterr()
    assert diptych("music", "roll2midi", tmp_path / "roll.png", "--out", tmp_path / "back.mid") == 0
    assert capsys.readouterr().out.startswith("16 notes into") and len(read_midi(tmp_path / "back.mid").notes) == 16


def test_a_roll_of_signs_is_drawn_when_asked_for_and_known_by_its_look(tmp_path, capsys):
    values = [Fraction(k, 2) for k in (2, 1, 1, 4, 3, 1, 2, 2, 2, 2, 4, 1, 1, 6)]
    starts = list(accumulate(values, initial=Fraction(0)))
    tune = [PlayedNote(start, end, 60 + 3 * k % 17, 64, 0) for k, (start, end) in enumerate(pairwise(starts))]
    (tmp_path / "song.mid").write_bytes(midi_bytes(Song(tuple(tune))))
    for name, more in (("roll", []), ("signs", ["--signs"])):
        assert diptych("music", "midi2roll", tmp_path / "song.mid", "--out", tmp_path / f"{name}.png", *more) == 0
        assert diptych("music", "roll2midi", tmp_path / f"{name}.png", "--out", tmp_path / f"{name}.mid") == 0
    said = capsys.readouterr().err
    assert said.count("a roll of signs has no velocities, no beats and no ends within chords") == 1
    rolls = [read_pixels(tmp_path / f"{name}.png") for name in ("roll", "signs")]
    assert rolls[0].shape == rolls[1].shape and (rolls[0] != rolls[1]).any()
    heard = [{(n.onset, n.end, n.pitch) for n in read_midi(tmp_path / f"{name}.mid").notes} for name in ("roll", "signs")]
    assert heard[0] == heard[1] == {(n.onset, n.end, n.pitch) for n in tune}


def test_rolls_of_signs_are_for_translators_that_learned_them(tmp_path, capsys):
    (tmp_path / "song.mid").write_bytes(midi_bytes(song()))
    words = ["music", "sheet", tmp_path / "song.mid", "--out", tmp_path / "x.png"]
    capsys.readouterr()
    assert diptych(*words, "--signs", "--engine", "network") == 2
    assert "--signs needs --snapshot" in capsys.readouterr().err
    for option in (["--signs"], ["--space", 8]):
        assert diptych(*words, *option) == 2
        assert f"{option[0]} is for sheets that a translator draws; add --engine network" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_what_is_drawn_and_what_is_not_is_counted(tmp_path, capsys):
    hands = [PlayedNote(Fraction(k), Fraction(k + 1), pitch, 64, track) for track, pitch in ((0, 64), (1, 60)) for k in range(20)]
    again = PlayedNote(Fraction(4), Fraction(6), 64, 64, 1)  # what the other hand plays
    (tmp_path / "piano.mid").write_bytes(midi_bytes(Song((*hands, again))))
    assert diptych("music", "midi2roll", tmp_path / "piano.mid", "--out", tmp_path / "roll.png") == 0
    said = capsys.readouterr()
    assert re.search(r"^40 notes on \d systems of one staff into .*roll\.png$", said.out, re.MULTILINE)
    assert "1 of 41 notes left out, for another of their pitch begins with them on their staff" in said.err
    assert "what a score has on 2 staves stands here on one staff; --layout grand has two" in said.err
    assert diptych("music", "roll2midi", tmp_path / "roll.png", "--out", tmp_path / "back.mid") == 0
    assert "40 notes into" in capsys.readouterr().out
    network = ["--engine", "network", "--tracks", 2]
    assert diptych("music", "sheet", tmp_path / "piano.mid", "--out", tmp_path / "sheet.png", *network) == 0
    said = capsys.readouterr()
    assert re.search(r"^21 notes on \d systems of one staff into .*sheet\.png$", said.out, re.MULTILINE)
    assert "left out" not in said.err and "stands here" not in said.err


def test_a_roll_and_a_midi_file_are_no_sheets_and_what_reads_them_is_named(tmp_path, capsys):
    (tmp_path / "song.mid").write_bytes(midi_bytes(song()))
    assert diptych("music", "midi2roll", tmp_path / "song.mid", "--out", tmp_path / "roll.png") == 0
    write_pixels(tmp_path / "gray.png", np.full((320, 320, 3), 200, np.uint8))  # as large as sheets of five systems are
    for name, expected in (
        ("roll.png", "is a roll, not a sheet; read it with `diptych music roll2midi`"),
        ("song.mid", "is a MIDI file, not a picture; `diptych music sheet` engraves it"),
        ("gray.png", "has 3 channel(s) of uint8, a sheet has 1 of uint8"),
    ):
        capsys.readouterr()
        assert diptych("music", "read", tmp_path / name, "--out", tmp_path / "x.mid") == 2
        assert f"{name}: {expected}" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x.mid").exists()


def test_a_photo_is_no_roll_and_a_blank_page_no_sheet(tmp_path, capsys):
    rows, columns = np.mgrid[:320, :320]
    photo = np.stack([rows * 255 // 319, columns * 255 // 319, (rows + columns) % 256], 2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3)).astype(np.uint8)
    for name, picture in (("photo", photo), ("noise", noise)):
        write_pixels(tmp_path / f"{name}.png", picture)
        assert diptych("music", "roll2midi", tmp_path / f"{name}.png", "--out", tmp_path / "x.mid") == 2
        assert f"{name}.png: is no roll: system 1 has no blue staff lines" in capsys.readouterr().err.replace("\n", " ")
    write_pixels(tmp_path / "page.png", np.full((700, 500, 1), 255, np.uint8))
    assert diptych("music", "read", tmp_path / "page.png", "--out", tmp_path / "x.mid") == 2
    assert "page.png: shows no staff of five lines" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x.mid").exists()


@pytest.mark.parametrize("kind", ["score", "folder", "build", "roll"])
def test_a_pipe_is_no_music(kind, tmp_path, capsys):
    name = {"build": "manifest.json", "roll": "x.png"}.get(kind, "x.mxl")
    os.mkfifo(tmp_path / name)
    words = {
        "score": ["build", tmp_path / name, "--out", tmp_path / "out"],
        "folder": ["build", tmp_path, "--out", tmp_path / "out", "--jobs", 1],
        "build": ["score", tmp_path, "--baseline", "blank"],
        "roll": ["roll2midi", tmp_path / name, "--out", tmp_path / "x.mid"],
    }[kind]
    assert diptych("music", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert ("no system for training could be built" if kind == "folder" else "is a pipe, socket or device, not a file") in said


@pytest.mark.parametrize("shape", [(64, 300, 3), (63, 320, 3), (64, 320, 1)], ids=str)
def test_a_picture_of_another_size_is_refused(shape, tmp_path, capsys):
    write_pixels(tmp_path / "x.png", np.zeros(shape, np.uint8))
    assert diptych("music", "roll2midi", tmp_path / "x.png", "--out", tmp_path / "x.mid") == 2
    assert "error: " in capsys.readouterr().err and not (tmp_path / "x.mid").exists()


def test_a_midi_file_is_engraved_on_the_staves_that_it_needs(tmp_path, capsys):
    midi = mido.MidiFile(ticks_per_beat=24)
    pitches = {"Flute": [72, 76, 79, 84], "Piano": [21, 43, 74, 108], "Drums": [36, 38, 36, 38]}
    for channel, (name, notes) in zip((0, 1, 9), pitches.items(), strict=True):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        track.append(mido.Message("program_change", channel=channel, program={"Flute": 73}.get(name, 0)))
        for note in notes:
            track.append(mido.Message("note_on", channel=channel, note=note, velocity=64))
            track.append(mido.Message("note_off", channel=channel, note=note, time=22))
            track[-1].time, track[-2].time = 22, 2 * (note != notes[0])
        midi.tracks.append(track)
    midi.save(tmp_path / "band.mid")
    assert diptych("music", "sheet", tmp_path / "band.mid", "--out", tmp_path / "band.musicxml") == 0
    said = capsys.readouterr()
    assert "8 notes: Flute (1 staff), Piano (2 staves)" in said.out
    assert "percussion left out: 4 notes" in said.err and "the key signature was estimated" in said.err
    text = (tmp_path / "band.musicxml").read_text()
    assert re.findall(r"<staff>(\d)</staff>", text) and text.count("<part-name>") == 2
    assert diptych("music", "sheet", tmp_path / "band.mid", "--out", tmp_path / "flute.png", "--tracks", "flute") == 0
    assert "4 notes on 1 page: Flute (1 staff)" in capsys.readouterr().out and read_pixels(tmp_path / "flute.png").min() == 0
    assert diptych("music", "sheet", tmp_path / "band.mid", "--out", tmp_path / "x.pdf", "--tracks", "3") == 2
    assert "there is no pitched track '3'; choose from 1 Flute, 2 Piano, by number or by name" in capsys.readouterr().err
    assert diptych("music", "sheet", tmp_path / "band.mid", "--out", tmp_path / "x.doc") == 2
    assert "a score is written as .musicxml, .svg, .png or .pdf, found .doc" in capsys.readouterr().err


def test_what_is_asked_for_in_vain_is_said(tmp_path, capsys):
    write_pixels(tmp_path / "page.png", np.full((700, 500, 1), 255, np.uint8))
    for action in ("read", "roll2midi"):
        assert diptych("music", action, tmp_path / "page.png", "--out", tmp_path / "x.docx") == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "x.docx: what is read is written as .mid, .musicxml, .svg, .png or .pdf, found .docx" in said
    played = np.cumsum(np.random.default_rng(0).uniform(0.3, 0.9, 100))
    notes = [PlayedNote(each, each + Fraction(1, 4), 60, 64, 0) for each in (Fraction(round(480 * k), 480) for k in played)]
    (tmp_path / "song.mid").write_bytes(midi_bytes(Song(tuple(notes))))
    assert diptych("music", "midi2roll", tmp_path / "song.mid", "--out", tmp_path / "roll.png") == 0
    assert "a performance that does not follow the file's beats, on which it is drawn" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_title_stands_above_an_engraved_score_and_is_refused_beside_a_network(tmp_path, capsys):
    (tmp_path / "song.mid").write_bytes(midi_bytes(Song((PlayedNote(Fraction(0), Fraction(1), 60, 64, 0),))))
    command = ("music", "sheet", tmp_path / "song.mid", "--title", "Abendlied", "--out")
    assert diptych(*command, tmp_path / "song.musicxml") == 0
    assert "<work-title>Abendlied</work-title>" in (tmp_path / "song.musicxml").read_text()
    said = capsys.readouterr().err
    assert "names no title" not in said and "no font" not in said
    boxes = (*command[:3], "--title", "Aria \U000f1234", "--out", tmp_path / "boxes.png")
    assert diptych(*boxes) == 0 and "no font has \U000f1234, so that the title" in capsys.readouterr().err
    assert diptych(*command, tmp_path / "song.png", "--engine", "network") == 2
    assert "--title is for engraved scores" in capsys.readouterr().err and not (tmp_path / "song.png").exists()

"""`diptych check`: a summary, a page, and an exit code by what was found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.cli.check import parser
from tests.cli.pictures import diptych, folder
from tests.data.scenes import pairs, sets


def test_clean_data_exits_with_0_and_says_where_the_page_is(tmp_path, capsys, monkeypatch):
    sets(tmp_path / "my data")
    monkeypatch.chdir(tmp_path)
    assert diptych("check", "my data") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(
        "with trainA and trainB: train on 8 + 8 images: no pairs, as 0 of 8 names are the same on both sides"
    )
    assert lines[1] == "train  A  8  3 x uint8 (RGB)  96 x 96  .png"
    assert lines[-2:] == ["16 images: nothing found", "runs/check-my-data/check.html"]
    assert (tmp_path / "runs" / "check-my-data" / "check.json").exists()


def test_findings_exit_with_1_and_are_named(tmp_path, capsys):
    sets(tmp_path / "x")
    shutil.copy(tmp_path / "x" / "trainA" / "a001.png", tmp_path / "x" / "trainB" / "b9.png")
    assert diptych("check", tmp_path / "x", "--out", tmp_path / "out") == 1
    out = capsys.readouterr().out
    assert "found: 1 group of equal images in A and B: train A: a001.png and train B: b9.png (the same file); remove it" in out
    assert "17 images: usable, with findings" in out


def test_data_that_a_training_would_refuse_exits_with_2_and_is_checked_all_the_same(tmp_path, capsys):
    pairs(tmp_path / "x", 6)
    os.unlink(tmp_path / "x" / "trainB" / "003.png")
    assert diptych("check", tmp_path / "x", "--out", tmp_path / "out", "--workers", 1) == 2
    out = capsys.readouterr().out
    assert "error: 1 image without a partner of the same name: train A: 003.png; add the missing ones" in out
    assert "the pairs as a whole are not shifted" in out and (tmp_path / "out" / "check.html").exists()


def test_json_is_the_only_thing_on_stdout(tmp_path, capsys):
    sets(tmp_path / "x")
    assert diptych("check", tmp_path / "x" / "trainA", tmp_path / "x" / "trainB", "--json", "--out", tmp_path / "out") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "check.json").read_text()) and printed["exit_code"] == 0


def test_pairing_can_be_told(tmp_path, capsys):
    pairs(tmp_path / "x", 4)
    assert diptych("check", tmp_path / "x", "--unpaired", "--out", tmp_path / "out") == 0
    assert "no pairs, as told" in capsys.readouterr().out
    assert diptych("check", tmp_path / "x", "--paired", "--out", tmp_path / "out") == 0
    assert ": pairs, as told" in capsys.readouterr().out


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert diptych("check", tmp_path / "none") == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/none: no such folder")


@pytest.mark.parametrize("words", [["x", "--paired", "--unpaired"], [], ["x", "--workers", "0"]])
def test_a_wrong_command_line_is_refused(words, capsys):
    assert diptych("check", *words) == 2
    assert "see `diptych check --help`" in capsys.readouterr().err


def test_by_default_the_layout_decides_and_the_page_goes_to_runs():
    args = parser().parse_args(["x"])
    assert (args.paired, args.out, args.data) == (None, None, ["x"]) and not Path("x").exists()


def test_a_pipe_among_images_holds_nothing_up(tmp_path):
    """In a process of its own with a limit of time: a pipe without a writer would hold the command for ever."""
    folder(tmp_path / "a"), folder(tmp_path / "b", seed=9)
    for path in list((tmp_path / "b").iterdir()):
        path.rename(path.with_stem(f"b{path.stem}"))  # no pairs
    os.mkfifo(tmp_path / "a" / "pipe.jpg")
    words = [sys.executable, "-m", "diptych", "check", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")]
    said = subprocess.run(words, capture_output=True, text=True, timeout=100).stdout
    assert "pipe.jpg (is a pipe, socket or device, not a file; give a file)" in " ".join(said.split())

"""Frames of films become folders of pictures."""

import numpy as np
import pytest

from diptych.data.formats import read_pixels
from diptych.errors import ConfigError, DataError
from diptych.prepare.frames import take_frames
from tests.cli.pictures import diptych
from tests.data.films import LOSSLESS, film, moving


def test_every_second_frame_is_written_once(tmp_path, capsys):
    film(tmp_path / "films" / "a.mkv", moving(5), turned=0, **LOSSLESS)
    (tmp_path / "films" / "b.mp4").write_text("no film")
    words = ("prepare", "frames", tmp_path / "films", "--out", tmp_path / "out", "--every", 2)
    assert diptych(*words) == 1
    said = capsys.readouterr()
    assert said.out == f"3 frames in {tmp_path}/out\n" and said.err.startswith(f"skipped: {tmp_path}/films/b.mp4: is no film")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a-000000.png", "a-000002.png", "a-000004.png"]
    assert all(np.array_equal(read_pixels(tmp_path / "out" / name), moving(5)[2 * i]) for i, name in enumerate(names))
    diptych(*words)
    assert capsys.readouterr().out == f"0 frames in {tmp_path}/out, 3 there already\n"


def test_no_films_and_films_of_one_name_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no films; give a film such as"):
        take_frames(tmp_path / "none", tmp_path / "out", 1)
    film(tmp_path / "two" / "a.mp4", moving(1))
    film(tmp_path / "two" / "a.mkv", moving(1))
    with pytest.raises(ConfigError, match="has films of one name"):
        take_frames(tmp_path / "two", tmp_path / "out", 1)

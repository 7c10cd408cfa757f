"""Words and short files by which a wrong value hurts: the cases that random ones found, each one line."""

import argparse
import os

import pytest

from diptych.cli.sharding import shard
from diptych.cli.translate import _memory
from diptych.data.lists import read_list
from diptych.errors import ConfigError, DataError
from diptych.palette import Palette
from diptych.recipe import Recipe

NINES = "9" * 5000  # more digits than Python turns into a number


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" * 200_000 + ".png", "row 1: cannot be read"),
        ("x.png\n\0.png", "row 2: '?.x00.png'? is not there"),
        ("~nobody-is-here/x.png", "row 1: ~nobody-is-here/x.png is not there"),
    ],
)
def test_a_list_with_hostile_cells_is_refused_by_its_row(text, said, tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_list(tmp_path / "l.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_list, Palette.load])
@pytest.mark.parametrize("kind", ["pipe", "itself", "zero byte"])
def test_a_list_or_palette_that_is_no_file_is_one_line(kind, read, tmp_path):
    path = tmp_path / ("a\0.txt" if kind == "zero byte" else "a.txt")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "itself":
        path.symlink_to(path)
    with pytest.raises(DataError, match=r"a\S*\.txt: cannot be read") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_numbers_beyond_all_bounds_are_refused(tmp_path):
    (tmp_path / "p.txt").write_text(f"1 2 3\n{NINES} 2 3")
    with pytest.raises(DataError, match=r"line 2 is '9+', expected"):
        Palette.load(tmp_path / "p.txt")
    for words in (NINES, f"auto:{NINES}", f"1,{NINES}"):
        with pytest.raises(ConfigError, match=r"data\.classes must be"):
            Recipe.create("pix2pix", {"data": {"labels": "a", "classes": words}})
    for parse, words in (
        (_memory, f"{NINES}GB"),
        (_memory, "0GB"),
        (_memory, "0.0001kB"),
        (shard, f"1/{NINES}"),
        (shard, "0/1"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            parse(words)
    assert (_memory("1.5 gb"), _memory("4GB"), shard(" 3/16 ")) == (1_500_000_000, 4_000_000_000, (3, 16))

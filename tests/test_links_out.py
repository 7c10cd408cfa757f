"""Nothing is written or removed through a link in a folder of results, such as a stranger's run, to a folder elsewhere."""

import os

import pytest

from diptych.cli import main
from diptych.errors import ConfigError
from diptych.files import refuse_links_out
from tests.cli.pictures import CYCLEGAN, SMALL, folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two folders of images, a folder inside one, and a folder elsewhere with files that commands would remove or replace."""
    folder(tmp_path / "here" / "a"), folder(tmp_path / "here" / "b", seed=9), folder(tmp_path / "here" / "a" / "sub", seed=5)
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB"), 20):
        folder(tmp_path / "here" / "sides" / name, seed=seed)
    (tmp_path / "mine").mkdir()
    for name in ("x.pixels", ".note.txt.tmp", "x.png", "0.png", "0001.safetensors"):
        (tmp_path / "mine" / name).write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_folders_below_are_taken_and_links_out_of_the_root_are_not(tmp_path):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "named").symlink_to("out")
    (tmp_path / "out" / "inner").symlink_to("sub")
    (tmp_path / "out" / "up").symlink_to("..")
    (tmp_path / "out2").mkdir()
    (tmp_path / "out" / "beside").symlink_to("../out2")  # whose path begins like that of the root
    for root in (tmp_path / "out", tmp_path / "named"):
        refuse_links_out([root, root / "sub", root / "inner", root / "none" / "yet"], root)
        for name in ("up", "beside", "up/more"):
            with pytest.raises(
                ConfigError, match=rf"{name}: leads through a link to \S+, outside of {root}, where nothing is wri"
            ):
                refuse_links_out([root / "sub", root / name], root)


TINY = [*SMALL, "--train.precision", "fp32", "--seeds", "1"]
CASES = {
    "the cache of a run": ("cache", ["train", "cyclegan", "a", "b", *CYCLEGAN, "--out", "out", "--cache", "disk"]),
    "the cache of a run that keeps none": ("cache", ["train", "cyclegan", "a", "b", *CYCLEGAN, "--out", "out", "--cache", "off"]),
    "a folder of translations": ("sub", ["translate", "map2satellite", "a", "--out", "out"]),
    "a folder of maps": ("sub", ["translate", "map2satellite", "a", "--out", "t/out", "--maps", "edges"]),
    "a side of prepared pairs": ("trainA", ["prepare", "gray", "a", "--out", "out", "--test", "0"]),
    "a folder in a side": ("trainB/sub", ["prepare", "gray", "a", "--out", "out", "--test", "0"]),
    "a method of a bench": ("cut", ["bench", "cyclegan", "cut", "--on", "sides", *TINY, "--out", "out", "--epochs", "1"]),
    "a share of an evaluation": ("evaluation-shards", ["evaluate", "a", "b", "--unpaired", "--shard", "1/2", "--out", "t"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_command_writes_and_removes_nothing_through_a_linked_folder(case, here, capsys):
    name, words = CASES[case]
    if "prepare" in words:
        assert main([*words]) == 0
        for path in sorted((here / "out" / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (here / "out" / name).rmdir()
    out = here / ("t/out-maps/edges" if "--maps" in words else "t" if "--shard" in words else "out")
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).symlink_to(here.parent / "mine")
    before = sorted(os.listdir(here.parent / "mine"))
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert name in said and f"leads through a link to {here.parent / 'mine'}" in said and "where nothing is written" in said
    assert sorted(os.listdir(here.parent / "mine")) == before
    assert all((here.parent / "mine" / file).read_text() == "mine" for file in before)

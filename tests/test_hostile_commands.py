"""Commands that are given hostile archives, films, slides, volumes, lists, indexes and run folders."""

import os
import warnings
from pathlib import Path

import huggingface_hub.constants
import pytest

from diptych.cli import main
from diptych.nets import UNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.hostile_inputs import ATTACKS

MAY_WRITE = ("work/out", "work/runs", "work/.facades.tar.gz", "work/..facades.tar.gz.lock")
FOLDERS = {"ZOO": "DIPTYCH_ZOO", "MIRROR": "DIPTYCH_DATA_URL"}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot") / "s.safetensors"
    Snapshot({"a2b": UNet(3, 3, width=2, num_downs=2).eval()}, Domain(), Domain()).save(path)
    return path


def names_in(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {name for name in found if not name.startswith(MAY_WRITE)}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_in_a_line_and_reaches_nothing(name, snapshot, tmp_path, monkeypatch, capsys):
    here = tmp_path / "work"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "out" / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # its environment variable is read once, at the import
    words = [str(snapshot) if word == "S" else word for word in ATTACKS[name](here)]
    variable, _, value = words[0].partition("=")
    if value:
        where = value if "://" in value else f"file://{here / value}" if variable == "MIRROR" else str(here / value)
        monkeypatch.setenv(FOLDERS[variable], where)
        del words[0]
    before = names_in(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about the file
        code = main(words)
    captured = capsys.readouterr()
    said = [line for text in captured for line in text.splitlines()]
    errors = [line for line in said if line.startswith("error: ")]
    assert code in (0, 1, 2, 5, 6)
    assert len(errors) == (1 if code > 1 else 0) or name in VERDICTS, said
    assert code != 1 or any(line.startswith("skipped: ") for line in said), said
    assert all(line.isprintable() for line in said), said
    assert names_in(tmp_path) == before
    assert not Path("/tmp/escape-of-diptych.png").exists()
    assert os.getcwd() == str(here)


VERDICTS = [name for name in ATTACKS if name.startswith("list ")]  # `diptych check` lists what is wrong as errors of its own


def test_there_are_many_attacks():
    assert len(ATTACKS) >= 120


def test_what_a_mirror_served_by_mistake_is_not_taken_for_the_data_set_ever_after(tmp_path, monkeypatch, capsys):
    """A page instead of an archive, as hotels serve it, was recorded as the data set, and the true one refused from then on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("DIPTYCH_DATA_URL", f"file://{tmp_path}/mirror")
    for attack, code in (("fetched archive that is none", 2), ("fetched archive of a plain file", 0)):
        for path in sorted((tmp_path / "mirror").glob("*")):
            path.unlink()
        if (tmp_path / "mirror").is_dir():
            (tmp_path / "mirror").rmdir()
        _, *words = ATTACKS[attack](tmp_path)
        assert main(words) == code, capsys.readouterr()
    assert (tmp_path / "out" / "x.png").read_bytes() == b"abc"

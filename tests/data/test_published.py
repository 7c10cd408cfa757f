"""Published data sets are fetched by name, verified, unpacked and found; what could go wrong is one line."""

import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from diptych.cli import main
from diptych.cli.fetch import data_set, fetch_missing
from diptych.data import published
from diptych.data.folders import find_data
from diptych.data.published import PUBLISHED, Published, fetch, unpack
from diptych.errors import ConfigError, DataError
from diptych.recipes import RECIPES

TERMS = "for a test"


def picture(seed: int, width: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, width, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that serves two small data sets: pets2flowers as published, plans without a known SHA-256."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    sides = {f"pets2flowers/{split}{side}/{i}.png": picture(i) for split in ("train", "test") for side in "AB" for i in range(2)}
    write_zip(folder / "pets2flowers.zip", sides)
    write_tar(folder / "plans.tar.gz", {f"plans/{split}/{i}.png": picture(i, 16) for split in ("train", "val") for i in range(3)})
    zipped = (folder / "pets2flowers.zip").read_bytes()
    known = Published("pets2flowers", "https://example.org/pets2flowers.zip", "pets <-> flowers", TERMS, size=len(zipped))
    known = replace(known, sha256=hashlib.sha256(zipped).hexdigest())
    plans = Published("plans", "https://example.org/plans.tar.gz", "plans", TERMS, paired=True, direction="b2a")
    for each in (known, plans):
        monkeypatch.setitem(PUBLISHED, each.name, each)
    monkeypatch.setenv("DIPTYCH_DATA_URL", folder.as_uri())
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "cache"))
    return folder


def test_a_fetched_name_is_data_for_every_command(mirror, capsys):
    assert main(["train", "cyclegan", "pets2flowers", "--dry-run"]) == 2
    assert (
        "pets2flowers: is a published data set that is not on this machine; `diptych fetch pets2flowers`"
        in capsys.readouterr().err
    )
    assert main(["fetch", "pets2flowers"]) == 0
    printed, noted = capsys.readouterr()
    assert printed.startswith(f"terms: {TERMS}\n") and "train 2 + 2 images, test 2 + 2 images" in printed
    assert f"to download: {(mirror / 'pets2flowers.zip').stat().st_size / 1000:.1f} kB\n" in noted
    layout = find_data(["pets2flowers"], paired=False)
    assert [ref.path.read_bytes() for ref in layout.train.a] == [picture(0), picture(1)]
    assert not [path.name for path in published.data_folder().iterdir() if path.name.startswith(".")]


def test_pairs_of_a_tar_are_found_and_the_direction_of_the_paper_is_named(mirror, tmp_path, capsys):
    assert main(["fetch", "plans", "--out", str(tmp_path / "plans")]) == 0
    printed, noted = capsys.readouterr()
    assert noted.count(f"to download: {(mirror / 'plans.tar.gz').stat().st_size / 1000:.1f} kB\n") == 1  # as the server says
    assert (
        "train 3 pairs, val 3 pairs" in printed
        and f"next: diptych train pix2pix {tmp_path}/plans --data.direction b2a" in printed
    )


def test_a_recipe_means_its_data_set_and_hyphens_are_underscores(mirror, monkeypatch, tmp_path, capsys):
    shutil.copy(mirror / "plans.tar.gz", mirror / "night2day.tar.gz")
    monkeypatch.setitem(
        PUBLISHED, "night2day", replace(PUBLISHED["plans"], name="night2day", address="https://x/night2day.tar.gz")
    )
    assert main(["fetch", "day2night"]) == 0
    printed, noted = capsys.readouterr()
    assert "note: the data set of the recipe day2night is called night2day\n" in noted
    assert f"next: diptych train day2night {tmp_path}/cache/night2day\n" in printed  # whose recipe says the direction
    assert published.fetched("night2day")
    for name, meant in (
        ("iphone2dslr-flower", "iphone2dslr_flower"),
        ("summer2winter-yosemite", "summer2winter_yosemite"),
        ("night2day", "night2day"),
        ("horse2zebra-cut", "horse2zebra"),
        ("horse2zebra_cut", "horse2zebra"),
    ):
        assert data_set(name)[0].name == meant
    assert main(["fetch", "relief"]) == 2
    assert "relief: this recipe has no published data set to fetch; `diptych fetch` lists" in capsys.readouterr().err


def test_what_is_there_is_not_fetched_again_and_what_is_foreign_is_left_alone(mirror, tmp_path):
    folder = fetch(PUBLISHED["pets2flowers"])
    (mirror / "pets2flowers.zip").unlink()
    assert fetch(PUBLISHED["pets2flowers"]) == folder
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(ConfigError, match="is not empty and was not made by `diptych fetch`"):
        fetch(PUBLISHED["plans"], tmp_path / "mine")


def test_other_bytes_than_published_are_refused(mirror, tmp_path):
    content = (mirror / "pets2flowers.zip").read_bytes()
    (mirror / "pets2flowers.zip").write_bytes(content[:-1] + b"!")
    with pytest.raises(DataError, match="pets2flowers data: expected SHA-256"):
        fetch(PUBLISHED["pets2flowers"])
    assert not (published.data_folder() / "pets2flowers").exists()


def test_without_a_published_hash_the_first_one_counts(mirror, tmp_path, caplog):
    caplog.set_level("INFO", logger="diptych")
    found = hashlib.sha256((mirror / "plans.tar.gz").read_bytes()).hexdigest()
    note = json.loads((fetch(PUBLISHED["plans"], tmp_path / "one") / "fetched.json").read_text())
    assert note["sha256"] == found and note["terms"] == TERMS
    assert f"no SHA-256 was published; {found} is recorded" in caplog.text
    write_tar(mirror / "plans.tar.gz", {"plans/train/0.png": picture(9, 16)})
    with pytest.raises(DataError, match=f"expected SHA-256 {found}"):
        fetch(PUBLISHED["plans"], tmp_path / "two")


def test_training_fetches_what_is_agreed_to_and_says_otherwise_what_to_do(mirror, monkeypatch, capsys):
    train = ["train", "cyclegan", "pets2flowers", "--method.lambda_gan", "-1"]  # which ends it after the data are there
    assert main(train) == 2
    asked = capsys.readouterr().err
    assert (
        f"(pets <-> flowers) is not on this machine; its terms: {TERMS}. Add --yes" in asked
        and "diptych fetch pets2flowers" in asked
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*train, "--yes"]) == 2 and not published.fetched("pets2flowers")  # two processes would both unpack it
    monkeypatch.delenv("WORLD_SIZE")
    assert main([*train, "--yes"]) == 2
    said = capsys.readouterr()
    assert said.out == f"terms: {TERMS}\n" and "lambda_gan" in said.err and published.fetched("pets2flowers")


@pytest.mark.parametrize(("answer", "there"), [("y\n", True), ("Yes\n", True), ("\n", False), ("no\n", False), ("", False)])
def test_at_a_terminal_a_person_is_asked(answer, there, mirror, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr(
        "diptych.cli.console.notes", Console(force_terminal=True, stderr=True, markup=False, highlight=False, width=300)
    )
    with suppress(ConfigError) if not there else nullcontext():
        fetch_missing(["pets2flowers"], yes=False)
    said = capsys.readouterr().err
    assert f"Terms: {TERMS}" in said and "[y/N]" in said
    assert bool(published.fetched("pets2flowers")) == there


def test_every_published_data_set_has_a_recipe():
    names = {name.replace("_", "-") for name in PUBLISHED} - {"night2day"} | {"day2night"}  # the task of the paper
    assert names <= RECIPES.keys()
    assert RECIPES["cityscapes"]().data.direction == PUBLISHED["cityscapes"].direction == "b2a"


def test_an_unknown_name_is_told_the_nearest(capsys):
    assert main(["fetch", "horse2zebras"]) == 2
    assert "no published data set is called 'horse2zebras'; did you mean horse2zebra?" in capsys.readouterr().err
    assert main(["fetch", "day-to-night"]) == 2  # a recipe's name, misspelt
    assert "'day-to-night'; did you mean day2night?" in capsys.readouterr().err
    assert main(["fetch"]) == 0
    printed = capsys.readouterr().out
    assert "horse2zebra             horses <-> zebras (117 MB)" in printed and "Cityscapes: its licence" in printed


def test_without_a_network_one_line_says_what_to_put_where(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DIPTYCH_DATA_URL", (tmp_path / "nowhere").as_uri())
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "cache"))
    assert main(["fetch", "horse2zebra"]) == 2
    error = capsys.readouterr().err.strip()
    assert "horse2zebra data: cannot be fetched from file:///" in error and error.count("\n") == 0
    assert f"put the file at {tmp_path}/cache/.horse2zebra.zip" in error


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil-diptych.png", "a/../../evil.png"])
def test_a_member_outside_of_the_folder_is_refused(write, name, tmp_path):
    write(tmp_path / "x", {"good.png": b"1", name: b"2"})
    with pytest.raises(DataError, match="outside of itself"):
        unpack(tmp_path / "x", tmp_path / "inside")
    assert not (tmp_path / "evil.png").exists() and not Path("/tmp/evil-diptych.png").exists()


def test_links_are_passed_over_and_bombs_refused(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as file:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
        info = tarfile.TarInfo("zeros")
        info.size = 5 << 20
        file.addfile(info, io.BytesIO(bytes(5 << 20)))
    unpack(tmp_path / "x.tar.gz", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["zeros"]
    monkeypatch.setattr(published, "MOST_BYTES", 4 << 20)
    with pytest.raises(DataError, match="holds more than 4,194,304 bytes"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "again")


@pytest.mark.parametrize("cut", [0, 10, -40])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_a_damaged_archive_is_one_line(write, cut, tmp_path):
    write(tmp_path / "x", {f"{i}.png": picture(i, 64) for i in range(4)})
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[:cut])
    with pytest.raises(DataError, match=r"x: (is a damaged archive|holds no files)") as caught:
        unpack(tmp_path / "x", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_an_interrupted_fetch_goes_on(mirror, tmp_path):
    def stop(done: int, total: int) -> None:
        if done > 1000:
            raise KeyboardInterrupt

    large = {f"pets2flowers/train{side}/{i}.png": picture(i, 200) for side in "AB" for i in range(20)}
    write_zip(mirror / "pets2flowers.zip", large)
    content = (mirror / "pets2flowers.zip").read_bytes()
    wanted = replace(PUBLISHED["pets2flowers"], size=len(content), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(KeyboardInterrupt):
        fetch(wanted, watch=stop)
    kept = (published.data_folder() / ".pets2flowers.zip.part").stat().st_size
    assert 0 < kept < len(content)
    seen: list[int] = []
    assert len(list(fetch(wanted, watch=lambda done, total: seen.append(done)).rglob("*.png"))) == 40

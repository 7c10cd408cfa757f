"""Folders are walked through within bounds, and what is left out is named."""

import os
import sys
import zipfile

import pytest

from diptych.cli import main
from diptych.data.listing import walk as walk_data
from diptych.errors import DataError
from diptych.walking import DEEPEST, MOST_WAYS, files_below, walk
from tests.cli.pictures import picture


def test_files_and_folders_are_those_of_os_walk(tmp_path):
    for name in ("a/1", "a/b/2", "a/b/.3", ".hidden/4", "5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "pipe").symlink_to("nowhere")
    expected = {(folder, *sorted(folders), "|", *sorted(files)) for folder, folders, files in os.walk(tmp_path)}
    base = os.path.basename
    assert {(f, *sorted(map(base, inside)), "|", *sorted(map(base, files))) for f, inside, files in walk(tmp_path)} == expected


def test_folders_that_the_caller_removes_are_not_entered(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    entered = []
    for folder, folders, _ in walk(tmp_path):
        entered.append(folder)
        folders[:] = [path for path in folders if not path.endswith("b")]
    assert entered == [str(tmp_path), str(tmp_path / "a")]


def test_links_are_followed_and_those_that_go_round_are_left_out_by_name(tmp_path, caplog):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").touch()
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "c").symlink_to("b")
    (tmp_path / "a" / "self").symlink_to("self")
    names = {str(path.relative_to(tmp_path)) for path in files_below(tmp_path)}
    assert names == {"a/b/x", "a/c/x", "a/self"}
    assert list(files_below(tmp_path)) and len(caplog.records) == 2  # once for each link
    assert f"{tmp_path}/a/b/up: is a link back to a folder around it; it is left out" in caplog.text


def test_links_that_multiply_are_refused_and_some_links_to_one_folder_are_not(tmp_path):
    """30 folders, each with two links to the next, are a billion ways: a walk through them never ended."""
    for number in range(31):
        (tmp_path / f"{number:02d}").mkdir()
    for number in range(30):
        for link in "lm":
            (tmp_path / f"{number:02d}" / link).symlink_to(f"../{number + 1:02d}")
    with pytest.raises(DataError, match=rf"links lead to it in more than {MOST_WAYS:,} ways; remove those"):
        list(walk(tmp_path))
    for number in range(8, 31):
        for link in (tmp_path / f"{number:02d}").iterdir():
            link.unlink()
    (tmp_path / "08" / "x").touch()
    # 08 is reached directly, and from each folder k before it in 2 ** (8 - k) ways: 1 + 2 + 4 + ... + 256
    assert len(list(files_below(tmp_path))) == 511


def test_folders_that_lie_too_deep_are_refused(tmp_path):
    path = tmp_path
    for _ in range(DEEPEST):
        path = path / "d"
    path.mkdir(parents=True)
    (path / "x").touch()
    assert list(files_below(tmp_path)) == [path / "x"]
    (path / "d").mkdir()
    with pytest.raises(DataError, match=r"\.\.\.: lies more than 100 folders deep; give a folder inside"):
        list(walk(tmp_path))


@pytest.mark.skipif(not os.path.exists("/proc/self/mountinfo"), reason="special file systems of Linux")
def test_special_folders_of_the_system_are_refused_and_left_out_below_others(tmp_path, caplog):
    (tmp_path / "x").touch()
    (tmp_path / "inside").symlink_to("/proc/self")
    assert list(files_below(tmp_path)) == [tmp_path / "x"]
    assert f"{tmp_path}/inside: is a special folder of the system (proc); it is left out" in caplog.text
    with pytest.raises(DataError, match=r"^/proc/self: is a special folder of the system \(proc\); give a folder of files$"):
        list(walk("/proc/self"))


WORDS = [
    ["runs", "IN"],
    ["check", "IN"],
    ["train", "cyclegan", "IN", "--dry-run"],
    ["train", "cyclegan", "IN", "IN"],
    ["plan", "cyclegan", "IN"],
    ["bench", "cyclegan", "--on", "IN", "--minutes", "1"],
    ["translate", "map2satellite", "IN", "--out", "out"],
    ["prepare", "gray", "IN", "--out", "out"],
    ["prepare", "frames", "IN", "--out", "out"],
    ["study", "new", "out", "--real", "IN", "--model", "x=IN"],
    ["evaluate", "IN", "IN"],
    ["compare", "IN", "x=IN", "--data", "IN"],
    ["music", "build", "IN", "--out", "out"],
    ["music", "symbols", "IN", "--out", "out"],
]


@pytest.mark.skipif(sys.platform != "linux", reason="special file systems of Linux")
@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words[:2]))
def test_every_command_that_is_given_folders_ends_on_endless_ones(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([word.replace("IN", "/proc/self") for word in words]) in (1, 2, 6)
    assert capsys.readouterr().err.count("error: ") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["runs"])


def test_an_archive_of_many_folders_is_listed_in_one_pass(tmp_path):
    """Each of 20,000 folders was looked for among all members, which took a minute and a half."""
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}/x.png", b"")
        archive.writestr("1/.hidden/y.png", b"")
        archive.writestr("/".join("d" * 2000) + "/z.png", b"")
    found = sorted(walk_data(tmp_path / "in.zip"))
    assert len(found) == 20_001 and found[0] == f"{tmp_path}/in.zip/0/x.png"
    assert sorted(walk_data(tmp_path / "in.zip" / "1")) == [f"{tmp_path}/in.zip/1/x.png"]


def test_runs_are_found_beside_links_that_go_round(tmp_path, monkeypatch, capsys):
    for name in ("b/two", "a/one", "a/one/inner"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recipe.json").write_text('{"method": {"name": "cut"}}')
    (tmp_path / "a" / "up").symlink_to("..")
    picture(tmp_path / "b" / "x.png")
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "."]) == 0
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["a/one", "b/two"]
    assert "a/up: is a link back to a folder around it; it is left out" in said.err

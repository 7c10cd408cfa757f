"""A disk that takes no more, met by what writes pages, pictures, songs and music builds: exit 5, one line, the path."""

import errno
import os
import resource
import shutil
from contextlib import contextmanager

import pytest
import torch

from diptych.errors import StorageError
from diptych.evaluation.cache import FeatureCache
from diptych.music import build as building
from diptych.music.midi import midi_bytes
from tests.cli.pictures import CYCLEGAN, diptych, folder
from tests.disks import fill, small_disk
from tests.music.songs import melody, mxl, score
from tests.music.test_midi import song


@contextmanager
def small_files(most):
    """As after `ulimit -f`: no file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def words_of(command, run, root):
    """The words of a command that writes, and the folder that it writes to."""
    out = root / "out"
    out.mkdir()
    if command.startswith("music"):
        (root / "x.mid").write_bytes(midi_bytes(song(1)))
    given = folder(root / "in", 2)
    return {
        "report": (["report", run], run),
        "check": (["check", given, given, "--out", out / "check"], out),
        "evaluate": (["evaluate", given, folder(root / "true", 2, seed=5), "--metrics", "psnr", "--out", out / "e"], out),
        "translate": (["translate", run, given, "--out", out, "--device", "cpu", "--overwrite"], out),
        "music sheet": (["music", "sheet", root / "x.mid", "--out", out / "x.pdf"], out),
        "music midi2roll": (["music", "midi2roll", root / "x.mid", "--out", out / "x.png"], out),
    }[command]


@pytest.mark.parametrize("command", ["report", "check", "evaluate", "translate", "music sheet", "music midi2roll"])
def test_a_disk_that_takes_no_more_ends_in_one_line_with_the_path(command, pix2pix_run, tmp_path, capsys):
    words, where = words_of(command, pix2pix_run, tmp_path)
    before = {path.name: path.read_bytes() for path in where.iterdir() if path.is_file()}
    with small_files(300):
        assert diptych(*words) == 5
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert str(where) in line and os.strerror(errno.EFBIG) in line and "Traceback" not in said
    assert not list(where.rglob(".*.tmp"))
    assert {name: (where / name).read_bytes() for name in before} == before


def test_a_music_build_names_the_list_that_the_disk_refused_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "map_in_processes", lambda build_one, works, jobs: ((work, build_one(work)) for work in works))
    scores, config = tmp_path / "scores", building.BuildConfig(test=0, val=0)
    scores.mkdir()
    for k in range(4):
        (scores / f"{k}.mxl").write_bytes(mxl(score(melody(k))))
    building.build([str(scores)], tmp_path / "whole", config)
    lists = {name: (tmp_path / "whole" / name).read_text() for name in ("notes.jsonl", "works.jsonl")}
    most = max(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file() and path.name not in lists)
    assert most < len(lists["notes.jsonl"]) - 100
    with small_files(len(lists["notes.jsonl"]) - 100), pytest.raises(StorageError) as caught:
        building.build([str(scores)], tmp_path / "out", config)
    assert str(caught.value) == (
        f"{tmp_path}/out/notes.jsonl: cannot be written (File too large); free some space and run the same command, which goes on"
    )
    building.build([str(scores)], tmp_path / "out", config)
    assert {name: (tmp_path / "out" / name).read_text() for name in lists} == lists


def test_features_that_the_disk_does_not_take_are_kept_in_memory_and_leave_no_file(tmp_path, caplog):
    calls = []

    def extractor(images):
        calls.append(len(images))
        return torch.ones(len(images), 2048)

    extractor.name, extractor.sha256, extractor.about = "x", "0", {}
    cache, images = FeatureCache(tmp_path / "cache"), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with small_files(300):
        first, again = cache.features(extractor, images), cache.features(extractor, images)
    assert calls == [1] and torch.equal(first, again)
    assert "features are not kept (File too large)" in caplog.text
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


# --- a disk that is really full ---


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "8m") as disk:
        yield disk


def no_room(said, where):
    """The one line of the error, which names something below a folder and the reason."""
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert str(where) in line and os.strerror(errno.ENOSPC) in line and "Traceback" not in said
    assert not list(where.rglob(".*.tmp"))
    return line


@pytest.mark.parametrize("command", ["report", "translate", "music midi2roll"])
def test_a_full_disk_ends_a_command_in_one_line_with_the_path(command, pix2pix_run, disk, capsys):
    words, where = words_of(command, shutil.copytree(pix2pix_run, disk / "run"), disk)
    before = {path.name: path.read_bytes() for path in where.iterdir() if path.is_file()}
    fill(disk)
    assert diptych(*words) == 5
    no_room(capsys.readouterr().err, where)
    assert {name: (where / name).read_bytes() for name in before} == before


def test_a_full_disk_for_decoded_images_is_said_with_what_they_need_before_training_begins(disk, tmp_path, capsys):
    a, b = folder(tmp_path / "a", 8, height=150, width=150), folder(tmp_path / "b", 8, seed=9, height=150, width=150)
    fill(disk, free=600_000)
    words = ["train", "cyclegan", a, b, *CYCLEGAN, "--data.resize", "none", "--out", disk / "run"]
    assert diptych(*words, "--cache", "disk") == 5
    line = no_room(capsys.readouterr().err, disk)
    assert "decoded images cannot be kept" in line and "they need 1.08 MB" in line and "or choose --cache off" in line
    assert not (disk / "run" / "cache").exists() and not (disk / "run" / "stats.jsonl").exists()


def test_a_full_disk_ends_a_music_build_which_goes_on_when_there_is_room(disk, tmp_path):
    scores, config = tmp_path / "scores", building.BuildConfig(test=0, val=0)
    scores.mkdir()
    (scores / "0.mxl").write_bytes(mxl(score(melody(0))))
    fill(disk, free=8_000)
    with pytest.raises(StorageError) as caught:
        building.build([str(scores)], disk / "out", config)
    assert str(disk) in str(caught.value) and os.strerror(errno.ENOSPC) in str(caught.value)
    (disk / "filler").unlink()
    building.build([str(scores)], disk / "out", config)
    building.build([str(scores)], tmp_path / "whole", config)
    names = [{path.relative_to(out) for path in out.rglob("*")} for out in (disk / "out", tmp_path / "whole")]
    assert names[0] == names[1]


def test_features_stay_in_memory_where_the_disk_is_full(disk, caplog):
    def extractor(images):
        return torch.ones(len(images), 2048)

    extractor.name, extractor.sha256, extractor.about = "x", "0", {}
    cache, images = FeatureCache(disk / "cache"), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    fill(disk)
    assert torch.equal(cache.features(extractor, images), cache.features(extractor, images))
    assert "features are not kept (No space left on device)" in caplog.text
    assert not [path for path in (disk / "cache").rglob("*") if path.is_file()]

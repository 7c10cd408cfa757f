"""`diptych translate film.mp4 --out out.mp4`: what is said, and what is refused before any work."""

import sys

import pytest

from diptych.nets import generator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych, picture
from tests.data.films import film, moving, pictures_of, seconds_of

CHOSEN = ("--norms", "fixed", "--no-flow", "--quality", "40", "--codec-option", "preset=slow")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "s.safetensors"
    Snapshot({"a2b": generator("resnet_1", 3, 3, width=4)}, Domain(), Domain()).save(path)
    return path


def error_of(capsys, *words):
    assert diptych(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_film_becomes_a_film_once(snapshot, tmp_path, capsys):
    film(tmp_path / "in.mp4", moving(12), sound=True)
    words = ("translate", snapshot, tmp_path / "in.mp4", "--out", tmp_path / "out.mp4", "--device", "cpu")
    assert diptych(*words, "--dry-run") == 0 and not (tmp_path / "out.mp4").exists()
    assert capsys.readouterr().out == f"{tmp_path}/in.mp4 -> {tmp_path}/out.mp4\n"
    assert diptych(*words) == 0
    said = capsys.readouterr()
    assert said.out == f"1 film of 12 frames translated into {tmp_path}/out.mp4; torch fp32\n"
    assert f"{tmp_path}/in.mp4: 6 of 12 frames, 0:0" in said.err and len(said.err.splitlines()) == 9
    assert seconds_of(tmp_path / "out.mp4") == seconds_of(tmp_path / "in.mp4")
    assert diptych(*words) == 0
    assert capsys.readouterr().out == f"0 films translated into {tmp_path}/out.mp4, 1 was there\n"
    line = error_of(capsys, *words, "--norms", "frame")
    assert line.endswith(
        "was made with norms smooth instead of frame; make it anew with --overwrite, or keep what is there with --skip-existing"
    )
    assert "was made with the filter along the flow, which --no-flow leaves out; make" in error_of(capsys, *words, "--no-flow")
    assert "was made with quality the default instead of 40; make" in error_of(capsys, *words, "--quality", "40")
    line = error_of(capsys, *words, "--codec-option", "preset=slow")
    assert "was made with codec options the default instead of preset=slow; make" in line


def test_films_go_into_a_folder_and_bad_ones_are_skipped(snapshot, tmp_path, capsys):
    film(tmp_path / "in" / "a.mkv", moving(2, 31, 33), codec="ffv1", pixels="bgr0")
    film(tmp_path / "in" / "b.avi", codec="mpeg4")
    (tmp_path / "in" / "c.mp4").write_text("#EXTM3U\n#EXTINF:1,\nb.avi\n")
    films = sorted((tmp_path / "in").iterdir())
    assert diptych("translate", snapshot, *films, "--out", tmp_path / "out", *CHOSEN) == 1
    said = capsys.readouterr()
    assert said.out == f"2 films of 8 frames translated into {tmp_path}/out, 1 of 3 skipped; torch fp32\n"
    lines = said.err.splitlines()
    assert f"note: {tmp_path}/in/a.mkv: odd sides are kept by 4:4:4 samples, which some players do not show" in lines
    assert f"skipped: {tmp_path}/in/c.mp4: is a playlist (m3u8), which names films elsewhere; give the film itself" in lines
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != ".") == ["a.mkv", "b.mp4"]


def test_an_animation_becomes_a_film_and_a_film_an_animation(snapshot, tmp_path):
    film(tmp_path / "x.gif", codec="gif", pixels="rgb8")
    assert diptych("translate", snapshot, tmp_path / "x.gif", "--out", tmp_path / "y.mp4") == 0
    assert diptych("translate", snapshot, tmp_path / "y.mp4", "--out", tmp_path / "z.gif") == 0
    assert len(pictures_of(tmp_path / "z.gif")) == 6
    assert [round(float(t), 2) for t in seconds_of(tmp_path / "z.gif")] == [
        round(float(t), 2) for t in seconds_of(tmp_path / "x.gif")
    ]


def test_wrong_words_are_refused_in_one_line(snapshot, tmp_path, capsys):
    film(tmp_path / "a.mp4")
    film(tmp_path / "b.mp4")
    films = film(tmp_path / "films" / "c.mp4").parent
    picture(tmp_path / "p" / "x.png")
    a, out = tmp_path / "a.mp4", ("--out", tmp_path / "o.mp4")
    start = ("translate", snapshot)
    assert "names one film, but several are translated" in error_of(capsys, *start, a, tmp_path / "b.mp4", *out)
    assert "is no film, and" in error_of(capsys, *start, tmp_path / "p" / "x.png", a, "--out", tmp_path / "o")
    assert "--frames first is for images, and films are translated whole" in error_of(
        capsys, *start, a, *out, "--frames", "first"
    )
    assert "names a film, and" in error_of(capsys, *start, tmp_path / "p", *out)
    assert "films are written as .mp4" in error_of(capsys, *start, a, "--out", tmp_path / "o.wmv")
    line = error_of(capsys, *start, films, "--out", tmp_path / "o")
    assert f"holds no images, but films (1 x .mp4); to translate them, name them: {films}/*.mp4" in line
    assert "would be overwritten by its own translation" in error_of(capsys, *start, a, "--out", a)
    assert "no such film" in error_of(capsys, *start, tmp_path / "none.mp4", *out)
    assert "holds no norms over a film; choose --backend torch" in error_of(capsys, *start, a, *out, "--backend", "onnx")
    assert "its container does not" not in error_of(capsys, *start, a, *out, "--codec", "gif")
    assert "--shard is for images, and the inputs are none" in error_of(capsys, *start, a, *out, "--shard", "1/2")
    image = tmp_path / "p" / "x.png"
    assert "--no-flow is for films, and the inputs are none" in error_of(
        capsys, *start, image, "--out", tmp_path / "o", "--no-flow"
    )
    (tmp_path / "o.mp4").write_bytes(b"mine")
    assert "is there already and was not made by `diptych translate`" in error_of(capsys, *start, a, *out)
    assert (tmp_path / "o.mp4").read_bytes() == b"mine"
    assert "must be NAME=VALUE, such as preset=slow, found 'fast'" in error_of(capsys, *start, a, *out, "--codec-option", "fast")


@pytest.mark.parametrize(("package", "what"), [("av", "films"), ("cv2", "optical flow")])
def test_a_missing_extra_is_named(snapshot, tmp_path, capsys, monkeypatch, package, what):
    film(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, package, None)
    line = error_of(capsys, "translate", snapshot, tmp_path / "a.mp4", "--out", tmp_path / "o.mp4")
    assert line == f"error: {what}: needs {package}, which is not installed; pip install 'diptych[video]'"

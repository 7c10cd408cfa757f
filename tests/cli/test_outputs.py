"""No command overwrites what it reads, and none replaces a file that nobody named."""

import json
import os
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from diptych.cli.own_files import out_folder, out_path, refuse_suffix
from diptych.data.formats import read_pixels
from diptych.errors import ConfigError
from diptych.nets import generator
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych, folder, picture
from tests.reference import junyanz


def foreign(path):
    torch.save(junyanz.ResnetGenerator(ngf=2, n_blocks=1).state_dict(), path)
    return path


def snapshot(path):
    Snapshot({"a2b": generator("resnet_1", 3, 3, width=2).eval()}, Domain(), Domain()).save(path)
    return path


def refused(capsys, *words):
    assert diptych(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("how", ["same", "link", "other spelling"])
@pytest.mark.parametrize("command", ["export", "import", "plan", "music roll2midi", "music midi2roll", "music read"])
def test_a_result_that_would_replace_its_input_is_refused(command, how, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if command == "export":
        given, words, flag = snapshot(tmp_path / "x.safetensors"), ["--to", "torchscript"], "--out"
    elif command == "import":
        given, words, flag = foreign(tmp_path / "x.pth"), [], "--out"
    elif command == "plan":
        given, words, flag = tmp_path / "x.yaml", ["relief"], "--json"
        given.write_text(Recipe.create("pix2pix").to_yaml())
    else:
        given, words, flag = picture(tmp_path / "x.png"), [], "--out"
    out = {"same": given, "link": tmp_path / "link", "other spelling": tmp_path / "." / ".." / tmp_path.name / given.name}[how]
    if how == "link":
        out.symlink_to(given)
    before = given.read_bytes()
    line = refused(capsys, *command.split(), given, *words, flag, out)
    assert line == f"error: {out}: is the input {given} itself and would be overwritten; name another file"
    assert given.read_bytes() == before


def test_the_second_input_of_an_import_is_guarded_too(tmp_path, capsys):
    one, two = foreign(tmp_path / "a.pth"), foreign(tmp_path / "b.pth")
    assert "is the input" in refused(capsys, "import", one, two, "--out", two)


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_default_name_never_replaces_a_file(command, tmp_path, capsys):
    if command == "export":
        words, taken = [snapshot(tmp_path / "x.safetensors"), "--to", "torchscript"], tmp_path / "x-a2b.pt"
    else:
        words, taken = [foreign(tmp_path / "x.pth")], tmp_path / "x.safetensors"
    taken.write_bytes(b"mine")
    line = refused(capsys, command, *words)
    assert line == f"error: {taken}: is there already; give --out {taken} to replace it, or --out with another name"
    assert taken.read_bytes() == b"mine"
    # It replaces nothing but its own files, even when told.
    assert f"{taken}: is there already and was not made by this command" in refused(capsys, command, *words, "--out", taken)
    taken.unlink()
    assert diptych(command, *words) == 0
    assert diptych(command, *words, "--out", taken) == 0
    assert taken.read_bytes() != b"mine"


def test_a_check_never_replaces_that_of_other_data_of_the_same_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for where in ("one", "two"):
        folder(tmp_path / where / "x" / "trainA"), folder(tmp_path / where / "x" / "trainB", seed=9)
    assert diptych("check", "one/x") in (0, 1)
    capsys.readouterr()
    assert refused(capsys, "check", "two/x") == ("error: runs/check-x: holds the check of one/x; name another folder with --out")
    assert diptych("check", tmp_path / "one" / "x") in (0, 1)  # the same data under another spelling
    assert json.loads((tmp_path / "runs/check-x/check.json").read_text())["sources"] == [str(tmp_path / "one" / "x")]


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_folder_as_out_is_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = (
        [snapshot(tmp_path / "x.safetensors"), "--to", "torchscript"] if command == "export" else [foreign(tmp_path / "x.pth")]
    )
    assert diptych(command, *words, "--out", ".") == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: .: cannot be written (Is a directory)")


def test_a_broken_link_beside_a_kept_result_is_reported_and_the_rest_goes_on(tmp_path, capsys):
    net = snapshot(tmp_path / "x.safetensors")
    folder(tmp_path / "in", 1)
    Image.new("RGB", (4, 4)).save(tmp_path / "nowhere.png")
    (tmp_path / "in" / "broken.png").symlink_to("../nowhere.png")
    words = ["translate", net, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu"]
    assert diptych(*words) == 0
    (tmp_path / "nowhere.png").unlink()
    assert diptych(*words, "--overwrite") == 1
    assert "broken.png: is a broken symbolic link; restore its target, or remove it" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["0.png", "broken.png"]
    assert read_pixels(tmp_path / "out" / "broken.png").shape == (4, 4, 3)


@pytest.mark.parametrize("inside", ["", "runs/x"])
@pytest.mark.parametrize("command", ["train", "train --dry-run", "ablate"])
def test_a_run_inside_its_data_is_refused_since_its_pictures_would_become_data(command, inside, tmp_path, capsys):
    pairs = folder(tmp_path / "pairs", width=64)
    name, *more = command.split()
    out = pairs / inside
    line = refused(capsys, name, "pix2pix", pairs, "--out", out, *more)
    assert line.startswith(f"error: {out}: {'lies inside' if inside else 'is'} the data folder") and "another --out" in line
    assert sorted(path.name for path in pairs.iterdir()) == ["0.png", "1.png"]


def test_training_in_python_refuses_a_run_inside_its_data_too(tmp_path):
    pairs = folder(tmp_path / "pairs", width=64)
    with (
        pytest.raises(ConfigError, match="lies inside the data folder"),
        Run.open(pairs / "run", Recipe.create("pix2pix", {"data": {"source": [str(pairs)]}})),
    ):
        pass
    assert not (pairs / "run").exists()


@pytest.mark.parametrize(
    "words",
    ["demo --out ''", "demo --out=", "translate x.safetensors in --out ''", "music midi2roll x.mid --out ''", "check '' --out o"],
)
def test_an_empty_path_is_refused_and_not_taken_for_the_working_folder(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "(the working folder is written as .)" in refused(capsys, *shlex.split(words))
    assert not list(tmp_path.iterdir())


def test_the_dry_run_of_an_ablation_refuses_data_without_test_images_as_the_ablation_does(tmp_path, capsys):
    pairs = folder(tmp_path / "pairs", width=64)
    words = ["ablate", "pix2pix", pairs, "--out", tmp_path / "out", "--device", "cpu"]
    line = refused(capsys, *words, "--dry-run")
    assert line == refused(capsys, *words) and "no test images to compare variants on" in line


@pytest.mark.parametrize("command", ["export x --to onnx", "train cyclegan x", "translate x y", "compare", "music read x"])
def test_a_dash_as_out_is_refused_by_every_command(command, capsys):
    line = refused(capsys, *command.split(), "--out", "-")
    assert "argument --out: - is no file here, as nothing is written to standard output" in line


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("new/deep/x", "note: --out new/deep/x: the folder new/deep is not there, and is made when something is written"),
        ("x.xyz", "note: --out x.xyz: is made as a folder, although its name ends like that of a file"),
        ("x/../lr0.0002", ""),
        ("there.png", ""),
    ],
)
def test_a_folder_that_out_makes_is_said_where_it_may_be_a_slip(out, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir(), (tmp_path / "there.png").mkdir()
    (out_folder if "xyz" in out else out_path)(out)
    assert capsys.readouterr().err.strip() == said


@pytest.mark.parametrize(
    ("name", "fits"), [("x.pt", False), ("x.onnx", True), ("x", True), ("x.ONNX", True), ("v1.2", True), ("pipe.pt", True)]
)
def test_a_suffix_of_another_format_is_refused(name, fits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.pt")  # what is no file has any name
    if fits:
        return refuse_suffix(Path(name), (".onnx",), "onnx")
    with pytest.raises(ConfigError, match=r"--out x.pt: onnx is written, whose name ends in .onnx; change the suffix"):
        refuse_suffix(Path(name), (".onnx",), "onnx")


def test_an_export_into_a_name_of_the_other_format_writes_nothing(tmp_path, capsys):
    words = ["export", snapshot(tmp_path / "x.safetensors"), "--to", "onnx", "--out", tmp_path / "y.pt"]
    assert "onnx is written, whose name ends in .onnx" in refused(capsys, *words) and not (tmp_path / "y.pt").exists()

"""`diptych export`: one file beside the snapshot or where it is wanted, with what it is printed."""

import hashlib
import re

import numpy as np
import onnxruntime
import pytest

from diptych.data.formats import read_pixels
from diptych.nets import generator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych, picture


@pytest.fixture
def snapshot(tmp_path):
    nets = {direction: generator("resnet_1", 3, 3, width=4).eval() for direction in ("a2b", "b2a")}
    Snapshot(nets, Domain(), Domain()).save(tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def test_the_file_is_described_and_translates_as_the_command_does(snapshot, tmp_path, capsys):
    out = tmp_path / "net.onnx"
    assert diptych("export", snapshot, "--to", "onnx", "--direction", "b2a", "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out}  {out.stat().st_size:,} bytes"
    assert lines[1] == f"sha256  {hashlib.sha256(out.read_bytes()).hexdigest()}"
    assert re.fullmatch(r"greatest difference to the network \d\.\de-\d\d of \[-1, 1\], at 4 sizes", lines[2])
    given = picture(tmp_path / "x.png", 3, 37, 41)
    assert diptych("translate", snapshot, given, "--out", tmp_path / "out", "--direction", "b2a", "--device", "cpu") == 0
    pixels = read_pixels(given).transpose(2, 0, 1)[None]
    found = onnxruntime.InferenceSession(str(out)).run(None, {"pixels": pixels})[0][0].transpose(1, 2, 0)
    assert np.abs(found.astype(int) - read_pixels(tmp_path / "out" / "x.png")).max() <= 1


def test_without_a_name_it_stands_beside_the_snapshot(snapshot, tmp_path):
    assert diptych("export", snapshot, "--to", "torchscript") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-a2b.pt", "x.safetensors"]


def test_paper_mode_and_a_missing_direction_are_said(tmp_path, capsys):
    snapshot = tmp_path / "x.safetensors"
    Snapshot({"a2b": generator("unet_3", 3, 3, width=4).eval()}, Domain(), Domain(), mode="paper").save(snapshot)
    assert diptych("export", snapshot, "--to", "onnx", "--out", tmp_path / "x.onnx") == 0
    assert "note: this snapshot is applied in mode paper; the file is eval" in capsys.readouterr().err
    assert diptych("export", snapshot, "--to", "onnx", "--out", tmp_path / "y.onnx", "--direction", "b2a") == 2
    assert "error: this snapshot translates a2b, not b2a" in capsys.readouterr().err
    assert not (tmp_path / "y.onnx").exists()

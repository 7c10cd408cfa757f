"""`diptych translate --maps`: files beside the translations, nothing replaced, ranks of the true error."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.augment import resize
from diptych.data.formats import read_pixels
from diptych.inference.uncertainty import Maps
from diptych.nets import generator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych, folder, picture


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    torch.manual_seed(0)
    nets = {direction: generator("resnet_1", 3, 3, width=4, norm="instance") for direction in ("a2b", "b2a")}
    path = tmp_path_factory.mktemp("maps") / "snapshot.safetensors"
    Snapshot(nets, Domain(), Domain()).save(path)
    return path


def test_maps_are_written_beside_the_translations_and_again_only_where_they_are_missing(snapshot, tmp_path, capsys):
    folder(tmp_path / "in", 2, height=24, width=20)
    picture(tmp_path / "in" / "deep" / "x.png", 7, 33, 18)
    command = ["translate", snapshot, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu", "--maps"]
    assert diptych(*command) == 0
    captured = capsys.readouterr()
    assert f"maps of 3 images (cycle, edges) in {tmp_path}/out-maps\n" in captured.out
    assert "note: no maps of spread: " in captured.err and "note: no maps of mask: " in captured.err
    maps = Maps(Snapshot.load(snapshot), "a2b", device="cpu")
    pixels = read_pixels(tmp_path / "in" / "deep" / "x.png")
    _, expected = maps(maps.prepare(pixels))
    for kind in ("cycle", "edges"):
        found = read_pixels(tmp_path / "out-maps" / kind / "deep" / "x.tiff")
        assert found.dtype == np.float32 and np.array_equal(found[..., 0], expected[kind])
        assert read_pixels(tmp_path / "out-maps" / kind / "deep" / "x.png").shape == (*pixels.shape[:2], 3)
    rows = list(csv.DictReader((tmp_path / "out-maps" / "means.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == ["0", "1", "deep/x"]
    assert float(rows[2]["cycle"]) == pytest.approx(float(expected["cycle"].mean()), abs=1e-6)

    (tmp_path / "out-maps" / "edges" / "1.tiff").unlink()
    assert diptych(*command) == 0
    assert f"maps of 1 image (cycle, edges) in {tmp_path}/out-maps, 2 were there\n" in capsys.readouterr().out
    assert diptych(*command[:-1], "--maps", "cycle", "--direction", "b2a", "--skip-existing", "--dry-run") == 0
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "new", "--maps", "edges", "--dry-run") == 0
    assert f"{tmp_path}/in/0.png -> {tmp_path}/new-maps/edges/0.tiff\n" in capsys.readouterr().out
    assert not (tmp_path / "new-maps").exists()
    (tmp_path / "out-maps" / "edges" / "1.tiff").write_bytes(b"mine")
    assert diptych(*command) == 2
    assert f"{tmp_path}/out-maps/edges/1.tiff: was changed after" in capsys.readouterr().err


def test_truth_gives_maps_of_the_error_and_its_rank_correlation(snapshot, tmp_path, capsys):
    folder(tmp_path / "in", 3, height=24, width=20)
    folder(tmp_path / "truth", 3, seed=9, height=24, width=20)
    command = ["translate", snapshot, tmp_path / "in", "--out", tmp_path / "out", "--maps", "cycle", "--device", "cpu"]
    assert diptych(*command, "--truth", tmp_path / "truth") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("rank correlation of cycle"))
    found = json.loads((tmp_path / "out-maps" / "calibration.json").read_text())
    assert (
        found["cycle"]["images"] == 3
        and f"{found['cycle']['within']['value']:.2f}" in line
        and len(found["cycle"]["tenths"]) == 10
    )
    out, truth = (Domain().encode(_tensor(read_pixels(tmp_path / name / "2.png"))) for name in ("out", "truth"))
    error = read_pixels(tmp_path / "out-maps" / "error" / "2.tiff")[..., 0]
    assert np.abs(error - (out - truth).abs().mean(1)[0].numpy() / 2).max() < 1 / 255  # the written output is rounded

    (tmp_path / "truth" / "1.png").unlink()
    assert diptych(*command, "--truth", tmp_path / "truth", "--overwrite") == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/truth: has no image named 1; the truth of every image is needed\n"
    picture(tmp_path / "truth" / "1.png", 1, 10, 10)
    assert diptych(*command, "--truth", tmp_path / "truth", "--overwrite") == 1
    assert f"no maps: {tmp_path}/truth/1.png: has 10 x 10 pixels, expected 24 x 20" in capsys.readouterr().err
    twice = np.kron(read_pixels(tmp_path / "in" / "2.png"), np.ones((2, 2, 1), np.uint8))  # of the same proportions
    for number in range(3):
        Image.fromarray(twice if number else twice[:47]).save(tmp_path / "truth" / f"{number}.png")
    assert diptych(*command, "--truth", tmp_path / "truth", "--overwrite") == 0
    assert "note: 3 true images resized to the size of their inputs\n" in capsys.readouterr().err
    error = read_pixels(tmp_path / "out-maps" / "error" / "2.tiff")[..., 0]
    given = Domain().encode(_tensor(resize(twice, 24, 20)))
    assert np.abs(error - (out - given).abs().mean(1)[0].numpy() / 2).max() < 1 / 255


def _tensor(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--maps", "mask"], "--maps mask: this snapshot's generators have no mask; those of stegogan have one"),
        (["--maps", "spread"], "--maps spread: this generator has no dropout and draws no noise"),
        (["--truth", "."], "--truth is for maps, which are not asked for; add --maps"),
        (["--maps", "edges", "--sample-norms"], "--maps are of translations by each image's own statistics"),
        (["--samples", 3, "--ensemble", "SNAPSHOT", "--maps"], "--samples is for answers of one snapshot"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_written(snapshot, tmp_path, capsys, words, said):
    folder(tmp_path / "in", 1)
    words = [snapshot if word == "SNAPSHOT" else word for word in words]
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_maps_of_films_are_refused(snapshot, tmp_path, capsys):
    (tmp_path / "x.mp4").write_bytes(b"film")
    assert diptych("translate", snapshot, tmp_path / "x.mp4", "--out", tmp_path / "y.mp4", "--maps") == 2
    assert "--maps is for images, and the inputs are none; leave it out" in capsys.readouterr().err


def test_unknown_kinds_are_named_with_those_that_there_are(snapshot, tmp_path, capsys):
    folder(tmp_path / "in", 1)
    assert diptych("translate", "--maps", snapshot, tmp_path / "in", "--out", tmp_path / "out") == 2
    assert "must be kinds of maps (cycle, edges, spread, mask) with commas between" in capsys.readouterr().err

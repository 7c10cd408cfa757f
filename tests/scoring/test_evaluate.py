"""diptych.evaluate: everything that can be scored, from Python, with numbers that are known without running it."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import diptych
from diptych.data.formats import read_pixels, write_pixels
from diptych.errors import ConfigError, DataError
from diptych.inference.translator import Translator
from diptych.nets import build_net
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.cli.pictures import PIX2PIX, folder
from tests.cli.pictures import diptych as command

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_weights(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A pix2pix run that the command trained, with test images, in runs/facades of its folder."""
    root = tmp_path_factory.mktemp("facades")
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(root / "facades" / name, 3, seed=10 * i)
    assert command("train", "pix2pix", root / "facades", "--out", root / "runs" / "facades", *PIX2PIX) == 0
    return root / "runs" / "facades"


def negative(pixels):
    return 255 - pixels


def negatives(root, count=3):
    """A/ and B/ of pairs, each the negative of the other; returns the data folder."""
    folder(root / "A", count)
    for path in sorted((root / "A").iterdir()):
        (root / "B").mkdir(exist_ok=True)
        write_pixels(root / "B" / path.name, 255 - read_pixels(path))
    return root


def psnr(x, y):
    return -10 * math.log10(np.mean(((x.astype(float) - y.astype(float)) / 255) ** 2))


def test_a_run_is_scored_as_the_command_scores_it(run, tmp_path):
    found = diptych.evaluate(run, metrics=["psnr", "kid"], resamples=40, device="cpu", cache=False)
    words = [run, "--metrics", "psnr,kid", "--resamples", 40, "--device", "cpu", "--no-cache", "--out", tmp_path / "out"]
    assert command("evaluate", *words) == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == json.loads(json.dumps(found.to_json()))
    source = json.loads((run / "recipe.json").read_text())["data"]["source"][0]
    a, b = ([read_pixels(f"{source}/test{side}/{i}.png") for i in range(3)] for side in "AB")
    assert found.value("psnr", of="copy").value == pytest.approx(np.mean([psnr(x, y) for x, y in zip(a, b, strict=True)]))


def test_nothing_is_written_unless_a_folder_is_named(run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    diptych.evaluate(run, metrics=["l1"], device="cpu")
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before
    diptych.evaluate(run, metrics=["l1"], device="cpu", out=tmp_path / "new" / "out")
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["evaluation.html", "evaluation.json"]


def test_functions_of_native_pixels_are_scored_in_both_directions(tmp_path):
    found = diptych.evaluate({"a2b": negative, "b2a": negative}, negatives(tmp_path), size=32, metrics=["psnr", "cycle"])
    for direction in ("a2b", "b2a"):
        assert found.value("psnr", direction).value == math.inf and found.value("cycle", direction).value == 0
    assert found.value("psnr", of="copy").value < 20 and found.about["title"].startswith("Functions on ")
    one = diptych.evaluate({"a2b": negative, "b2a": negative}, tmp_path, size=32, metrics=["l1"], direction="b2a")
    assert {result.direction for result in one.results} == {"b2a"}


def test_functions_get_the_direction_and_the_pairs_that_they_are_told(tmp_path):
    seen = []

    def look(pixels):
        seen.append(pixels)
        return pixels

    diptych.evaluate({"a2b": look}, negatives(tmp_path, 1), size=32, data_direction="b2a", metrics=["l1"])
    assert torch.equal(seen[0][0].permute(1, 2, 0), torch.from_numpy(read_pixels(tmp_path / "B" / "0.png")))
    with pytest.raises(DataError, match="l1: needs pairs"):
        diptych.evaluate({"a2b": look}, tmp_path, size=32, paired=False, metrics=["l1"])


@pytest.mark.parametrize(("functions", "data"), [({"a2b": negative}, ()), ({"forward": negative}, ("x",))])
def test_functions_need_data_and_the_names_of_directions(functions, data):
    with pytest.raises(ConfigError, match="functions are named a2b and b2a, and take the data to evaluate them on"):
        diptych.evaluate(functions, *data)


def test_outputs_of_any_tool_are_scored_as_the_files_are(tmp_path):
    for i, name in enumerate(("out", "truth", "in")):
        folder(tmp_path / name, 3, seed=10 * i)
    found = diptych.evaluate(tmp_path / "out", tmp_path / "truth", inputs=tmp_path / "in", metrics=["psnr"])
    for of, name in (("model", "out"), ("copy", "in")):
        pictures = [[read_pixels(tmp_path / side / f"{i}.png") for side in (name, "truth")] for i in range(3)]
        assert found.value("psnr", of=of).value == pytest.approx(np.mean([psnr(x, y) for x, y in pictures]))


def test_images_that_influence_one_another_are_translated_one_by_one(tmp_path):
    torch.manual_seed(0)
    spec = {"net": "unet", "in_channels": 3, "out_channels": 3, "width": 4, "num_downs": 5}
    Snapshot({"a2b": build_net(spec)}, Domain(), Domain(), mode="paper", size=32).save(tmp_path / "batch.safetensors")
    negatives(tmp_path / "data", 4)
    found = diptych.evaluate(tmp_path / "batch.safetensors", tmp_path / "data", metrics=["psnr"], device="cpu")
    translate = Translator.load(tmp_path / "batch.safetensors", device="cpu")
    pictures = [[read_pixels(tmp_path / "data" / side / f"{i}.png") for side in "AB"] for i in range(4)]
    alone = [psnr(translate(x), y) for x, y in pictures]
    assert found.value("psnr").value == pytest.approx(np.mean(alone), rel=1e-6)
    together = translate(torch.stack([torch.from_numpy(x).permute(2, 0, 1) for x, _ in pictures]))
    assert [psnr(x.permute(1, 2, 0).numpy(), y) for x, (_, y) in zip(together, pictures, strict=True)] != pytest.approx(alone)


def test_the_example_of_the_documentation_runs(run, tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(run.parent)
    negatives(tmp_path / "more")
    for i, name in enumerate(("outputs", "truth", "inputs")):
        folder(tmp_path / name, 3, seed=10 * i)
    exec(example)
    printed = capsys.readouterr().out.splitlines()
    document = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    values = {(r["metric"], r["of"]): r["estimate"]["value"] for r in document["results"]}
    assert re.fullmatch(rf"{values['psnr', 'model']:.4g} \[.*\], n=3", printed[0])
    assert printed[1] == str(values["psnr", "copy"])

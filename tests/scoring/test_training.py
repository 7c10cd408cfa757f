"""What a training gets from scoring: validation while it runs, and its test images scored at the end."""

import shutil

import numpy as np
import pytest
import torch

from diptych.data.census import take_census
from diptych.data.datasets import view
from diptych.data.folders import find_data
from diptych.inference.translator import Translator
from diptych.metrics.image import psnr
from diptych.recipe import Recipe
from diptych.run import read_census
from diptych.scoring.after_training import QUICK_PAIRED, score_test_images
from diptych.scoring.snapshots import BATCH_SIZES, Loaded
from diptych.scoring.validation import validation_of
from diptych.snapshot import Snapshot
from tests.cli.pictures import PIX2PIX, diptych, folder


@pytest.fixture(autouse=True)
def no_weights(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pix2pix run from b to a whose test images were left alone."""
    root = tmp_path_factory.mktemp("run")
    for i, name in enumerate(("trainA", "trainB", "valA", "valB", "testA", "testB")):
        folder(root / "data" / name, 3, seed=10 * i)
    words = ["--data.direction", "b2a", "--no-test", "--validations", 0]
    assert diptych("train", "pix2pix", root / "data", "--out", root / "run", *PIX2PIX, *words) == 0
    return root / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def mean_psnr(run, split):
    """By hand: every image translated alone and compared with its truth."""
    translate = Translator.load(run / "snapshot.safetensors", device="cpu")
    config = Recipe.load(run / "recipe.json").data
    values = []
    for a, b in zip(split.a, split.b, strict=True):
        x, t = view(a, translate.source, config), view(b, translate.target, config)
        fake, truth = (translate.target.encode(image) for image in (translate(x)[None], t[None]))
        values.append(float(psnr(fake, truth)))
    return np.mean(values)


def test_the_test_images_are_scored_in_the_direction_of_the_recipe(run):
    found = score_test_images(run, device="cpu")
    split = find_data([run_data(run)], paired=True).test.swapped()
    assert found.value("psnr").value == pytest.approx(mean_psnr(run, split), rel=1e-6) and found.value("psnr").n == 3
    assert {result.metric for result in found.results} <= set(QUICK_PAIRED)
    assert {"test-a2b.png", "evaluation.json", "evaluation.html"} <= {path.name for path in run.iterdir()}


def run_data(run):
    return Recipe.load(run / "recipe.json").data.source[0]


def test_a_run_without_test_images_has_none_scored(run, tmp_path):
    for side in "AB":
        shutil.copytree(f"{run_data(run)}/train{side}", tmp_path / "plain" / f"train{side}")
    text = (run / "recipe.json").read_text().replace(run_data(run), str(tmp_path / "plain"))
    (run / "recipe.json").write_text(text)
    assert score_test_images(run, device="cpu") is None and not (run / "evaluation.json").exists()


def test_validation_scores_the_held_out_images_alone(run):
    recipe, census, polls = Recipe.load(run / "recipe.json"), read_census(run), []
    validation = validation_of(recipe, "cpu")
    scores = validation.score(Snapshot.load(run / "snapshot.safetensors"), census, lambda: polls.append(1))
    assert (validation.select, validation.higher_is_better) == ("psnr", True) and len(polls) == 3
    assert scores["psnr"] == pytest.approx(mean_psnr(run, census.val), rel=1e-6)
    assert take_census(census.val).split == census.val


def test_how_many_images_go_together_depends_on_whether_they_influence_one_another(run):
    snapshot = Snapshot.load(run / "snapshot.safetensors")
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in snapshot.generators["a2b"].modules())
    assert snapshot.mode == "paper" and Loaded.on(snapshot, "cpu").batch_size == 1
    quiet = Snapshot(snapshot.generators, snapshot.a, snapshot.b, mode="eval")
    assert Loaded.on(quiet, "cpu").batch_size == BATCH_SIZES["cpu"] > 1


def test_it_is_said_at_the_start_that_no_score_chooses_a_best_snapshot(tmp_path, caplog):
    for side in "AB":
        (tmp_path / f"train{side}").mkdir()
        np.save(tmp_path / f"train{side}" / f"{side}.npy", np.zeros((8, 8, 5), np.uint8))
    assert validation_of(Recipe.create("cyclegan", {"data": {"source": [str(tmp_path)]}}), "cpu").select == "nothing"
    assert "no score chooses a best snapshot: KID takes gray or RGB images, these have 5 and 5 channels" in caplog.text

"""What a training leaves behind besides its last snapshot, where it is asked: snapshots of epochs, logs, an early end."""

import json
import sys
import types
from dataclasses import dataclass, field

import pytest
import torch

from diptych.errors import ConfigError, MissingExtraError
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training import loop
from diptych.training.records.best import Validation
from diptych.training.records.loggers import numbers_of
from diptych.training.status import find_runs, status_of
from tests.cli.pictures import digest, folder

METHOD = {"generator": "unet_2", "ngf": 4, "norm": "instance", "dropout": False, "num_layers": 1, "ndf": 4}


@pytest.fixture
def images(tmp_path):
    folder(tmp_path / "A", 20, height=16, width=16), folder(tmp_path / "B", 20, seed=50, height=16, width=16)
    return tmp_path


def recipe(images, **train):
    data = {"source": [str(images / "A"), str(images / "B")], "resize": "none", "crop_size": 16, "holdout": 0.4}
    settings = {"epochs": 4, "decay_epochs": 0, "precision": "fp32", "batch_size": 4} | train
    return Recipe.create("pix2pix", {"method": METHOD, "data": data, "train": settings})


def run(recipe, out, **options):
    options = {"device": "cpu", "workers": 0, "cache": "off", "num_previews": 0} | options
    return loop.train(recipe, out, **options)


def validation(*scores):
    """Scores that come one after another, the lower the better."""
    left = list(scores)
    return Validation(lambda snapshot, census, poll: {"kid": left.pop(0)}, "kid", False)


def test_snapshots_of_every_second_epoch_are_those_of_a_training_that_ends_there(images):
    run(recipe(images), images / "run", keep_every=2)
    kept = sorted(path.name for path in (images / "run").glob("snapshot-epoch-*"))
    assert kept == ["snapshot-epoch-0002.safetensors", "snapshot-epoch-0004.safetensors"]
    run(recipe(images, epochs=2), images / "short")
    early, short = (Snapshot.load(path) for path in (images / "run" / kept[0], images / "short" / "snapshot.safetensors"))
    assert early.about["selection"] == "after epoch 2" and early.about["images"] == short.about["images"] == 24
    weights = [snapshot.generators["a2b"].state_dict() for snapshot in (early, short)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_patience_ends_a_training_that_no_longer_improves_and_the_same_command_says_so(images, caplog):
    caplog.set_level("INFO")
    options = {"num_validations": 12, "patience": 3, "log_every": 100}
    run(recipe(images), images / "run", validation=validation(5.0, 4.0, 4.5, 4.2, 4.0, *[9.0] * 9), **options)
    lines = [json.loads(line) for line in (images / "run" / "stats.jsonl").read_text().splitlines()]
    assert [line["validation"]["kid"] for line in lines] == [5.0, 4.0, 4.5, 4.2, 4.0]  # an equal score is no better one
    assert lines[-1]["early_stop"] == 3 and Run(images / "run").states()[0].name == f"state-{lines[-1]['step']:09d}.safetensors"
    assert (
        "no better score in 3 validations in a row (lowest kid on the validation split, 4, is the best snapshot)" in caplog.text
    )
    status = status_of(images / "run")
    assert (status.state, status.step, status.steps) == ("stopped early", 5, 12)
    assert status.best == "lowest kid on the validation split, 4"

    before = digest(images / "run" / "snapshot.safetensors")
    run(recipe(images), images / "run", validation=validation(), **options)
    assert digest(images / "run" / "snapshot.safetensors") == before and "nothing is left to train" in caplog.text
    run(recipe(images), images / "run", validation=validation(*[9.0] * 7), **options | {"patience": 0})
    assert status_of(images / "run").state == "finished"


def test_what_has_no_effect_is_said(images, caplog):
    run(
        recipe(images, epochs=1).replace(**{"data.holdout": 0.0}),
        images / "run",
        patience=3,
        keep_every=5,
        validation=validation(),
    )
    assert "nothing can end this training early: no images validate it" in caplog.text
    assert "no snapshot is kept every 5 epochs, as the training has fewer epochs" in caplog.text
    alone = recipe(images, lr_d=1e-3).replace(**{"method.lambda_gan": 0.0})
    with pytest.raises(
        ConfigError, match=r"train\.lr_d is the rate of discriminators, and with these settings the method has none"
    ):
        run(alone, images / "alone")


def test_a_training_without_patience_or_with_scores_that_improve_goes_to_its_end(images):
    falling = [float(10 - i) for i in range(4)]
    run(recipe(images), images / "run", num_validations=4, patience=1, validation=validation(*falling))
    assert status_of(images / "run").state == "finished"


@dataclass
class Written:
    """Stands in for the writer of TensorBoard, and for a run of Weights & Biases."""

    scalars: list = field(default_factory=list)
    pictures: list = field(default_factory=list)
    closed: bool = False

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def add_image(self, name, pixels, step, dataformats):
        self.pictures.append((step, pixels.shape, dataformats))

    def flush(self):
        pass

    def close(self):
        self.closed = True

    def log(self, values, step):
        if "preview" in values:
            self.pictures.append((step, values["preview"].shape, "HWC"))
        else:
            self.scalars += [(name, value, step) for name, value in values.items()]

    finish = close


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_gets_every_number_of_every_line_and_the_previews(name, images, monkeypatch):
    written, opened = Written(), []
    if name == "tensorboard":
        monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
        fake = types.ModuleType("torch.utils.tensorboard")
        fake.SummaryWriter = lambda folder: opened.append(folder) or written
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    else:
        fake = types.ModuleType("wandb")
        fake.init = lambda **how: opened.append(how) or written
        fake.Image = lambda pixels: pixels
        monkeypatch.setitem(sys.modules, "wandb", fake)
    run(recipe(images), images / "run", loggers=[name], log_every=6, num_previews=1)
    lines = [json.loads(line) for line in (images / "run" / "stats.jsonl").read_text().splitlines()]
    expected = [(path, value, line["step"]) for line in lines for path, value in numbers_of(line).items()]
    assert written.scalars == expected and {"losses/G/l1", "lr", "images_s"} <= {path for path, _, _ in expected}
    assert [step for step, _, _ in written.pictures] == [1, 12] and written.pictures[0][1][2] == 3 and written.closed
    if name == "tensorboard":
        assert opened == [str(images / "run" / "tensorboard")]
    else:
        (how,) = opened
        assert how["project"] == "diptych" and how["name"] == "run" and how["resume"] == "allow" and how["config"]["method"]
        run(recipe(images), images / "run", loggers=[name])
        assert opened[1]["id"] == how["id"]  # a resumed training goes on in the same run


def test_a_logger_that_is_not_installed_is_named_with_what_to_install(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"--log wandb: needs wandb, .* pip install 'diptych\[wandb\]'"):
        run(recipe(images), images / "run", loggers=["wandb"])


def test_numbers_are_found_at_any_depth_and_only_finite_ones():
    line = {"step": 3, "lr": 0.1, "losses": {"G/l1": 2, "D/real": float("nan")}, "verdicts": ["x"], "validation": {"kid": 1.5}}
    assert numbers_of(line) == {"lr": 0.1, "losses/G/l1": 2.0, "validation/kid": 1.5}


def test_runs_are_found_wherever_they_lie_with_how_far_they_came(images, monkeypatch):
    run(recipe(images), images / "runs" / "deep" / "done")
    (images / "runs" / "fresh").mkdir()
    (images / "runs" / "fresh" / "recipe.json").write_text(json.dumps(recipe(images).to_dict()))
    (images / "runs" / "torn").mkdir()
    (images / "runs" / "torn" / "recipe.json").write_text("{")
    (images / "runs" / "no run").mkdir()
    found = {status.folder.name: status for status in find_runs(images / "runs")}
    assert {name: status.state for name, status in found.items()} == {"done": "finished", "fresh": "not begun", "torn": "damaged"}
    assert (found["done"].step, found["done"].steps, found["done"].method) == (12, 12, "pix2pix")
    with Run.open(images / "runs" / "fresh", recipe(images)):
        assert status_of(images / "runs" / "fresh").state == "training"
    assert status_of(images / "runs" / "fresh").state == "not begun"

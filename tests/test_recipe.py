"""Recipes: one strict value in and out of files, the published defaults, and methods of one's own."""

import json
import sys
import types

import numpy as np
import pytest
import yaml
from PIL import Image

from diptych.errors import ConfigError
from diptych.methods import METHODS, Extra, method_config
from diptych.music.recipes import RECIPES as MUSIC
from diptych.pixels import Domain
from diptych.presets import PRESETS, preset
from diptych.recipe import Recipe, TrainConfig, first_difference
from diptych.recipe_files import without_paths
from diptych.recipes import RECIPES, named
from diptych.snapshot import Snapshot
from diptych.training.loop import train
from tests.contract.small import CUT, small

# --- in and out ---


EVERY = RECIPES | MUSIC


@pytest.mark.parametrize("name", EVERY)
def test_every_published_recipe_survives_dict_yaml_and_json(name, tmp_path):
    recipe = named(name, EVERY)
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    (tmp_path / "r.json").write_text(json.dumps(recipe.to_dict()))
    for back in (
        Recipe.from_dict(recipe.to_dict()),
        Recipe.load(tmp_path / "r.yaml"),
        Recipe.load(tmp_path / "r.json"),
        Recipe.from_dict(yaml.safe_load(recipe.to_yaml())),
    ):
        assert back == recipe
        assert type(back.train.betas) is tuple and type(back.data.source) is tuple


def test_every_changed_setting_survives():
    settings = {
        "method": {"generator": "resnet_4", "lambda_l1": 3.0, "gan": "hinge", "conditional": False},
        "data": {"source": ["a folder", "ünï/☃"], "resize": "aspect", "flip": False},
        "train": {"betas": [0.0, 0.9], "lr": 1e-5, "precision": "bf16", "epochs": 0},
    }
    recipe = Recipe.create("pix2pix", settings)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    for part, values in settings.items():
        assert recipe.to_dict()[part].items() >= values.items()


def test_overrides_come_after_settings():
    recipe = Recipe.create("pix2pix", {"train": {"epochs": 5, "lr": 0.1}}, ["--train.epochs", "7", "--data.flip", "false"])
    assert (recipe.train.epochs, recipe.train.lr, recipe.data.flip) == (7, 0.1, False)


def test_settings_of_one_recipe_do_not_leak_into_the_next():
    Recipe.create("pix2pix", {"train": {"epochs": 5}}, ["--method.ngf", "8"])
    assert Recipe.create("pix2pix") == Recipe.from_dict({"method": "pix2pix"})
    assert Recipe.create("pix2pix").train.epochs == 100 and Recipe.create("pix2pix").method.ngf == 64


# --- mistakes ---


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": {"epoch": 5}}, ["train.epoch", "did you mean train.epochs?"]),
        ({"method": {"lamda_l1": 5.0}}, ["method.lamda_l1", "did you mean method.lambda_l1?"]),
        ({"data": {"crop": 5}}, ["data.crop", "data.crop_size"]),
        ({"train": {"epochs": "many"}}, ["train.epochs", "int", "many"]),
        ({"train": {"lr": [1]}}, ["train.lr", "float"]),
        ({"data": {"resize": "squre"}}, ["data.resize", "square", "squre"]),
        ({"method": {"gan": "wgan-gp"}}, ["method.gan", "wgan", "wgan-gp"]),
        ({"train": 5}, ["train: expected settings by name", "found 5"]),
        ({"training": {"epochs": 5}}, ["training"]),
        ({"train": {"epochs": -1}}, ["train.epochs must be at least 0, found -1"]),
        ({"train": {"epochs": 0, "decay_epochs": 0}}, ["train.epochs and train.decay_epochs are both 0"]),
        ({"train": {"batch_size": 0}}, ["train.batch_size must be at least 1, found 0"]),
        ({"train": {"seed": 10**30}}, [f"train.seed must be below 2^63, found {10**30}"]),
        ({"train": {"ema": 1.0}}, ["train.ema must be at least 0 and below 1, found 1.0"]),
        ({"data": {"load_size": 100}}, ["data.load_size must be at least data.crop_size (256), found 100"]),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_value(settings, words):
    with pytest.raises(ConfigError) as caught:
        Recipe.create("pix2pix", settings)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (["--train.epoch", "5"], ["train.epoch", "train.epochs"]),
        (["--train.epochs", "x"], ["train.epochs", "x"]),
        (["--method.lambda_cycle_a", "1"], ["method.lambda_cycle_a"]),
    ],
)
def test_a_mistake_on_the_command_line_is_named_too(override, words):
    with pytest.raises(ConfigError) as caught:
        Recipe.create("pix2pix", None, override)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [", "cannot be read as YAML or JSON"),
        ("- 1\n- 2", "a recipe is a mapping with the keys method, data, train, extra, start; found list"),
        ("train: {epochs: 5}", "a recipe needs method.name"),
        ("method: {name: pix2pics}", "no method is called 'pix2pics'.*did you mean pix2pix"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML or JSON"),
        (None, "cannot be read as YAML or JSON"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(text, message, tmp_path):
    if text is not None:
        (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        Recipe.load(tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pix2pics", "did you mean pix2pix"),
        ("no.such.module:Config", "No module named 'no'"),
        ("diptych.losses:Nothing", "Nothing"),
    ],
)
def test_a_method_that_is_not_there_is_named(name, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.create(name)


def test_an_unknown_recipe_or_preset_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no recipe is called 'facade'; did you mean facades\?"):
        named("facade")
    with pytest.raises(ConfigError, match="preset must be one of paper, laptop, found 'phone'"):
        preset("phone", "pix2pix")


def test_the_first_difference_is_found_in_order():
    old, new = Recipe.create("pix2pix").to_dict(), Recipe.create("pix2pix", {"train": {"lr": 0.5, "seed": 9}}).to_dict()
    assert first_difference(old, new) == "train.lr: 0.0002 -> 0.5"
    assert first_difference(old, old) is None
    assert first_difference({}, {"train": {"lr": 1}}) == "train.lr: None -> 1"


# --- what is published ---

PUBLISHED = {  # by the papers and their authors' code
    "pix2pix": {
        "method": {
            "generator": "unet_8",
            "norm": "batch",
            "dropout": True,
            "gan": "vanilla",
            "lambda_l1": 100.0,
            "conditional": True,
        }
    },
    "cyclegan": {
        "method": {
            "generator": "resnet_9",
            "norm": "instance",
            "dropout": False,
            "gan": "lsgan",
            "lambda_cycle_a": 10.0,
            "lambda_cycle_b": 10.0,
            "lambda_identity": 0.5,
            "pool_size": 50,
            "lambda_pair": 10.0,  # not published: as much as a cycle
        }
    },
}
SHARED = {
    "method": {"ngf": 64, "ndf": 64, "num_layers": 3, "init": "normal", "init_gain": 0.02, "upsample": "transposed"}
    | {"lambda_gan": 1.0, "lambda_gp": 10.0, "lambda_r1": 0.0, "pixel_loss": {"kind": "l1", "foreground": 1.0, "max_shift": 0}},
    "data": {"load_size": 286, "crop_size": 256, "flip": True, "resize": "square", "direction": "a2b"},
    "train": {"epochs": 100, "decay_epochs": 100, "batch_size": 1, "lr": 2e-4, "betas": [0.5, 0.999], "ema": 0.0}
    | {"decay": "epoch", "seed": 0, "accumulate": 1, "checkpoint": False},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_defaults_are_the_published_ones(name):
    found = Recipe.create(name).to_dict()
    for part, values in SHARED.items():
        assert found[part].items() >= values.items()
        assert found[part].items() >= PUBLISHED[name].get(part, {}).items()
    assert method_config(name).paired == (name == "pix2pix")
    assert method_config(name).mode == ("paper" if name == "pix2pix" else "eval")


@pytest.mark.parametrize("name", EVERY)
def test_every_published_recipe_builds_its_networks(name):
    recipe = named(name, EVERY)
    narrow = {f"method.{key}": 2 for key in ("ngf", "ndf") if hasattr(recipe.method, key)}
    extra = [term for term in recipe.extra if "network" not in term.options]  # whose weights tests do not have
    b = Domain(2, classes=((0,), (1,))) if recipe.data.labels == "b" else Domain()
    method = recipe.replace(**narrow, extra=tuple(extra)).build(Domain(), b)
    assert method.generators() and method.phases()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_builds_its_networks(name, method):
    narrow = [word for key in small(method).keys() & {"ngf", "ndf"} for word in (f"--method.{key}", "2")]
    recipe = Recipe.create(method, preset(name, method), narrow)
    assert recipe.build(Domain(), Domain()).generators()


def test_a_method_of_ones_own_takes_the_presets_too():
    assert preset("laptop", "mine:Config")["data"]["crop_size"] == 128 and preset("paper", "mine:Config") == {}


# --- the learning rate ---


@pytest.mark.parametrize(("epochs", "decay"), [(100, 100), (3, 5), (0, 4), (7, 0), (1, 1)])
def test_the_learning_rate_is_whole_then_falls_in_equal_steps_and_never_reaches_0(epochs, decay):
    config = TrainConfig(epochs=epochs, decay_epochs=decay, lr=2.0)
    found = [config.lr_at(epoch) for epoch in range(epochs + decay)]
    assert found[:epochs] == [2.0] * epochs
    assert found[epochs:] == pytest.approx([2.0 * (1 - k / (decay + 1)) for k in range(1, decay + 1)])
    if decay:
        assert found[-1] == pytest.approx(2.0 / (decay + 1)) and found[-1] > 0
        assert found[epochs] == pytest.approx(2.0 * (1 - 1 / (decay + 1)))


@pytest.mark.parametrize(("epochs", "decay"), [(3, 5), (0, 4), (1, 1)])
def test_from_step_to_step_the_learning_rate_falls_to_0(epochs, decay):
    config = TrainConfig(epochs=epochs, decay_epochs=decay, lr=2.0, decay="step")
    assert config.lr_at(epochs) == config.lr_at(0) == 2.0
    assert config.lr_at(epochs + decay / 2) == pytest.approx(1.0)
    assert config.lr_at(epochs + decay) == pytest.approx(0.0)
    assert TrainConfig(epochs=3, decay_epochs=0, lr=2.0, decay="step").lr_at(2.9) == 2.0
    with pytest.raises(ConfigError, match=r"train\.decay must be one of epoch, step, cosine"):
        TrainConfig(decay="linear")


def test_a_cosine_falls_slowly_then_fast_then_slowly_to_0():
    config = TrainConfig(epochs=2, decay_epochs=4, lr=2.0, decay="cosine")
    found = [config.lr_at(epoch) for epoch in (0, 1.9, 2, 3, 4, 5, 6)]
    assert found == pytest.approx([2.0, 2.0, 2.0, 1 + 2**-0.5, 1.0, 1 - 2**-0.5, 0.0])
    assert TrainConfig(epochs=2, decay_epochs=0, lr=2.0, decay="cosine").lr_at(1.9) == 2.0


@pytest.mark.parametrize("decay", ["epoch", "step", "cosine"])
def test_a_warm_up_rises_from_0_to_the_full_rate(decay):
    config = TrainConfig(epochs=4, decay_epochs=2, lr=2.0, warm_up=2.0, decay=decay)
    assert [config.lr_at(epoch) for epoch in (0, 0.5, 1, 2, 3)] == pytest.approx([0.0, 0.5, 1.0, 2.0, 2.0])
    plain = TrainConfig(epochs=4, decay_epochs=2, lr=2.0, decay=decay)
    assert config.lr_at(5.5) == plain.lr_at(5.5)


def test_the_discriminators_rate_follows_the_same_course_from_its_own_value():
    config = TrainConfig(epochs=1, decay_epochs=3, lr=1e-4, lr_d=4e-4, warm_up=0.5)
    assert [config.lr_d_at(epoch) for epoch in (0, 0.25, 0.5, 2)] == pytest.approx([0.0, 2e-4, 4e-4, 2e-4])
    assert [config.lr_d_at(epoch) / 4 for epoch in (0.25, 2)] == pytest.approx([config.lr_at(epoch) for epoch in (0.25, 2)])
    assert TrainConfig().lr_d_at(3) == TrainConfig().lr_at(3) == 2e-4


def test_the_published_schedule_in_numbers():
    config = TrainConfig()
    for epoch, share in ((0, 1.0), (99, 1.0), (100, 100 / 101), (150, 50 / 101), (199, 1 / 101)):
        assert config.lr_at(epoch) == pytest.approx(2e-4 * share)


# --- a method of one's own ---


@pytest.mark.parametrize("missing", ["name", "paired", "mode", "images", "build"])
def test_what_a_method_lacks_is_said_by_name(missing, monkeypatch):
    parts = {key: value for key, value in vars(method_config(CUT)).items() if key not in (missing, "__dict__", "__weakref__")}
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Config=type("Config", (), parts)))
    with pytest.raises(ConfigError, match=rf"method mine:Config: Config lacks {missing} \(.*\); see docs/method\.md"):
        Recipe.create("mine:Config")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (type("Config", (method_config(CUT),), {"mode": "evl"}), "mode must be one of eval, paper, found 'evl'"),
        (type("Config", (), {}), "Config is no dataclass; decorate it with @dataclass"),
    ],
)
def test_a_method_that_is_not_right_is_refused_at_the_door(config, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Config=config))
    with pytest.raises(ConfigError, match=message):
        Recipe.create("mine:Config")


def test_one_row_gives_a_method_its_name(monkeypatch):
    monkeypatch.setitem(METHODS, "cut-like", CUT)
    recipe = Recipe.create("cut-like", preset("laptop", "cut-like"), ["--method.num_patches", "64"])
    assert recipe.to_dict()["method"]["name"] == "cut-like" and recipe.method.num_patches == 64
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    monkeypatch.setitem(METHODS, "other", CUT)
    with pytest.raises(ConfigError, match=r"CutLikeConfig\.name must be its name in METHODS, found 'cut-like'"):
        Recipe.create("other")


OWN = """
from dataclasses import dataclass
from typing import ClassVar, final
from torch import nn
from diptych.losses import l1
from diptych.methods import Batch, Method

@dataclass(frozen=True)
class RegressionConfig:
    name: ClassVar[str] = "regression"
    paired: ClassVar[bool] = True
    mode: ClassVar[str] = "eval"
    images: ClassVar[tuple[str, ...]] = ()
    width: int = 4
    weight: float = 1.0

    def build(self, a, b, crop_size):
        from diptych.nets import ResNet
        return Regression(ResNet(a.channels, b.channels, width=self.width, num_blocks=1), self.weight)

@final
class Regression(Method):
    def __init__(self, G_ab, weight):
        super().__init__()
        self.G_ab, self.weight = G_ab, weight

    def generators(self):
        return {"a2b": self.G_ab}

    def phases(self):
        return {"G": [self.G_ab]}

    def losses(self, batch):
        yield "G", {"l1": self.weight * l1(self.G_ab(batch.a), batch.b)}
"""


def test_a_method_in_a_file_of_ones_own_trains_resumes_and_translates_without_that_file(tmp_path, monkeypatch):
    (tmp_path / "own_regression.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    noise = np.random.default_rng(0)
    for side in "AB":
        (tmp_path / side).mkdir()
        for k in range(3):
            Image.fromarray(noise.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(tmp_path / side / f"{k}.png")
    settings = {
        "method": {"weight": 2.0},
        "data": {"source": [str(tmp_path / "A"), str(tmp_path / "B")], "load_size": 18, "crop_size": 16},
        "train": {"epochs": 2, "decay_epochs": 1, "precision": "fp32"},
    }
    recipe = Recipe.create("own_regression:RegressionConfig", settings)
    assert recipe.to_dict()["method"] == {"name": "own_regression:RegressionConfig", "width": 4, "weight": 2.0}
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ConfigError, match="names no images of its step, so that no loss can be added to it"):
        recipe.replace(extra=(Extra("pixel", ("fake_b", "real_b")),))
    with pytest.raises(ConfigError, match=r"did you mean method\.weight\?"):
        Recipe.create("own_regression:RegressionConfig", {"method": {"weigth": 1.0}})
    for _ in range(2):  # the second time there is nothing left to do
        path = train(recipe, tmp_path / "run", device="cpu", log_every=1, num_previews=0)
    lines = (tmp_path / "run" / "stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 10))
    assert list(json.loads(lines[0])["losses"]) == ["G/l1"]
    del sys.modules["own_regression"]
    assert list(Snapshot.load(path).generators) == ["a2b"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"trian": {}}, "trian"), ({"train": {"epcohs": {}}}, "train.epcohs"), ({"method": {"pixel_lss": {}}}, "method.pixel_lss")],
)
def test_an_unknown_key_is_an_error_when_its_value_is_empty_too(settings, name):
    with pytest.raises(ConfigError, match=f"^recipe: no setting is called {name}; did you mean "):
        Recipe.create("pix2pix", settings)


def test_an_empty_part_of_a_recipe_changes_nothing():
    assert Recipe.create("pix2pix", {"train": {}, "extra": []}) == Recipe.create("pix2pix")


def test_a_published_recipe_names_files_and_folders_without_their_paths():
    kept = {"method": {"name": "pix2pix"}, "train": {"epochs": 3}}
    start = {
        "weights": "/home/me/old/snapshot.safetensors",
        "run": "",
        "lineage": ["/home/me/runs/x at 4,000 images, SHA-256 ab"],
    }
    values = kept | {"data": {"source": ["/home/me/photos", "C:\\me\\zebras\\", "hf:user/set", "relief"]}, "start": start}
    found = without_paths(values)
    assert found["data"] == {"source": ["photos", "zebras", "hf:user/set", "relief"]}
    assert found["start"] == {"weights": "snapshot.safetensors", "run": "", "lineage": ["x at 4,000 images, SHA-256 ab"]}
    assert {key: found[key] for key in kept} == kept
    assert values["data"]["source"][0] == "/home/me/photos"
    assert without_paths(kept) == kept | {"data": {}}

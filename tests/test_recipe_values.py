"""A recipe as values: into files and dicts and out of them again, changed by name, and compared."""

import dataclasses
import json
import sys
import types
from typing import ClassVar

import pytest
import yaml
from torch import nn

from diptych.data.datasets import DataConfig
from diptych.errors import ConfigError
from diptych.methods import Extra
from diptych.methods.pix2pix import Pix2PixConfig
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig, first_difference, flat
from diptych.settings import Count

TERM = {"loss": "pixel", "between": ["fake_b", "real_b"], "weight": 2.0, "kind": "bce"}
RECIPE = Recipe(
    Pix2PixConfig(ngf=8),
    DataConfig(source=("a \U0001f3b5 folder",), load_size=40, crop_size=32),
    TrainConfig(epochs=3, betas=(0.0, 0.9)),
    (Extra("pixel", ("fake_b", "real_b"), 2.0, {"kind": "bce"}),),
)


def test_a_dict_has_plain_values_with_the_name_of_the_method_first():
    values = RECIPE.to_dict()
    assert list(values) == ["method", "data", "train", "extra"]
    assert next(iter(values["method"].items())) == ("name", "pix2pix") and values["method"]["ngf"] == 8
    assert values["data"]["source"] == ["a \U0001f3b5 folder"] and values["train"]["betas"] == [0.0, 0.9]
    assert values["method"]["pixel_loss"] == {"kind": "l1", "foreground": 1.0, "max_shift": 0} and values["extra"] == [TERM]
    assert Recipe.from_dict(values) == RECIPE


def test_a_yaml_file_keeps_the_order_of_the_settings_and_a_list_stands_on_one_line():
    lines = RECIPE.to_yaml().splitlines()
    assert lines[:2] == ["method:", "  name: pix2pix"] and "  betas: [0.0, 0.9]" in lines
    assert yaml.safe_load(RECIPE.to_yaml()) == RECIPE.to_dict()


@pytest.mark.parametrize("kind", [str, lambda path: path])
@pytest.mark.parametrize("name", ["r.json", "r.yaml", "r.yml"])
def test_files_of_either_kind_are_read_and_changed_by_name(name, kind, tmp_path):
    path = tmp_path / name
    path.write_text(json.dumps(RECIPE.to_dict()) if name.endswith("json") else RECIPE.to_yaml())
    assert Recipe.load(kind(path)) == RECIPE
    assert Recipe.load(kind(path), ["--train.epochs", "9"]) == RECIPE.replace(**{"train.epochs": 9})


def test_a_method_may_be_named_alone_and_overrides_come_last():
    assert Recipe.from_dict({"method": "cyclegan"}) == Recipe.create("cyclegan")
    values = {"method": {"name": "pix2pix", "ngf": 8}, "train": {"lr": 0.5}}
    recipe = Recipe.from_dict(values, ["--method.ngf", "9"])
    assert (recipe.method.ngf, recipe.train.lr) == (9, 0.5) and values["method"] == {"name": "pix2pix", "ngf": 8}


def test_settings_of_earlier_versions_are_read():
    recipe = Recipe.from_dict({"method": {"name": "pix2pix", "foreground": 8.0}})
    assert recipe.method.pixel_loss.foreground == 8.0


def test_replacing_changes_the_settings_that_are_named_in_every_part_and_no_others():
    changed = RECIPE.replace(**{"method.ngf": 16, "data.flip": False, "train.seed": 5, "train.lr": 0.5})
    values, before = flat(changed.to_dict()), flat(RECIPE.to_dict())
    assert {key for key in before if values[key] != before[key]} == {"method.ngf", "data.flip", "train.seed", "train.lr"}
    assert (changed.method.ngf, changed.data.flip, changed.train.seed, changed.train.lr) == (16, False, 5, 0.5)
    assert RECIPE.replace(extra=()).extra == () and RECIPE.replace(extra=()).train == RECIPE.train


def test_the_parts_of_a_recipe_are_the_published_ones_unless_given():
    assert Recipe(Pix2PixConfig()) == Recipe(Pix2PixConfig(), DataConfig(), TrainConfig(), ()) == Recipe.create("pix2pix")


def test_nested_settings_by_dotted_key():
    assert flat({"a": {"b": {"c": 1, "d": [2]}, "e": 3}, "f": {}, "g": None}) == {"a.b.c": 1, "a.b.d": [2], "a.e": 3, "g": None}


def test_the_first_difference_is_that_of_the_first_key_and_memory_settings_make_none():
    old = {"train": {"lr": 1, "accumulate": 1, "checkpoint": False, "seed": 0}}
    assert first_difference(old, {"train": {"lr": 1, "accumulate": 2, "checkpoint": True, "seed": 0}}) is None
    assert first_difference(old, {"train": {"lr": 2, "accumulate": 1, "checkpoint": False, "seed": 9}}) == "train.lr: 1 -> 2"
    assert first_difference(old, {"train": {"lr": 1, "accumulate": 2, "seed": 9}}) == "train.seed: 0 -> 9"
    assert first_difference(old, {"train": {"accumulate": 1, "seed": 0}}) == "train.lr: 1 -> None"
    assert first_difference({}, {"data": {"flip": True}}) == "data.flip: None -> True"


def test_a_recipe_builds_its_method_for_the_domains_and_the_size_of_crops_and_adds_its_losses():
    settings = {
        "method": {"generator": "unet_2", "ngf": 2, "ndf": 2, "num_layers": 1},
        "data": {"load_size": 40, "crop_size": 32},
    }
    method = Recipe.create("pix2pix", settings | {"extra": [TERM]}).build(Domain(1), Domain(4))
    assert (method.G_ab.spec["in_channels"], method.G_ab.spec["out_channels"]) == (1, 4)
    ((term, loss),) = method.extra.losses
    assert (term.name, term.weight, loss.kind) == ("pixel_fake_b_real_b", 2.0, "bce")
    cycle = {"generator": "resnet_1", "ngf": 2, "ndf": 2, "num_layers": 1, "pool_size": 1}
    pool = Recipe.create("cyclegan", settings | {"method": cycle}).build(Domain(), Domain()).pool_a
    assert pool.images.shape == (1, 3, 32, 32)


@dataclasses.dataclass(frozen=True)
class Own:
    """A configuration of a user's own, which checks nothing itself."""

    name: ClassVar[str] = "own"
    paired: ClassVar[bool] = True
    mode: ClassVar[str] = "eval"
    images: ClassVar[tuple[str, ...]] = ("x", "y")
    width: Count = 4

    def build(self, a, b, crop_size):
        made = nn.Module()
        made.given = a, b, crop_size
        return made


def test_a_method_of_ones_own_is_checked_and_built_likewise(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Own=Own))
    recipe = Recipe.create("mine:Own", {"data": {"load_size": 40, "crop_size": 32}})
    assert recipe.build(Domain(1), Domain(2)).given == (Domain(1), Domain(2), 32)
    with pytest.raises(ConfigError, match=r"^method\.width must be at least 1, found 0$"):
        Recipe(Own(width=0))
    with pytest.raises(ConfigError, match=rf"^extra: pixel: {__name__}:Own has no image called 'z'; known: x, y$"):
        Recipe(Own(), extra=(Extra("pixel", ("x", "z")),))


def test_a_method_that_names_no_images_takes_no_added_losses():
    @dataclasses.dataclass(frozen=True)
    class Silent(Own):
        images: ClassVar[tuple[str, ...]] = ()

    place = f"{__name__}:{Silent.__qualname__}"
    with pytest.raises(ConfigError) as caught:
        Recipe(Silent(), extra=(Extra("pixel", ("x", "y")),))
    assert str(caught.value) == f"extra: {place} names no images of its step, so that no loss can be added to it"


@pytest.mark.parametrize("setting", ["data.angle", "data.max_shift", "data.holdout", "data.source", "train.lr", "method.ngf"])
def test_a_setting_whose_value_was_taken_out_is_named(setting):
    part, name = setting.split(".")
    values = RECIPE.to_dict()
    values[part][name] = None
    with pytest.raises(ConfigError, match=setting):
        Recipe.from_dict(values)

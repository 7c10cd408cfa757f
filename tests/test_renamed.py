"""Recipes that earlier versions wrote mean what they meant then, and that they were translated is said."""

import json
import logging
import re

import pytest

from diptych.errors import ConfigError
from diptych.losses import PixelLoss, StructureLoss
from diptych.music.recipes import RECIPES as MUSIC
from diptych.music.translators import PRETRAINED
from diptych.recipe import Recipe
from diptych.renamed import RENAMED, new_name, translated
from diptych.run import Run
from diptych.trees import read_header

# method sections of recipe.json as version 0.1 wrote them for music-read and music-unpaired, in the words of that time
PIX2PIX = {
    "name": "pix2pix",
    "generator": "unet_5",
    "ngf": 24,
    "dropout": False,
    "norm": "batch",
    "lambda_gan": 0.0,
    "lambda_l1": 1.0,
    "pixel": "bce",
    "foreground": 8.0,
}
CYCLEGAN = {
    "name": "cyclegan",
    "generator": "unet_4",
    "ngf": 24,
    "ndf": 32,
    "num_layers": 2,
    "lambda_cycle_a": 5.0,
    "lambda_cycle_b": 3.0,
    "lambda_identity": 0.0,
    "pixel": "bce",
    "foreground": 8.0,
    "lambda_structure": 10.0,
    "structure": 0.2,
    "lambda_pair": 10.0,
}


def test_an_old_recipe_is_one_of_today(caplog):
    caplog.set_level(logging.INFO, "diptych")
    old = Recipe.from_dict({"method": CYCLEGAN})
    today = MUSIC["music-unpaired"]()
    assert old.method == today.method
    both = ("fake_b", "real_a"), ("fake_a", "real_b")
    assert [(t.loss, t.between, t.weight, t.options) for t in old.extra] == [
        ("structure", two, 10.0, {"enough": 0.2}) for two in both
    ]
    assert all(t.make() == StructureLoss(0.2, 0.7) for t in old.extra)
    (line,) = caplog.messages
    for name in ("method.pixel is now method.pixel_loss.kind", "method.lambda_structure is now extra.structure.weight"):
        assert name in line
    caplog.clear()
    assert Recipe.from_dict(old.to_dict()) == old and not caplog.messages


def test_old_defaults_add_nothing():
    method = {"name": "cyclegan", "pixel": "l1", "foreground": 1.0, "lambda_structure": 0.0, "structure": 0.2}
    assert Recipe.from_dict({"method": method}) == Recipe.create("cyclegan")


def test_an_old_setting_beside_new_ones_keeps_them():
    term = {"loss": "pixel", "between": ["rec_a", "real_a"], "weight": 1.0}
    recipe = Recipe.from_dict({"method": {"name": "cyclegan", "lambda_structure": 2.0, "ngf": 8}, "extra": [term]})
    assert recipe.method.ngf == 8 and [t.loss for t in recipe.extra] == ["structure", "structure", "pixel"]


@pytest.mark.parametrize("task", ["read", "draw"])
def test_the_recipes_of_the_snapshots_that_ship_load(task):
    header = read_header(PRETRAINED / f"{task}-1-4.safetensors")
    recipe = Recipe.from_dict(header["about"]["recipe"])
    assert recipe.method.pixel_loss == PixelLoss("bce", {"read": 8.0, "draw": 2.0}[task])
    assert recipe.method == MUSIC[f"music-{task}"]().method


def test_a_run_of_an_earlier_version_goes_on_with_the_recipe_of_today(tmp_path):
    today = MUSIC["music-read"]()
    (tmp_path / "recipe.json").write_text(json.dumps(today.to_dict() | {"method": PIX2PIX}))
    (tmp_path / "state-000000001.safetensors").touch()
    with Run.open(tmp_path, today):
        pass
    with (
        pytest.raises(ConfigError, match=r"another recipe \(method\.pixel_loss\.foreground: 8\.0 -> 2\.0\)"),
        Run.open(tmp_path, today.replace(**{"method.pixel_loss": PixelLoss("bce", 2.0)})),
    ):
        pass


@pytest.mark.parametrize(("method", "setting"), RENAMED)
def test_an_old_setting_on_the_command_line_names_what_to_give_and_that_is_understood(method, setting):
    value = "bce" if setting == "method.pixel" else "0.5"
    with pytest.raises(ConfigError) as caught:
        Recipe.create(method, None, [f"--{setting}", value])
    found = re.search(rf"^recipe: {re.escape(setting)} is .*; give (--[\w.]+)(?: '(.*)')?$", str(caught.value))
    recipe = Recipe.create(method, None, [found[1], found[2].replace("VALUE", value) if found[2] else value])
    name = RENAMED[method, setting].split(".")[-1]
    if setting in ("method.pixel", "method.foreground"):
        assert str(getattr(recipe.method.pixel_loss, name)) == value
    else:
        assert [term.to_dict()[name] for term in recipe.extra] == [0.5, 0.5]


def test_a_method_of_ones_own_may_have_a_setting_of_an_old_name(caplog):
    caplog.set_level(logging.INFO, "diptych")
    values = {"method": {"name": "mine:Config", "pixel": 3, "structure": "tree"}}
    assert translated(values) == values and not caplog.messages
    assert new_name("mine:Config", "method.pixel") == ""


def test_recipes_that_runs_wrote_before_profiles_were_read_ignore_them_and_others_do_not(caplog):
    caplog.set_level("INFO")
    whole = Recipe.create("pix2pix", {"data": {"source": ["x"]}}).to_dict()
    assert whole["data"]["icc"] == "srgb" and Recipe.from_dict(whole).data.icc == "srgb" and not caplog.messages
    before = whole | {"data": {name: value for name, value in whole["data"].items() if name not in ("icc", "alpha")}}
    assert Recipe.from_dict(before).data.icc == "ignore"
    assert caplog.messages == ["recipe of an earlier version: data.icc is ignore, as it was then"]
    assert (
        Recipe.from_dict({"method": {"name": "pix2pix"}, "data": {"source": ["x"], "crop_size": 64, "load_size": 64}}).data.icc
        == "srgb"
    )

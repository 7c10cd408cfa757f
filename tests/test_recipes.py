"""The published experiments, written down a second time: what each recipe changes of its method's published settings."""

import pytest

from diptych.errors import ConfigError
from diptych.recipe import Recipe
from diptych.recipes import PRESETS, RECIPES, by_name, named, preset

CHANGES = {
    "facades": ("pix2pix", {"data.direction": "b2a"}),
    "maps": ("pix2pix", {}),
    "horse2zebra": ("cyclegan", {}),
    "sunflower2daisy": ("cyclegan", {"train.epochs": 175, "train.decay_epochs": 175}),  # 350 as published
    "cyclegan-gan-alone": ("cyclegan", {"method.lambda_cycle_a": 0.0, "method.lambda_cycle_b": 0.0}),
    "cyclegan-cycle-alone": ("cyclegan", {"method.lambda_gan": 0.0, "method.lambda_identity": 0.0}),
    "cyclegan-forward-cycle": ("cyclegan", {"method.lambda_cycle_b": 0.0, "method.lambda_identity": 0.0}),
    "cyclegan-backward-cycle": ("cyclegan", {"method.lambda_cycle_a": 0.0, "method.lambda_identity": 0.0}),
    "pix2pix-l1": ("pix2pix", {"method.lambda_gan": 0.0}),
    "pix2pix-gan": ("pix2pix", {"method.lambda_l1": 0.0, "method.conditional": False}),
    "pix2pix-cgan": ("pix2pix", {"method.lambda_l1": 0.0}),
    "pix2pix-l1-gan": ("pix2pix", {"method.conditional": False}),
    "relief": (
        "pix2pix",
        {
            "method.generator": "unet_5",
            "method.ngf": 32,
            "method.ndf": 32,
            "method.norm": "instance",
            "method.dropout": False,
            "method.upsample": "pixelshuffle",
            "data.source": ("relief",),
            "data.resize": "none",
            "data.crop_size": 128,
            "data.flip": False,
            "train.epochs": 7,
            "train.decay_epochs": 7,
            "train.batch_size": 4,
            "train.lr": 1e-3,
            "train.ema": 0.99,
        },
    ),
    "relief-unpaired": (
        "cyclegan",
        {
            "method.generator": "unet_4",
            "method.ngf": 32,
            "method.ndf": 32,
            "method.upsample": "pixelshuffle",
            "data.source": ("relief",),
            "data.resize": "none",
            "data.crop_size": 96,
            "data.flip": False,
            "train.epochs": 5,
            "train.decay_epochs": 5,
            "train.lr": 4e-4,
            "train.ema": 0.99,
        },
    ),
}
LAPTOP = {
    "data.load_size": 143,
    "data.crop_size": 128,
    "train.epochs": 50,
    "train.decay_epochs": 50,
    "method.ngf": 32,
    "method.ndf": 32,
}
LAPTOP_OF = {
    "pix2pix": LAPTOP | {"method.generator": "unet_7", "method.norm": "instance"},
    "cyclegan": LAPTOP | {"method.generator": "resnet_6"},
}


def test_every_recipe_is_written_down_here():
    assert CHANGES.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_these_settings_and_no_others(name):
    method, changes = CHANGES[name]
    assert named(name) == Recipe.create(method).replace(**changes)


@pytest.mark.parametrize("method", LAPTOP_OF)
def test_the_laptop_preset_changes_these_settings_and_no_others(method):
    assert Recipe.create(method, preset("laptop", method)) == Recipe.create(method).replace(**LAPTOP_OF[method])
    assert Recipe.create(method, preset("paper", method)) == Recipe.create(method)
    assert list(PRESETS) == ["paper", "laptop"]


def test_recipes_are_named_as_their_functions_with_hyphens():
    def one_two_three():
        return None

    assert by_name(one_two_three, print) == {"one-two-three": one_two_three, "print": print}


def test_a_name_that_is_near_no_recipe_is_answered_with_all_of_them():
    with pytest.raises(ConfigError) as caught:
        named("zzz", {"one": print, "two": print})
    assert str(caught.value) == "no recipe is called 'zzz'; known: one, two"

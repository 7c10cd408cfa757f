"""The recipes of music, written down a second time: what each changes of its method's published settings."""

import pytest

from diptych.losses import PixelLoss
from diptych.methods import Extra
from diptych.music.recipes import RECIPES
from diptych.recipe import Recipe

PAGES = {"data.resize": "none", "data.crop_size": 320, "data.flip": False, "train.epochs": 0, "train.decay": "step"}
SUPERVISED = PAGES | {
    "method.generator": "unet_5",
    "method.ngf": 24,
    "method.dropout": False,
    "method.lambda_gan": 0.0,
    "method.lambda_l1": 1.0,
    "train.decay_epochs": 3,
    "train.batch_size": 2,
    "train.lr": 3e-3,
    "train.ema": 0.995,
}
KEPT = {"enough": 0.4, "rows": 0.85, "columns": 0.85, "windows": 0.4}
CHANGES = {
    "music-read": ("pix2pix", SUPERVISED | {"method.pixel_loss": PixelLoss("bce", 8.0)}),
    "music-draw": ("pix2pix", SUPERVISED | {"method.pixel_loss": PixelLoss("bce", 2.0)}),
    "music-symbols": (
        "pix2pix",
        SUPERVISED
        | {
            "method.pixel_loss": PixelLoss("ce", 4.0),
            "data.crop_size": (256, 512),
            "data.labels": "b",
            "data.classes": 24,
            "train.decay_epochs": 4,
            "train.ema_warm_up": True,
        },
    ),
    "music-unpaired": (
        "cyclegan",
        PAGES
        | {
            "method.generator": "unet_4",
            "method.ngf": 24,
            "method.ndf": 32,
            "method.num_layers": 2,
            "method.pixel_loss": PixelLoss("bce", 8.0),
            "method.lambda_cycle_a": 5.0,
            "method.lambda_cycle_b": 3.0,
            "method.lambda_identity": 0.0,
            "data.crop_size": (64, 320),
            "train.decay_epochs": 1,
            "train.lr": 5e-4,
            "train.lr_d": 5e-5,
            "train.ema": 0.99,
            "extra": (
                Extra("structure", ("fake_b", "real_a"), 20.0, KEPT),
                Extra("structure", ("fake_a", "real_b"), 20.0, KEPT),
            ),
        },
    ),
}


def test_every_recipe_is_written_down_here():
    assert CHANGES.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_a_recipe_changes_these_settings_and_no_others(name):
    method, changes = CHANGES[name]
    assert RECIPES[name]() == Recipe.create(method).replace(**changes)

"""The published experiments, written down a second time: what each recipe changes of its method's published settings."""

import pytest

from diptych.errors import ConfigError
from diptych.methods import Extra
from diptych.presets import PRESETS, preset
from diptych.recipe import Recipe
from diptych.recipes import RECIPES, by_name, named

LONG = {"train.epochs": 200, "train.decay_epochs": 200}
PERCEPTUAL = Extra(  # the weights of VGG19's relu1_1 ... relu5_1 in the authors' code
    "perceptual",
    ("fake_b", "real_b"),
    10.0,
    {"network": "vgg16", "layers": [1, 2, 3, 4, 5], "layer_weights": [0.03125, 0.0625, 0.125, 0.25, 1.0]},
)
HORSES = ("horse2zebra",)
STREETS = {"data.source": ("cityscapes",), "data.direction": "b2a"}
FIFTEEN = {"train.epochs": 8, "train.decay_epochs": 7, "train.batch_size": 4}
UNPAIRED = "apple2orange", "summer2winter_yosemite", "iphone2dslr_flower", "monet2photo", "cezanne2photo", "ukiyoe2photo"
CHANGES = {
    **{name.replace("_", "-"): ("cyclegan", {"data.source": (name,)}) for name in (*UNPAIRED, "vangogh2photo")},
    **{name: ("pix2pix", FIFTEEN | {"data.source": (name,)}) for name in ("edges2shoes", "edges2handbags")},
    "cityscapes": ("pix2pix", STREETS),
    "day2night": (
        "pix2pix",
        {"data.source": ("night2day",), "data.direction": "b2a"}
        | {"train.epochs": 9, "train.decay_epochs": 8, "train.batch_size": 4},
    ),
    "facades": ("pix2pix", {"data.source": ("facades",), "data.direction": "b2a"}),
    "maps": ("pix2pix", {"data.source": ("maps",)}),
    "horse2zebra": ("cyclegan", {"data.source": HORSES}),
    "horse2zebra-cut": ("cut", LONG | {"data.source": HORSES}),
    "horse2zebra-fastcut": (
        "cut",
        {
            "data.source": HORSES,
            "method.lambda_nce": 10.0,
            "method.lambda_nce_idt": 0.0,
            "method.flip_equivariance": True,
            "train.epochs": 150,
            "train.decay_epochs": 50,
        },
    ),
    "horse2zebra-src": (
        "cut",
        LONG
        | {"data.source": HORSES, "method.lambda_src": 0.05, "method.contrast": "hdce"}
        | {"method.lambda_nce": 0.1, "method.lambda_nce_idt": 0.1},
    ),
    "horse2zebra-qs": ("cut", LONG | {"data.source": HORSES, "method.queries": "attention"}),
    "single-image": (
        "cut",
        {
            "method.gan": "vanilla",
            "method.lambda_nce": 4.0,
            "method.generator": "stylegan2",
            "method.lambda_nce_idt": 4.0,
            "method.lambda_identity": 1.0,
            "method.lambda_r1": 1.0,
            "method.num_patches": 1,
            "method.negatives": "batch",
            "method.ngf": 10,
            "method.ndf": 8,
            "data.resize": "none",
            "data.crop_size": 64,
            "train.epochs": 800_000,
            "train.decay_epochs": 800_000,
            "train.batch_size": 16,
            "train.lr": 2e-3,
            "train.betas": (0.0, 0.99),
        },
    ),
    "horse2zebra-dclgan": ("dclgan", LONG | {"data.source": HORSES}),
    "cityscapes-santa": ("santa", LONG | STREETS | {"method.lambda_path": 0.1}),
    "horse2zebra-unsb": ("unsb", LONG | {"data.source": HORSES, "method.time": "off"}),
    "maps-stegogan": ("stegogan", {"data.source": ("maps",), "train.epochs": 50, "train.decay_epochs": 50}),
    "sunflower2daisy": ("cyclegan", {"train.epochs": 175, "train.decay_epochs": 175}),  # 350 as published
    "cyclegan-gan-alone": ("cyclegan", {"method.lambda_cycle_a": 0.0, "method.lambda_cycle_b": 0.0}),
    "cyclegan-cycle-alone": ("cyclegan", {"method.lambda_gan": 0.0, "method.lambda_identity": 0.0}),
    "cyclegan-forward-cycle": ("cyclegan", {"method.lambda_cycle_b": 0.0, "method.lambda_identity": 0.0}),
    "cyclegan-backward-cycle": ("cyclegan", {"method.lambda_cycle_a": 0.0, "method.lambda_identity": 0.0}),
    "pix2pix-l1": ("pix2pix", {"method.lambda_gan": 0.0}),
    "pix2pix-gan": ("pix2pix", {"method.lambda_l1": 0.0, "method.conditional": False}),
    "pix2pix-cgan": ("pix2pix", {"method.lambda_l1": 0.0}),
    "pix2pix-l1-gan": ("pix2pix", {"method.conditional": False}),
    "uvcgan2-cat2dog": (
        "uvcgan2",
        {
            "method.generator": "vit_modnet",
            "method.ngf": 48,
            "data.load_size": 256,
            "data.holdout": 0.0,
            "train.epochs": 194,  # 500 x 2,000 images of 5,153 each
            "train.decay_epochs": 0,
            "train.lr": 1e-4,
            "train.betas": (0.5, 0.99),
            "train.ema": 0.9999,
            "train.ema_warm_up": True,
        },
    ),
    "pix2pixhd-global": (
        "pix2pixhd",
        {"data.resize": "aspect", "data.load_size": 512, "data.crop_size": 512, "extra": (PERCEPTUAL,)},
    ),
    "bicyclegan-edges2shoes": ("bicyclegan", {"data.source": ("edges2shoes",), "data.load_size": 256, "train.batch_size": 2}),
    "ddbm-edges2handbags": (
        "bridge",
        {
            "data.source": ("edges2handbags",),
            "method.ngf": 192,
            "method.num_blocks": 3,
            "method.num_attention": 3,
            "method.steps": 20,
            "data.load_size": 64,
            "data.crop_size": 64,
            "train.epochs": 600,
            "train.decay_epochs": 0,
            "train.lr": 1e-4,
            "train.betas": (0.9, 0.999),
            "train.batch_size": 192,
            "train.ema": 0.9999,
            "train.ema_warm_up": True,
        },
    ),
    "relief": (
        "pix2pix",
        {
            "method.generator": "unet_5",
            "method.ngf": 32,
            "method.ndf": 16,
            "method.norm": "none",
            "method.init": "kaiming",
            "method.lambda_l1": 1000.0,
            "method.dropout": False,
            "method.upsample": "pixelshuffle",
            "data.source": ("relief",),
            "data.resize": "none",
            "data.crop_size": 128,
            "data.flip": False,
            "train.epochs": 17,
            "train.decay_epochs": 17,
            "train.decay": "step",
            "train.batch_size": 4,
            "train.lr": 1e-3,
            "train.ema": 0.999,
            "train.ema_warm_up": True,
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
    **dict.fromkeys(("cyclegan", "cut", "dclgan", "santa", "unsb", "stegogan"), LAPTOP | {"method.generator": "resnet_6"}),
    "uvcgan2": LAPTOP
    | {"method.generator": "resnet_6", "train.lr": 1e-4, "train.betas": (0.5, 0.99)}
    | {"train.epochs": 100, "train.decay_epochs": 0, "train.ema": 0.999, "train.ema_warm_up": True},
    "pix2pixhd": LAPTOP | {"method.num_downs": 3, "method.num_blocks": 6},
    "bicyclegan": LAPTOP | {"method.generator": "unet_7", "method.nef": 32},
    "bridge": {key: value for key, value in LAPTOP.items() if key != "method.ndf"}
    | {"train.lr": 1e-4, "train.betas": (0.9, 0.999)}
    | {"train.epochs": 100, "train.decay_epochs": 0, "train.ema": 0.999, "train.ema_warm_up": True},
}

PAPER_OF = {
    "uvcgan2": {"data.load_size": 256, "train.epochs": 200, "train.decay_epochs": 0}
    | {"train.lr": 1e-4, "train.betas": (0.5, 0.99), "train.ema": 0.9999, "train.ema_warm_up": True},
    "bridge": {"train.epochs": 200, "train.decay_epochs": 0}
    | {"train.lr": 1e-4, "train.betas": (0.9, 0.999), "train.ema": 0.9999, "train.ema_warm_up": True},
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
    assert Recipe.create(method, preset("paper", method)) == Recipe.create(method).replace(**PAPER_OF.get(method, {}))
    assert list(PRESETS) == ["paper", "laptop"]


def test_recipes_are_named_as_their_functions_with_hyphens():
    def one_two_three():
        return None

    assert by_name(one_two_three, print) == {"one-two-three": one_two_three, "print": print}


def test_a_name_that_is_near_no_recipe_is_answered_with_all_of_them():
    with pytest.raises(ConfigError) as caught:
        named("zzz", {"one": print, "two": print})
    assert str(caught.value) == "no recipe is called 'zzz'; known: one, two"

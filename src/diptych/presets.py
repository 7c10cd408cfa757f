"""Presets: settings that change a method or a published experiment as a whole."""

from __future__ import annotations

from typing import Any

from diptych.errors import ConfigError

Settings = dict[str, Any]

AVERAGED: Settings = {"ema": 0.999, "ema_warm_up": True}
UVCGAN2: Settings = {"lr": 1e-4, "betas": [0.5, 0.99], "decay_epochs": 0, "ema": 0.9999, "ema_warm_up": True}
BRIDGE: Settings = {"lr": 1e-4, "betas": [0.9, 0.999], "decay_epochs": 0, "ema": 0.9999, "ema_warm_up": True}
LAPTOP: Settings = {"data": {"load_size": 143, "crop_size": 128}, "train": {"epochs": 50, "decay_epochs": 50}}
PRESETS: dict[str, dict[str, Settings]] = {
    "paper": {
        "uvcgan2": {"data": {"load_size": 256, "crop_size": 256}, "train": UVCGAN2 | {"epochs": 200}},
        "bridge": {"train": BRIDGE | {"epochs": 200}},
    },
    "laptop": {
        "single-image": {"train": {"epochs": 80_000, "decay_epochs": 80_000}},  # whose epoch is one crop of 64 px
        "pix2pix": LAPTOP | {"method": {"generator": "unet_7", "ngf": 32, "ndf": 32, "norm": "instance"}},
        **{
            method: LAPTOP | {"method": {"generator": "resnet_6", "ngf": 32, "ndf": 32}}
            for method in ("cyclegan", "cut", "dclgan", "santa", "unsb", "stegogan")
        },
        "uvcgan2": LAPTOP
        | {"method": {"generator": "resnet_6", "ngf": 32, "ndf": 32}}
        | {"train": UVCGAN2 | {"epochs": 100} | AVERAGED},
        "pix2pixhd": LAPTOP | {"method": {"ngf": 32, "num_downs": 3, "num_blocks": 6, "ndf": 32}},
        "bicyclegan": LAPTOP | {"method": {"generator": "unet_7", "ngf": 32, "ndf": 32, "nef": 32}},
        "bridge": LAPTOP | {"method": {"ngf": 32}, "train": BRIDGE | {"epochs": 100} | AVERAGED},
    },
}
"""By method, and by recipe where that of its method does not fit.

``paper``: 256 px and the optimizer as published, which a method gets by its name alone.
``laptop``: 128 px, half the channels and half the epochs, for a CPU.
"""


def preset(name: str, method: str) -> Settings:
    """The settings of a preset for a method; a method without a laptop setting of its own gets only the smaller images."""
    if name not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, found {name!r}")
    return PRESETS[name].get(method, LAPTOP if name == "laptop" else {})


def with_preset(values: Settings, name: str, recipe: str = "") -> Settings:
    """The values of a published experiment (its name is ``recipe``) under a preset; losses that it adds stay.

    ``paper`` is what it has by itself. What ``laptop`` would make larger or longer stays as it is: the networks where they are as
    narrow already, the images where the crop is as small, and the epochs where they are as few.
    """
    method, data, train = values["method"], values["data"], values["train"]
    own = recipe in PRESETS.get(name, {})
    changes = preset(name, recipe if own else method["name"])
    if name == "paper" or own:
        return _merged(values, changes if own else {})
    new = {part: dict(found) for part, found in changes.items()}
    if "ngf" in new.get("method", {}) and method["ngf"] <= new["method"]["ngf"]:
        del new["method"]
    crop = data["crop_size"]
    if data["resize"] == "none" or (max(crop) if isinstance(crop, list) else crop) <= new["data"]["crop_size"]:
        del new["data"]
    if train["epochs"] + train["decay_epochs"] <= new["train"]["epochs"] + new["train"]["decay_epochs"]:
        new["train"] = {key: value for key, value in new["train"].items() if key not in ("epochs", "decay_epochs")}
    return _merged(values, new)


def _merged(values: Settings, changes: Settings) -> Settings:
    """Settings with changes over them, part by part."""
    return values | {part: values[part] | found for part, found in changes.items()}

"""Small networks and ablations of any method, derived from its configuration: a new method needs no word here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from diptych.errors import ConfigError
from diptych.losses import L1, PixelLoss
from diptych.methods import METHODS, Batch, MethodConfig, method_config
from diptych.pixels import Domain
from diptych.recipe import Recipe

CUT = "tests.contract.cut_like:CutLikeConfig"
NAMES = [*METHODS, CUT]
"""Every method that the contract is kept by: those of the table, and one that is added by its file alone."""

Settings = dict[str, Any]
SMALL = {"ngf": 4, "ndf": 4, "num_layers": 1, "pool_size": 3, "projection": 8, "num_patches": 6}
SMALLEST = {"resnet": "resnet_1", "unet": "unet_3", "encoder_decoder": "encoder_decoder_3"}
UNMIXED = {
    "norm": "instance",
    "dropout": False,
    "pool_size": 0,
    "num_patches": 1000,
}  # no image of a batch changes what another one teaches
OF_THE_NETWORKS = ("generator", "init", "downsample", "upsample")  # tests/nets tries them
ALONE_WITHOUT_EFFECT = ("lambda_gp", "lambda_pair")  # they need gan: wgan and data.pairs


def small(name: str, **settings: Any) -> Settings:
    """Settings of small networks: those that have the house's names shrink, all others stay as published."""
    config = method_config(name)()
    shrunk = {key: value for key, value in SMALL.items() if hasattr(config, key)}
    if hasattr(config, "generator"):
        shrunk["generator"] = SMALLEST[config.generator.rpartition("_")[0]]
    return shrunk | settings


def unmixed(name: str) -> Settings:
    """Settings with which the images of a batch do not influence each other, as far as the method has them."""
    return {key: value for key, value in UNMIXED.items() if hasattr(method_config(name), key)}


def ablations(name: str) -> list[Settings]:
    """The published settings, and one change at a time: every other choice, each switch, each weight and count at 0 or on."""
    config = method_config(name)
    hints = get_type_hints(config)
    changes = [{field.name: value} for field in fields(config) for value in others(field.default, hints[field.name])]
    changes = [change for change in changes if not change.keys() & {*OF_THE_NETWORKS, *ALONE_WITHOUT_EFFECT}]
    return [{}, *(change for change in changes if allowed(config, small(name) | change))]


def others(value: Any, hint: Any) -> list[Any]:
    """Other values of a setting that a method must bear."""
    if get_origin(hint) is Literal:
        return [other for other in get_args(hint) if other != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [type(value)(0 if value else 1)]
    return [PixelLoss("bce", 8.0)] if value == L1 else []


def allowed(config: type[MethodConfig], settings: Settings) -> bool:
    """Whether a recipe takes these settings of the method."""
    try:
        return bool(Recipe(config(**settings)))
    except ConfigError:
        return False


def draws(name: str, settings: Settings, size: int = 16) -> bool:
    """Whether a step draws at random, so that parts of a batch, or two processes, cannot draw what the whole does."""
    found = []
    for seed in range(2):
        torch.manual_seed(1)
        method = method_config(name)(**settings).build(Domain(), Domain(), size).double()
        random = torch.Generator().manual_seed(0)
        batch = Batch(*(torch.rand(2, 3, size, size, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab"))
        torch.manual_seed(seed)
        found.append([term.item() for _, terms in method.losses(batch) for term in terms.values()])
    return any(abs(one - other) > 1e-9 * abs(one) for one, other in zip(*found, strict=True))

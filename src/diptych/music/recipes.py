"""The recipes by which music is read and drawn (docs/music.md), by name as the command line takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diptych.music.symbols import SYMBOLS
from diptych.recipes import by_name, create

if TYPE_CHECKING:  # names are looked up without torch
    from diptych.recipe import Recipe


def music_read() -> Recipe:
    """Sheets of music -> rolls of notes, pix2pix without a discriminator.

    Cross-entropy in place of L1, with a weight on ink, since most of a page is empty.
    """
    return _supervised(foreground=8.0)


def music_draw() -> Recipe:
    """Rolls of notes -> sheets of music, the other way round. Ink weighs less, so that what is uncertain stays light."""
    return _supervised(foreground=2.0)


def _supervised(foreground: float) -> Recipe:
    method = {"generator": "unet_5", "ngf": 24, "norm": "batch", "dropout": False, "lambda_gan": 0.0, "lambda_l1": 1.0}
    method |= {"pixel_loss": {"kind": "bce", "foreground": foreground}}
    data = {"resize": "none", "crop_size": 320, "flip": False}
    train = {"epochs": 0, "decay_epochs": 3, "decay": "step", "batch_size": 2, "lr": 3e-3, "ema": 0.995}
    return create("pix2pix", {"method": method, "data": data, "train": train})


def music_unpaired() -> Recipe:
    """Sheets of music <-> rolls of signs of other works, CycleGAN that keeps what is drawn where it stands.

    Data are those of `diptych music build --free --signs`, single systems. The rate falls all the time, and the discriminators
    learn at a tenth of it: at a full rate what was learned was lost again (experiments/music).
    """
    method = {"generator": "unet_4", "ngf": 24, "ndf": 32, "num_layers": 2, "pixel_loss": {"kind": "bce", "foreground": 8.0}}
    method |= {"lambda_cycle_a": 5.0, "lambda_cycle_b": 3.0, "lambda_identity": 0.0}
    data = {"resize": "none", "crop_size": [64, 320], "flip": False}
    train = {"epochs": 0, "decay_epochs": 1, "decay": "step", "lr": 5e-4, "lr_d": 5e-5, "ema": 0.99}
    kept = {"loss": "structure", "enough": 0.4, "rows": 0.85, "columns": 0.85, "windows": 0.4, "weight": 20.0}
    extra = [kept | {"between": ["fake_b", "real_a"]}, kept | {"between": ["fake_a", "real_b"]}]
    return create("cyclegan", {"method": method, "data": data, "train": train, "extra": extra})


def music_symbols() -> Recipe:
    """Engraved pages -> maps of their symbols, pix2pix without a discriminator: the cross-entropy of classes, ink weighs more.

    Data are those of `diptych music symbols`, at six pixels a staff space.
    """
    method = {"generator": "unet_5", "ngf": 24, "norm": "batch", "dropout": False, "lambda_gan": 0.0, "lambda_l1": 1.0}
    method |= {"pixel_loss": {"kind": "ce", "foreground": 4.0}}
    data = {"resize": "none", "crop_size": [256, 512], "flip": False, "labels": "b", "classes": len(SYMBOLS)}
    train = {"epochs": 0, "decay_epochs": 4, "decay": "step", "batch_size": 2, "lr": 3e-3, "ema": 0.995, "ema_warm_up": True}
    return create("pix2pix", {"method": method, "data": data, "train": train})


RECIPES = by_name(music_read, music_draw, music_unpaired, music_symbols)

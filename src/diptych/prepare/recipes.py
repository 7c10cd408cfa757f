"""One recipe for each kind of pairs that one folder of photos gives: `diptych train edges2photo photos/`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from diptych.recipes import Settings, create

if TYPE_CHECKING:  # names are looked up without torch
    from diptych.recipe import Recipe

UNSCALED: Settings = {"data": {"resize": "none"}}  # resizing would change how many pixels a blur or a square has


def edges2photo() -> Recipe:
    """Edges -> photo, pix2pix (Isola et al. 2017, section 4)."""
    return create("pix2pix")


def gray2photo() -> Recipe:
    """Gray -> colours, in Lab as pix2pix's authors published it (Isola et al. 2017, section 4)."""
    return create("colorization")


def sketch2photo() -> Recipe:
    """Pencil drawing -> photo, pix2pix."""
    return create("pix2pix")


def mask2photo() -> Recipe:
    """Inpainting of a hidden rectangle, pix2pix (Isola et al. 2017, figure 16)."""
    return create("pix2pix")


def lowres2photo() -> Recipe:
    """Super-resolution, pix2pix on crops of the photos at their own size."""
    return create("pix2pix", UNSCALED)


def blur2photo() -> Recipe:
    """Deblurring, pix2pix on crops of the photos at their own size."""
    return create("pix2pix", UNSCALED)


def mosaic2photo() -> Recipe:
    """Removal of mosaics, pix2pix on crops of the photos at their own size."""
    return create("pix2pix", UNSCALED)


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (edges2photo, gray2photo, sketch2photo, mask2photo, lowres2photo, blur2photo, mosaic2photo)
}


def kind_of(recipe: str) -> str | None:
    """The kind of pairs that a recipe of this file learns from, a word of `diptych prepare`; None for other recipes."""
    return recipe.removesuffix("2photo") if recipe in RECIPES else None

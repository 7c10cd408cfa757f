"""The frames that follow a training's images in their films, where the loss ``temporal`` compares with them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch

from diptych.data.datasets import Crops
from diptych.data.neighbours import NONE, has_flow, next_frames, series
from diptych.errors import ConfigError, MissingExtraError
from diptych.losses import NextFrames, TemporalLoss
from diptych.motion import opencv
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World, broadcast, on_first
from diptych.training.progress import Progress, Watch
from diptych.training.signals import BEFORE_STEPS, Interrupts

log = logging.getLogger(__name__)
ENOUGH = 0.5  # the share of images with a next frame from which ``motion: auto`` takes these
SIDES = {"real_a": 0, "real_b": 1}
Following = tuple[np.ndarray | None, np.ndarray | None]
"""For each side the index of each image's next frame (see diptych.data.neighbours); None where nothing asks for it."""


def follows(recipe: Recipe) -> dict[str, TemporalLoss]:
    """The temporal losses of a recipe that compare with next frames where there are any, by the name of their source image."""
    losses = {term.between[0]: TemporalLoss(**term.options) for term in recipe.extra if term.loss == "temporal"}
    return {name: loss for name, loss in losses.items() if loss.motion != "synthetic" and name in SIDES}


def follow_frames(crops: Crops, recipe: Recipe, world: World, interrupts: Interrupts, watch: Watch) -> Following:
    """Find the next frames that a recipe's losses compare with; the first process does, and an error is raised in all.

    The log says for each loss whether motion is real or synthetic, and why. Raises ConfigError where ``motion: neighbours`` asks
    for frames that are not there.
    """

    def counted(done: int, total: int) -> None:
        watch(Progress("comparing frames", done, total))

    def found() -> Following:
        with interrupts.at_once(BEFORE_STEPS):
            return _all_found(crops, asked, counted)

    asked = follows(recipe)
    if not asked:
        return None, None
    return broadcast(on_first(found, world), world)


def _all_found(crops: Crops, asked: dict[str, TemporalLoss], counted: Callable[[int, int], None]) -> Following:
    found: list[np.ndarray | None] = [None, None]
    for name, loss in asked.items():
        found[SIDES[name]] = _found(crops, name, loss, counted)
    return found[0], found[1]


def _found(crops: Crops, name: str, loss: TemporalLoss, counted: Callable[[int, int], None]) -> np.ndarray | None:
    """The next frames of one side, or None where motion is to be synthetic."""
    side = SIDES[name]
    domain, refs = (crops.census.b, crops.census.split.b) if side else (crops.census.a, crops.census.split.a)
    forced = loss.motion == "neighbours"

    def synthetic(why: str) -> None:
        if forced:
            raise ConfigError(
                f"extra: temporal: motion neighbours of {name} needs frames of films, or numbered files of one folder, "
                f"but {why}; leave motion out, or set it to synthetic"
            )
        log.info("temporal: motion of %s is synthetic: %s", name, why)

    if not has_flow(domain):
        synthetic(f"optical flow needs gray or RGB images of 8 or 16 bits, and these are {domain}")
        return None
    numbered = sum(len(run) - 1 for run in series(refs))
    if numbered < ENOUGH * len(refs) and not (forced and numbered):
        synthetic(f"{numbered:,} of {len(refs):,} images have a next frame by their numbers")
        return None
    try:
        opencv()
    except MissingExtraError as error:
        if forced:
            raise
        synthetic(f"the images are numbered frames, but {error}")
        return None
    following = next_frames(refs, lambda index: crops.source.image(side, index, {}), domain, counted)
    count = int((following != NONE).sum())
    if count < ENOUGH * len(refs) and not (forced and count):
        synthetic(
            f"{count:,} of {len(refs):,} images have a next frame that shows the same, and {numbered:,} one by their numbers"
        )
        return None
    log.info(
        "temporal: motion of %s is real: %s of %s images are compared with their next frame, and %s are parted from it by a cut",
        name,
        f"{count:,}",
        f"{len(refs):,}",
        f"{numbered - count:,}",
    )
    return following


def encode_frames(frames: NextFrames | None, domain: Domain, device: torch.device) -> NextFrames | None:
    """Move next frames of native pixels to the device and scale them to [-1, 1] there."""
    if frames is None:
        return None
    images, places, alike = (part.to(device, non_blocking=True) for part in frames)
    return NextFrames(domain.encode(images), places, alike)

"""A run that goes on where another one ended: with its networks, the moments of its optimizers, and a rate that is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.files import sha256_of
from diptych.messages import show
from diptych.recipe import Recipe, StartConfig
from diptych.run import Run
from diptych.training.state_files import read_state
from diptych.training.trainee import Trainee
from diptych.trees import Tree

log = logging.getLogger(__name__)


def go_on(trainee: Trainee, state: Tree) -> None:
    """Take the moments of the optimizers and the averaged weights from a run that goes on, where their shapes are the same."""
    for phase, optimizer in trainee.optimizers.items():
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        kept = state["optimizers"].get(phase, [])
        if len(kept) == len(parameters) and all(_fits(p, moments) for p, moments in zip(parameters, kept, strict=True)):
            trainee.load_moments(phase, kept)
        elif trainee.world.first:
            log.info("the moments of optimizer %s begin anew, as its networks are not those of the run before", phase)
    if trainee.ema and state["ema"]:
        own = trainee.ema.state_dict()
        trainee.ema.load_state_dict(own | {k: v for k, v in state["ema"].items() if k in own and own[k].shape == v.shape})


def _fits(parameter: nn.Parameter, moments: Mapping[str, object]) -> bool:
    return all(value.shape in (parameter.shape, torch.Size()) for value in moments.values() if isinstance(value, Tensor))


def continued(folder: Path, more_epochs: int, code: str | None = None) -> Recipe:
    """The recipe of a run that goes on where another one ended, for so many epochs more.

    Where the rate of the other one fell to zero it begins at its full rate again and falls to zero over the new epochs (a warm
    restart, Loshchilov and Hutter 2017); where it stayed, it stays. ``code`` is a method of one's own that the run may name.
    Raises ConfigError for a folder without a training state.
    """
    if not (folder / "recipe.json").is_file():
        raise ConfigError(f"{show(folder)}: holds no run; give the folder of a training, the one with recipe.json in it")
    recipe, states = Recipe.load(folder / "recipe.json", code=code), Run(folder).states()
    if not states:
        raise ConfigError(
            f"{show(folder)}: holds no training state to go on from; begin with its snapshot: --weights {show(folder)}"
        )
    images, digest = read_state(states[0])["images"], sha256_of(states[0])
    train = recipe.train
    falling = train.decay_epochs > 0
    epochs, decay_epochs = (0, more_epochs) if falling else (more_epochs, 0)
    lineage = (*recipe.start.lineage, f"{folder} at {images:,} images, SHA-256 {digest[:12]}")
    start = StartConfig(run=str(folder), lineage=lineage, run_sha256=digest, freeze=recipe.start.freeze)
    last = train.lr_at(train.epochs + train.decay_epochs - 1)
    then = "falls to zero again" if falling else "stays there"
    log.info(
        "goes on from %s: its rate was %.3g at the end; the rate of the %d new epochs begins at %.3g and %s, unless "
        "--train.lr, --train.epochs or --train.decay_epochs say otherwise",
        *(lineage[-1], last, more_epochs, train.lr, then),
    )
    return replace(recipe, train=replace(train, epochs=epochs, decay_epochs=decay_epochs), start=start)

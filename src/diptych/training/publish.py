"""The snapshot of a run with its discriminators, which training needs and translating does not, for others to train on from."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import nn
from torch.nn.utils import parametrize

from diptych.errors import ConfigError
from diptych.messages import show
from diptych.nets import build_net
from diptych.recipe import Recipe
from diptych.run import Run, read_census
from diptych.snapshot import Snapshot
from diptych.training.start import plain
from diptych.training.state_files import read_state


def with_discriminators(folder: Path) -> Snapshot:
    """The last snapshot of a run and the discriminators of the training state that was saved with it, by names such as ``D_b``.

    Raises ConfigError when the folder holds no run with a state, when state and snapshot are not of one moment, and when the
    method trained no discriminator that a snapshot can describe.
    """
    if not (folder / "recipe.json").is_file():
        raise ConfigError(f"{show(folder)}: holds no run; discriminators are exported from the folder of a training")
    run = Run(folder)
    state, _ = run.load_state(read_state)
    if state is None:
        raise ConfigError(
            f"{show(folder)}: holds no training state, in which the discriminators are; keep the state-*.safetensors"
        )
    snapshot = Snapshot.load(run.snapshot)
    if snapshot.about.get("images") != state["images"]:
        raise ConfigError(
            f"{show(folder)}: its snapshot is of {snapshot.about.get('images'):,} images and its state of {state['images']:,}; "
            "run the training again until it saves"
        )
    census = read_census(folder)
    method = Recipe.load(folder / "recipe.json").build(census.a, census.b)
    method.load_state_dict(state["method"] | state["ranks"][0]["buffers"])
    generators = {id(net) for net in method.generators().values()}
    names = {id(module): name for name, module in method.named_modules()}
    judges = {
        names[id(net)]: described
        for nets in method.phases().values()
        for net in nets
        if id(net) not in generators and (described := as_described(net))
    }
    if not judges:
        raise ConfigError(f"{show(folder)}: this training has no discriminators; leave --discriminators out")
    return replace(snapshot, discriminators=judges)


def as_described(net: nn.Module) -> nn.Module | None:
    """A network that its own description rebuilds with these weights; None where there is none.

    What a recipe added to a discriminator is left out; spectrally normalised weights become the weights that they amount to.
    """
    inner = plain(net)
    spec = getattr(inner, "spec", None)
    if spec is None:
        return None
    names = build_net(spec).state_dict().keys()
    if inner.state_dict().keys() == names:
        return inner
    inner = copy.deepcopy(inner).eval()
    for module in inner.modules():
        for name in [*cast(nn.ModuleDict, module.parametrizations)] if parametrize.is_parametrized(module) else ():
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return inner if inner.state_dict().keys() == names else None

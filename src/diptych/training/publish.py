"""The snapshot of a run with its discriminators, which training needs and translating does not, for others to train on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from diptych.errors import ConfigError
from diptych.messages import show
from diptych.recipe import Recipe
from diptych.run import Run, read_census
from diptych.snapshot import Snapshot


def with_discriminators(folder: Path) -> Snapshot:
    """The last snapshot of a run and the discriminators of the training state that was saved with it, by names such as ``D_b``.

    Raises ConfigError when the folder holds no run with a state, when state and snapshot are not of one moment, and when the
    method trained no discriminator that a snapshot can describe.
    """
    if not (folder / "recipe.json").is_file():
        raise ConfigError(f"{show(folder)}: holds no run; discriminators are exported from the folder of a training")
    run = Run(folder)
    state, _ = run.load_state()
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
    judges: dict[str, nn.Module] = {
        names[id(net)]: net
        for nets in method.phases().values()
        for net in nets
        if id(net) not in generators and getattr(net, "spec", None)
    }
    if not judges:
        raise ConfigError(f"{show(folder)}: this training has no discriminators; leave --discriminators out")
    return replace(snapshot, discriminators=judges)

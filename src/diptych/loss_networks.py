"""The networks that losses compare by: published weights as metrics find them, and the discriminators of the method itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, final

import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.messages import nearest
from diptych.metrics.lpips import LPIPS
from diptych.metrics.weights import find_weights
from diptych.nets.backbones import BACKBONES, Backbone, load_backbone
from diptych.nets.init import initialise

RANDOM = "random"
HEADS_OF: dict[Backbone, Literal["alex", "vgg"]] = {"alexnet": "alex", "vgg16": "vgg"}  # our names -> LPIPS's


@final
class LossNetworks:
    """Finds networks for the losses of one method, whose modules with features to match are ``judges``, by name.

    ``generators`` are the method's own, by direction.
    """

    def __init__(self, judges: Mapping[str, nn.Module], generators: Mapping[str, nn.Module] | None = None) -> None:
        self.judges, self.generators = judges, generators or {}

    def backbone(self, name: Backbone, weights: str) -> nn.Module:
        """The network with the published weights, those of a file, or ``random`` ones. Raises WeightsError without them."""
        return _backbone(name, weights)

    def lpips(self, name: Backbone, weights: str) -> nn.Module:
        """LPIPS over that network. ``random`` weights are refused by ConfigError, since its heads were made for the published."""
        if weights == RANDOM:
            raise ConfigError("lpips.weights random has no meaning: LPIPS is calibrated for published weights; leave it out")
        return LPIPS.load(HEADS_OF[name], find_weights(name, weights or None))

    def discriminator(self, name: str) -> nn.Module:
        """The method's discriminator of this name. Raises ConfigError, naming the nearest, when there is none."""
        if name not in self.judges:
            near = nearest(name, self.judges, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(self.judges) or 'none'}"
            raise ConfigError(f"feature_matching.judge: this method has no discriminator {name!r}; {known}")
        return self.judges[name]

    def translator(self, loss: str, source: str) -> nn.Module:
        """The method's generator for a source image of its step, real_a or real_b. Raises ConfigError where it has none."""
        directions = {"real_a": "a2b", "real_b": "b2a"}
        able = [name for name, direction in directions.items() if direction in self.generators]
        if source not in able:
            raise ConfigError(f"{loss}: between names the source of a translation ({' or '.join(able)}), found {source}")
        return self.generators[directions[source]]


@lru_cache(maxsize=4)
def _backbone(name: Backbone, weights: str) -> nn.Module:
    """Terms that look at one network share it: it is frozen."""
    if weights != RANDOM:
        return load_backbone(name, find_weights(name, weights or None))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = initialise(BACKBONES[name](), "kaiming")
    return net.eval().requires_grad_(False)

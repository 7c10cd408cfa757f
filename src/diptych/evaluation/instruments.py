"""What an evaluation measures with: networks, palettes and files of weights, each loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from diptych.errors import ConfigError
from diptych.evaluation.cache import FeatureCache
from diptych.metrics.features import Extractor, inception, random_vgg
from diptych.metrics.judges import Classifier
from diptych.metrics.lpips import LPIPS
from diptych.metrics.segmentation import Palette, Segmenter
from diptych.metrics.structure import StructureDistance
from diptych.metrics.style import StyleDistance
from diptych.metrics.weights import cached, find_weights

WEIGHTS_OF = {"lpips_alex": "alexnet", "lpips_vgg": "vgg16", "style": "vgg16", "structure": "vgg16"}  # metric -> weight file
LEAST_RESAMPLES = 40  # of the bootstrap: the least that have a value below their 2.5 % quantile


@dataclass(frozen=True)
class Instruments:
    """What an evaluation measures with.

    ``features`` is the network of FID and KID: inception, random-vgg, or any Extractor; None takes Inception where its weights
    are at hand, else random-vgg. ``weights`` are files by their name in WEIGHTS, as find_weights takes them. Only metrics that
    are asked for by name may ``fetch`` missing weights. ``labels`` is the side whose colours are the classes of ``palette``;
    ``segmenter`` finds these classes in photos. ``classifier`` tells whether an image is of class ``target``. ``seed`` and
    ``resamples``, at least LEAST_RESAMPLES, are those of the bootstrap. Raises ConfigError for fewer.
    """

    features: str | Extractor | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    fetch: bool = True
    watch_fetch: Callable[[int, int], None] = lambda done, total: None
    labels: Literal["a", "b"] | None = None
    palette: Palette | None = None
    segmenter: Segmenter | None = None
    classifier: Classifier | None = None
    target: int | None = None
    device: str = "cpu"
    cache: FeatureCache = field(default_factory=FeatureCache)
    allow_small: bool = False
    seed: int = 0
    resamples: int = 1000
    _found: dict[str, bool] = field(default_factory=dict)  # what cached() said: it reads the whole file
    _nets: dict[str, Any] = field(default_factory=dict)  # loaded once, for both directions and every validation

    def __post_init__(self) -> None:
        if self.resamples < LEAST_RESAMPLES:
            raise ConfigError(
                f"--resamples must be at least {LEAST_RESAMPLES}, found {self.resamples}; fewer draws have no 2.5 % quantile"
            )

    def at_hand(self, name: str) -> bool:
        """Whether a weight file was given, or is in a cache on this machine."""
        if name not in self.weights and name not in self._found:
            self._found[name] = cached(name) is not None
        return name in self.weights or self._found[name]

    def net(self, name: str) -> Any:
        """The network of a metric, loaded when it is first needed. ``features`` is that of FID and KID."""
        if name not in self._nets:
            self._nets[name] = LOADERS[name](self)
        return self._nets[name]

    @property
    def feature_name(self) -> str:
        """The name of the network of FID and KID."""
        if isinstance(self.features, str):
            return self.features
        if self.features is not None:
            return self.features.name
        return "inception" if self.at_hand("inception") else "random-vgg"


def load_features(tools: Instruments) -> Extractor:
    """Load the network of FID and KID. Raises ConfigError for an unknown name."""
    if not isinstance(tools.features, str | None):
        return tools.features
    device = torch.device(tools.device)
    if tools.feature_name == "random-vgg":
        return random_vgg(device=device)
    if tools.feature_name == "inception":
        return inception(_weights("inception", tools), device)
    raise ConfigError(f"features must be inception, random-vgg or an Extractor, found {tools.features!r}")


def _lpips(backbone: Literal["alex", "vgg"], tools: Instruments) -> LPIPS:
    return LPIPS.load(backbone, _weights(WEIGHTS_OF[f"lpips_{backbone}"], tools)).to(tools.device)


def _style(tools: Instruments) -> StyleDistance:
    return StyleDistance.load(_weights("vgg16", tools)).to(tools.device)


def _structure(tools: Instruments) -> StructureDistance:
    return StructureDistance.load(_weights("vgg16", tools)).to(tools.device)


LOADERS: dict[str, Callable[[Instruments], Any]] = {
    "features": load_features,
    "lpips_alex": partial(_lpips, "alex"),
    "lpips_vgg": partial(_lpips, "vgg"),
    "style": _style,
    "structure": _structure,
}


def _weights(name: str, tools: Instruments) -> Path:
    return find_weights(name, tools.weights.get(name), fetch=tools.fetch, watch=tools.watch_fetch)

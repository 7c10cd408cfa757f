"""Losses that compare two images by what a network finds in them: perceptual, style, LPIPS and feature matching.

Their options are frozen dataclasses; the network is handed in from above, where its weights are found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.backbones import Backbone, style_distance
from diptych.nets.blocks import full_precision
from diptych.nets.frozen import frozen
from diptych.settings import check_settings

Images = Float[Tensor, "n c h w"]
OtherImages = Float[Tensor, "n d h w"]  # gray ones beside RGB among them
Numbers = tuple[float, ...] | list[float]


class Networks(Protocol):
    """What finds the networks that losses need. Raises WeightsError without its weights, ConfigError for an unknown name."""

    def backbone(self, name: Backbone, weights: str) -> nn.Module:
        """A frozen network that returns five activations. ``weights`` is a file, ``random``, or empty for the published ones."""
        ...

    def lpips(self, name: Backbone, weights: str) -> nn.Module:
        """The frozen LPIPS distance over such a network."""
        ...

    def discriminator(self, name: str) -> nn.Module:
        """A discriminator of the method that is trained, by its name there."""
        ...

    def translator(self, loss: str, source: str) -> nn.Module:
        """The method's generator for a source image of its step; ``loss`` is named where it has none."""
        ...


class NeedsNetwork(ABC):
    """The options of a loss that compares by a network."""

    @abstractmethod
    def with_network(self, networks: Networks) -> nn.Module:
        """The loss, a module that takes two images of a step."""


@dataclass(frozen=True)
class PerceptualLoss(NeedsNetwork):
    """The distance of activations: the sum over layers of weight * mean |f(x) - f(y)| (Johnson et al. 2016; Wang et al. 2018).

    ``layers`` are numbers from 1 to 5: relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of VGG16, relu1 ... relu5 of AlexNet.
    ``layer_weights`` has a number for each of them, 1 where it is left out. ``weights`` is the network's file, by default the
    published one; ``random`` draws them from seed 0, for which nothing is fetched.
    """

    any_channels = True
    network: Backbone = "vgg16"
    layers: tuple[int, ...] = (1, 2, 3, 4, 5)
    layer_weights: tuple[float, ...] = ()
    distance: Literal["l1", "l2"] = "l1"
    weights: str = ""

    def __post_init__(self) -> None:
        check_settings(self, "perceptual")
        _check_layers("perceptual", self.layers, self.layer_weights)

    def with_network(self, networks: Networks) -> nn.Module:
        return _Perceptual(networks.backbone(self.network, self.weights), self)


@final
class _Perceptual(nn.Module):
    def __init__(self, net: nn.Module, options: PerceptualLoss) -> None:
        super().__init__()
        self.net, self.options = net, options

    def forward(self, x: Images, y: OtherImages) -> Float[Tensor, ""]:
        pairs = list(zip(self.net(x), self.net(y), strict=True))
        chosen = [pairs[layer - 1] for layer in self.options.layers]
        differences = [full_precision(one) - full_precision(other) for one, other in chosen]
        distances = [d.abs().mean() if self.options.distance == "l1" else d.square().mean() for d in differences]
        return torch.stack([w * d for w, d in zip(_weights(self.options), distances, strict=True)]).sum()


@dataclass(frozen=True)
class StyleLoss(NeedsNetwork):
    """The distance of Gram matrices (Gatys et al. 2016, eq. 4): textures and colours, wherever they are in the image.

    Normalised as by Johnson et al. 2016, summed over ``layers``, averaged over images; options as in PerceptualLoss. Its scale is
    that of squared activations: begin with a weight of 0.1 and look.
    """

    any_channels = True
    network: Backbone = "vgg16"
    layers: tuple[int, ...] = (1, 2, 3, 4, 5)
    layer_weights: tuple[float, ...] = ()
    weights: str = ""

    def __post_init__(self) -> None:
        check_settings(self, "style")
        _check_layers("style", self.layers, self.layer_weights)

    def with_network(self, networks: Networks) -> nn.Module:
        return _Style(networks.backbone(self.network, self.weights), self)


@final
class _Style(nn.Module):
    def __init__(self, net: nn.Module, options: StyleLoss) -> None:
        super().__init__()
        self.net, self.options = net, options

    def forward(self, x: Images, y: OtherImages) -> Float[Tensor, ""]:
        of_x, of_y = self.net(x), self.net(y)
        taps = zip(self.options.layers, _weights(self.options), strict=True)
        return torch.stack([w * style_distance([of_x[i - 1]], [of_y[i - 1]]).mean() for i, w in taps]).sum()


@dataclass(frozen=True)
class LPIPSLoss(NeedsNetwork):
    """LPIPS 0.1, calibrated with people (Zhang et al. 2018), averaged over images. ``weights`` as in PerceptualLoss."""

    any_channels = True
    network: Backbone = "vgg16"
    weights: str = ""

    def __post_init__(self) -> None:
        check_settings(self, "lpips")

    def with_network(self, networks: Networks) -> nn.Module:
        return _Mean(networks.lpips(self.network, self.weights))


@final
class _Mean(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images, y: OtherImages) -> Float[Tensor, ""]:
        mean: Tensor = self.net(x, y).mean()
        return mean


@dataclass(frozen=True)
class FeatureMatching(NeedsNetwork):
    """The L1 distance of a discriminator's activations, averaged over layers and scales (Wang et al. 2018, eq. 4).

    ``judge`` is the method's discriminator; its logits do not count, it learns nothing from this loss, and y receives no
    gradient. A discriminator that sees pairs gets the other image by the term's ``beside``.
    """

    judge: str = "D_b"

    def with_network(self, networks: Networks) -> nn.Module:
        return _Matching(networks.discriminator(self.judge), self.judge)


@final
class _Matching(nn.Module):
    """Holds the discriminator in a list: it is the method's, and no part of this module."""

    def __init__(self, judge: nn.Module, name: str) -> None:
        super().__init__()
        self.judge, self.name = [judge], name
        self.channels = next(weight.shape[1] for weight in judge.parameters() if weight.dim() == 4)

    def forward(self, x: Images, y: Images) -> Float[Tensor, ""]:
        if x.shape[1] != self.channels:
            raise ConfigError(
                f"extra: feature_matching: {self.name} judges {self.channels} channels, found {x.shape[1]}; a discriminator that "
                "judges pairs needs `beside: real_a`, and one that judges single images no beside"
            )
        return feature_matching(self.judge[0], x, y)


def feature_matching(D: Any, x: Images, y: Images) -> Float[Tensor, ""]:
    """The mean over scales and layers of mean |D_i(x) - D_i(y)|; neither D nor y receives a gradient."""
    with frozen(D):
        of_x = D.features(x)
        with torch.no_grad():
            of_y = D.features(y)
    return feature_distance(of_x, of_y)


def feature_distance(of_x: Sequence[Any], of_y: Sequence[Any]) -> Float[Tensor, ""]:
    """The same of what D's layers found in x and in y: activations, the logits last, or a list of them for each scale."""
    scales = zip(_by_scale(of_x), _by_scale(of_y), strict=True)
    pairs = [pair for one, other in scales for pair in zip(one[:-1], other[:-1], strict=True)]
    return torch.stack([(full_precision(one) - full_precision(other)).abs().mean() for one, other in pairs]).mean()


def _by_scale(found: Sequence[Any]) -> Sequence[Sequence[Tensor]]:
    return [found] if isinstance(found[0], Tensor) else found


def _weights(options: PerceptualLoss | StyleLoss) -> Sequence[float]:
    return options.layer_weights or [1.0] * len(options.layers)


def _check_layers(loss: str, layers: Sequence[int], weights: Sequence[float]) -> None:
    known = all(isinstance(layer, int) and 1 <= layer <= 5 for layer in layers)
    if not layers or not known or len(set(layers)) < len(layers):
        raise ConfigError(f"{loss}.layers must be different numbers from 1 to 5, such as [2, 3], found {list(layers)}")
    if weights and (len(weights) != len(layers) or not all(isinstance(w, int | float) and w >= 0 for w in weights)):
        raise ConfigError(
            f"{loss}.layer_weights must have a number of at least 0 for each of {list(layers)}, found {list(weights)}"
        )

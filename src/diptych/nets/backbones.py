"""The convolutions of AlexNet and VGG16, with torchvision's keys, and what their features are compared by.

Each network returns the five activations ("taps") that LPIPS and style losses look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import DataError, WeightsError
from diptych.state_dicts import first_keys, read_state_dict

Backbone = Literal["alexnet", "vgg16"]

# Mean and standard deviation of ImageNet for images in [-1, 1]; in [0, 1] they are (.485, .456, .406) and (.229, .224, .225).
# LPIPS's scaling layer has the same constants, so one scaling serves all.
MEAN = (-0.030, -0.088, -0.188)
DEVIATION = (0.458, 0.448, 0.450)


@final
class AlexNet(nn.Module):
    """The convolutions of torchvision's AlexNet (Krizhevsky 2014), without classifier.

    Images in [-1, 1], gray or RGB, of 31 pixels a side or more, to relu1 ... relu5 of 64, 192, 384, 256 and 256 channels.
    """

    smallest = 31  # pixels a side
    taps = (1, 4, 7, 9, 11)  # layers whose activations are returned
    widths = (64, 192, 384, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        self.scale = _Scale()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The five taps, each (n, width, h', w'). Raises DataError for other channels and for smaller images."""
        return _activations(self, x)


@final
class VGG16(nn.Module):
    """The convolutions of torchvision's VGG16 (Simonyan and Zisserman 2015), without classifier.

    Images in [-1, 1], gray or RGB, of 16 pixels a side or more, to relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of 64, 128,
    256, 512 and 512 channels.
    """

    smallest = 16
    taps = (3, 8, 15, 22, 29)
    widths = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        self.scale = _Scale()
        layers: list[nn.Module] = []
        channels = 3
        for block, (width, depth) in enumerate(zip(self.widths, (2, 2, 3, 3, 3), strict=True)):
            layers += [nn.MaxPool2d(2)] if block else []
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The five taps, each (n, width, h', w'). Raises DataError for other channels and for smaller images."""
        return _activations(self, x)


BACKBONES: dict[Backbone, type[AlexNet] | type[VGG16]] = {"alexnet": AlexNet, "vgg16": VGG16}


def load_backbone(name: Backbone, path: str | Path) -> AlexNet | VGG16:
    """A backbone with the weights of torchvision's file, in eval mode and frozen; the file's classifier is ignored.

    Draws no random numbers. Raises WeightsError, in one line that begins with the path, when the file holds another network.
    """
    with torch.device("meta"):
        net = BACKBONES[name]()
    state = {key: tensor.float() for key, tensor in read_state_dict(path).items() if not key.startswith("classifier.")}
    wanted = net.state_dict()
    for key, like in wanted.items():
        found = "x".join(map(str, state[key].shape)) if key in state else "missing"
        if found != (expected := "x".join(map(str, like.shape))):
            raise WeightsError(f"{path}: {key!r} is {found} instead of {expected}; expected torchvision's {name}")
    if extra := state.keys() - wanted.keys():
        raise WeightsError(f"{path}: {first_keys(sorted(extra))} are no part of torchvision's {name}; give its own file")
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32, so that a number measured on a GPU is the CPU's."""
    cudnn = torch.backends.cudnn
    flags = cudnn.flags(enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False)
    with flags, torch.autocast(device.type, enabled=False):
        yield


def gram(features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c c"]:
    """Gram matrices G_ij = sum_k F_ik F_jk of activations over places k (Gatys et al. 2016, eq. 3), divided by c * h * w.

    The divisor makes images and layers of all sizes comparable (Johnson et al. 2016, section 3.2); Gatys divides later, by other
    constants. In full precision even under autocast, as the sums are long.
    """
    n, c, h, w = features.shape
    with full_precision(features.device):
        flat = features.reshape(n, c, h * w)
        flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
        return flat @ flat.transpose(1, 2) / (c * h * w)


def style_distance(x: Sequence[Float[Tensor, "n _ _ _"]], y: Sequence[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, " n"]:
    """The squared Frobenius distance of Gram matrices, summed over taps, for each image: a metric, or its mean a loss.

    Taps of x and y have equal channels; their sizes may differ.
    """
    distances = [(gram(one) - gram(other)).square().sum(dim=(1, 2)) for one, other in zip(x, y, strict=True)]
    return torch.stack(distances).sum(dim=0)


@final
class _Scale(nn.Module):
    """From [-1, 1] to ImageNet's mean 0 and deviation 1. Not in the state_dict, which has torchvision's keys only."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Always on the CPU at first: networks are built on "meta" before they are loaded.
        self.register_buffer("mean", torch.tensor(MEAN, device="cpu").view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION, device="cpu").view(3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        return ((x - self.mean) / self.deviation).to(self.mean.dtype)


def _activations(net: AlexNet | VGG16, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
    _, channels, height, width = x.shape
    name, smallest = type(net).__name__, net.smallest
    if channels not in (1, 3):
        raise DataError(f"{name} looks at gray or RGB images, these have {channels} channels; choose three of them")
    if min(height, width) < smallest:
        raise DataError(f"{name} needs images of {smallest} pixels a side or more, found {width}x{height}; use larger ones")
    x = net.scale(x.expand(-1, 3, -1, -1))
    found = []
    for index, layer in enumerate(net.features):
        x = layer(x)
        if index in net.taps:
            found.append(x)
    return found

"""Networks that turn images into features, on which FID and KID are computed: the published Inception, and a random VGG16."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.nets.backbones import VGG16
from diptych.nets.inception import NUM_FEATURES, SIZE, load_inception
from diptych.pixels import Domain
from diptych.state_dicts import read_state_dict

BATCH_SIZE = 32  # images that go through a network at a time
RANDOM_SIZE = 128  # pixels a side of the input of the random network
RANDOM_FEATURES = 64
About = Mapping[str, str | int]


class Extractor(Protocol):
    """Turns 8-bit RGB images of any size into one row of features each.

    ``name``, ``sha256`` (of the weight file, or of the weights where there is no file) and ``about`` (resize, size,
    layer, features) are what a number measured with it has to state.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def about(self) -> About: ...
    def __call__(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]: ...


class NetworkExtractor:
    """An Extractor of a network that takes 8-bit RGB itself; features come back on the CPU.

    Images go through in batches, in evaluation mode and full precision (no TF32, no autocast), so that the numbers of
    a GPU and a CPU agree.
    """

    def __init__(
        self,
        name: str,
        sha256: str,
        about: About,
        network: Callable[[UInt8[Tensor, "n 3 h w"]], Float[Tensor, "n d"]],
        device: torch.device | str,
    ) -> None:
        self.name, self.sha256, self.about = name, sha256, dict(about)
        self.network, self.device = network, torch.device(device)

    def __call__(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        precise = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
        )
        with torch.inference_mode(), precise, torch.autocast(self.device.type, enabled=False):
            return torch.cat([self.network(batch.to(self.device)).float().cpu() for batch in images.split(BATCH_SIZE)])


def inception(path: Path, device: torch.device | str = "cpu") -> Extractor:
    """Load the network of published FID and KID from ``pt_inception-2015-12-05-6726825d.pth``: 2048 features.

    Raises WeightsError naming the first tensor that is missing when the file holds another network.
    """
    net = load_inception(read_state_dict(path), path).to(device)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    about: About = {"resize": "bilinear as TensorFlow 1, no antialias", "size": SIZE, "layer": "pool_3", "features": NUM_FEATURES}
    return NetworkExtractor("inception-2015-12-05", sha256, about, net, device)


def random_vgg(seed: int = 0, device: torch.device | str = "cpu") -> Extractor:
    """Make an untrained VGG16, which needs no file of weights: 64 features (after Naeem et al. 2020, "R64").

    Random features tell sets apart without a bias towards ImageNet: for watching a training, or images unlike photos.
    Numbers compare only among themselves (same seed, same release of torch: see ``sha256``), never with
    published ones. Weights are He-normal; in place of the paper's two fully connected layers (a hundred million random
    numbers) stand the mean of relu5_3 over places and a random orthonormal projection to 64.
    """
    net = RandomVGG(seed).to(device)
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    about: About = {"resize": "bilinear, antialias", "size": RANDOM_SIZE, "layer": "mean of relu5_3", "features": RANDOM_FEATURES}
    return NetworkExtractor(f"random-vgg16-seed{seed}", digest.hexdigest(), about, net, device)


class RandomVGG(nn.Module):
    """The network of ``random_vgg``. The random numbers come from the seed alone and leave torch's own as they were."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        with torch.device("meta"):
            self.vgg = VGG16()
        state = {key: torch.zeros(like.shape) for key, like in self.vgg.state_dict().items()}
        for weight in state.values():
            if weight.ndim == 4:
                nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=random)
        self.vgg.load_state_dict(state, assign=True)
        self.register_buffer("projection", torch.linalg.qr(torch.randn(512, RANDOM_FEATURES, generator=random)).Q)
        self.requires_grad_(False).eval()

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 64"]:
        x = F.interpolate(Domain().encode(images), size=(RANDOM_SIZE, RANDOM_SIZE), mode="bilinear", antialias=True)
        return self.vgg(x)[-1].mean(dim=(2, 3)) @ self.projection

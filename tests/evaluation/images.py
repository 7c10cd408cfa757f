"""Small data sets and networks whose scores are known without running anything."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref, Split
from diptych.data.formats import write_pixels
from diptych.pixels import Domain

CONFIG = DataConfig(resize="none", crop_size=16, load_size=16)
RGB = Domain()


def noise(folder: Path, count: int, seed: int = 0, size: int = 16) -> tuple[Ref, ...]:
    """Images of noise, all different."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    refs = []
    for i in range(count):
        write_pixels(folder / f"{i}.png", random.integers(0, 256, (size, size, 3), np.uint8))
        refs.append(Ref(folder / f"{i}.png"))
    return tuple(refs)


def negatives(refs: tuple[Ref, ...], folder: Path) -> tuple[Ref, ...]:
    """The negative of each image, under the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    for ref in refs:
        write_pixels(folder / f"{ref.name}.png", 255 - ref.read())
    return tuple(Ref(folder / f"{ref.name}.png") for ref in refs)


def pairs(folder: Path, count: int = 4, size: int = 16) -> Split:
    """Noise and its negatives."""
    a = noise(folder / "a", count, size=size)
    return Split(a, negatives(a, folder / "b"), True)


def sets(folder: Path, count: int = 4) -> Split:
    """Two sets of noise that have nothing to do with each other."""
    return Split(noise(folder / "a", count), noise(folder / "b", count, seed=1), False)


def negative(x: torch.Tensor) -> torch.Tensor:
    """The perfect translator of pairs()."""
    return 255 - x


class Features:
    """An extractor: the mean of each channel and of its square; counts the images it sees."""

    name, about = "means", {"size": "own"}
    sha256 = hashlib.sha256(b"means").hexdigest()

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        x = images.float() / 255
        return torch.cat([x.mean(dim=(2, 3)), x.square().mean(dim=(2, 3))], dim=1)

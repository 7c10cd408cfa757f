"""What training draws from two sides of images: sample k of an endless, shuffled, augmented sequence.

Sample k is fully determined by the seed and k: the order of each epoch comes from (seed, epoch), augmentation from (seed, k).
So the position in the data is one number, and neither worker processes nor restarts change what is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from diptych.data.augment import crop, flip, resize_for, to_tensor
from diptych.data.census import Census, fit
from diptych.data.folders import Ref
from diptych.data.formats import show
from diptych.errors import ConfigError, DataError
from diptych.pixels import Domain


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they become training crops.

    ``source``: one or two folders, or the name of embedded data. ``direction: b2a`` swaps the sides. ``resize``: ``square``
    makes every image load_size x load_size as published, ``aspect`` brings its shorter side to load_size, ``none`` keeps its
    own size (enlarged only where a crop would not fit). Then a random crop of crop_size, then a mirror image half of the time
    if ``flip``. ``holdout`` is the share of the training images set aside for validation where there is no val folder (see
    diptych.data.holdout); the papers trained on all, 0.
    """

    source: tuple[str, ...] = ()
    direction: Literal["a2b", "b2a"] = "a2b"
    resize: Literal["square", "aspect", "none"] = "square"
    load_size: int = 286
    crop_size: int = 256
    flip: bool = True
    holdout: float = 0.05

    def __post_init__(self) -> None:
        if not 0.0 <= self.holdout <= 0.5:
            raise ConfigError(f"data.holdout must be between 0 and 0.5, found {self.holdout}")
        if self.crop_size < 1:
            raise ConfigError(f"data.crop_size must be at least 1, found {self.crop_size}")
        if self.resize != "none" and self.load_size < self.crop_size:
            raise ConfigError(
                f"data.load_size must be at least data.crop_size ({self.crop_size}), found {self.load_size}; "
                "raise it, or set data.resize none"
            )


class Sample(NamedTuple):
    """Native pixels of one crop of each side, (c, h, w); the files they came from; what could not be read on the way."""

    a: Tensor
    b: Tensor
    files: tuple[str, str]
    problems: tuple[str, ...]


class Crops(Dataset[Sample]):
    """Sample k of the shuffled, augmented sequence over a census of images; an epoch has ``len`` samples.

    Paired items share crop and mirroring. Unpaired, an epoch visits the larger side once; the other side is drawn at random,
    and each is augmented alone.
    """

    def __init__(self, census: Census, config: DataConfig, seed: int) -> None:
        self.census, self.config, self.seed = census, config, seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return max(len(self.census.split.a), len(self.census.split.b))

    def __getitem__(self, k: int) -> Sample:
        problems: list[str] = []
        for attempt in range(10):  # a file that went bad since the census gives way to the next in the order
            try:
                return self._sample(k, attempt, tuple(problems))
            except DataError as error:
                problems.append(str(error))
        raise DataError(f"10 images in a row could not be read since training began; the last: {problems[-1]}")

    def _sample(self, k: int, attempt: int, problems: tuple[str, ...]) -> Sample:
        epoch, position = divmod(k, len(self))
        random = np.random.default_rng((self.seed, 1, k, attempt))
        split = self.census.split
        index = int(self._epoch_order(epoch)[(position + attempt) % len(self)])
        ref_a = split.a[index % len(split.a)]
        ref_b = split.b[index] if split.paired else split.b[random.integers(len(split.b))]
        a, b = self._load(ref_a, self.census.a), self._load(ref_b, self.census.b)
        if split.paired:
            draw_a = draw_b = random.random(3)
        else:
            draw_a, draw_b = random.random(3), random.random(3)
        return Sample(self._augment(a, draw_a), self._augment(b, draw_b), (ref_a.name, ref_b.name), problems)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, 0, epoch)).permutation(len(self))
        return self._order[1]

    def _load(self, ref: Ref, domain: Domain) -> np.ndarray:
        pixels = read_as(ref, domain)
        return resize_for(pixels, self.config.resize, self.config.load_size, at_least=self.config.crop_size)

    def _augment(self, pixels: np.ndarray, draw: np.ndarray) -> Tensor:
        pixels = crop(pixels, self.config.crop_size, draw[0], draw[1])
        return to_tensor(flip(pixels) if self.config.flip and draw[2] < 0.5 else pixels)


def read_as(ref: Ref, domain: Domain) -> np.ndarray:
    """An image's native pixels (h, w, c) in a domain's channels and dtype. Raises DataError that begins with the path."""
    pixels = ref.read()
    try:
        return fit(pixels, domain)
    except DataError as error:
        raise DataError(f"{show(ref.path)}: {error}") from error


def view(ref: Ref, domain: Domain, config: DataConfig) -> Tensor:
    """An image as a test sees it, (c, h, w) native pixels.

    It is brought to crop_size as training brings it to load_size, without chance. Nothing is cut off, except that
    ``resize: none`` shows the middle crop of crop_size.
    """
    pixels = read_as(ref, domain)
    if config.resize == "none":
        pixels = resize_for(pixels, "none", 0, at_least=config.crop_size)
        return to_tensor(crop(pixels, config.crop_size, 0.5, 0.5))
    return to_tensor(resize_for(pixels, config.resize, config.crop_size, at_least=1))

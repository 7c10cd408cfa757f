"""Draw the samples of a training from two sides of images: sample k of an endless, shuffled, augmented sequence.

Sample k is fully determined by the seed and k: the orders of each epoch come from (seed, epoch), augmentation from (seed, k).
So the position in the data is one number, and neither worker processes nor restarts change what is seen. Where the pixels come
from, their files or decoded images that were kept (see diptych.data.cache), makes no difference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils.data import Dataset

from diptych.data.augment import Change, changed_crop, crop, mirror, mirror_by_one_thread, recolour, resize_for, to_tensor
from diptych.data.census import Census
from diptych.data.config import DataConfig
from diptych.data.formats import read_picture, read_pixels
from diptych.data.instances import beside
from diptych.data.kinds import fit
from diptych.data.metadata import Picture
from diptych.data.neighbours import NONE, Neighbour, neighbour, no_neighbour
from diptych.data.pairing import match
from diptych.data.splits import Ref, Split, take_half
from diptych.errors import ConfigError, DataError
from diptych.messages import show
from diptych.pixels import Domain, Reading

__all__ = ["Crops", "DataConfig", "Draw", "Files", "Opened", "Sample", "Source", "epoch_order", "known_pairs", "read_as", "view"]

SIDE_STREAMS = 0, 3  # of random numbers for the orders of a and b; 1 is that of crops and mirroring, 2 that of the hold-out
CHANGES = 4  # the stream of all other augmentation
Opened = dict[tuple[Path, Reading], np.ndarray]
"""The files that were decoded for the current sample: both halves of a side-by-side file come from one reading."""


class Source(Protocol):
    """Provides the images of both sides, decoded and resized; ``side`` is 0 for a, 1 for b.

    ``resident`` says that they lie on the device that trains, so that worker processes would gain nothing.
    """

    resident: bool

    def image(self, side: int, index: int, opened: Opened) -> Shaped[Tensor, "c h w"]:
        """Return native pixels, which must not be written to. Raises DataError that begins with the path."""


class Files:
    """Reads images from their files each time."""

    resident = False

    def __init__(self, census: Census, config: DataConfig) -> None:
        self.refs, self.domains, self.config = (census.split.a, census.split.b), (census.a, census.b), config

    def image(self, side: int, index: int, opened: Opened) -> Shaped[Tensor, "c h w"]:
        """See Source."""
        ref, config = self.refs[side][index], self.config
        domain = self.domains[side]
        file = ref.path, domain.reading
        if file not in opened:
            opened[file] = read_pixels(*file)
        pixels, nearest = _fitted(take_half(opened[file], ref), ref, domain), bool(domain.classes)
        return to_tensor(resize_for(pixels, config.resize, config.load_size, at_least=config.crop_size, nearest=nearest))


class Draw(NamedTuple):
    """What a sample takes of one side: which image, the place of its crop (x and y in [0, 1)), and whether it is mirrored.

    ``known``: it is one half of a pair that is known among unpaired images. ``change`` is what else is done to it.
    """

    image: int
    x: float
    y: float
    mirrored: bool
    known: bool = False
    change: Change | None = None


class Sample(NamedTuple):
    """Native pixels of one crop of each side, (c, h, w); the files they came from; what could not be read on the way.

    ``known``: whether they are one of the pairs that are known among unpaired images; None where none are. ``next_a`` and
    ``next_b`` are the frames that follow them, where those are asked for.
    """

    a: Tensor
    b: Tensor
    files: tuple[str, str]
    problems: tuple[str, ...]
    known: bool | None = None
    next_a: Neighbour | None = None
    next_b: Neighbour | None = None


class Crops(Dataset[Sample]):
    """Sample k of the shuffled, augmented sequence over a census of images; an epoch has ``len`` samples.

    Paired items share crop and mirroring. Unpaired, each side has its own order, so that an epoch visits every image of the
    larger side once and those of the smaller side equally often (see ``epoch_order``), and each is augmented alone;
    ``config.pairs`` of the samples are known pairs in their place, drawn at random, so that an epoch then leaves out about as
    many of the others. Raises ConfigError when none are known.

    ``next_frames``: for each image of a side the index of the frame that follows it (see diptych.data.neighbours), which is then
    cropped and changed like it; None for a side whose next frames nobody needs.
    """

    def __init__(
        self,
        census: Census,
        config: DataConfig,
        seed: int,
        source: Source | None = None,
        next_frames: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    ) -> None:
        self.census, self.config, self.seed, self.next_frames = census, config, seed, next_frames
        self.source = source or Files(census, config)
        self.known = known_pairs(census.split) if config.pairs and not census.split.paired else ()
        self._orders = [(-1, np.empty(0))] * 2  # by side: the epoch, and its order

    def over(self, source: Source) -> Crops:
        """Draw the same sequence of images from another source."""
        return Crops(self.census, self.config, self.seed, source, self.next_frames)

    def beside(self, next_frames: tuple[np.ndarray | None, np.ndarray | None]) -> Crops:
        """Draw the same sequence of images, and the next frames of those of a side beside them."""
        return Crops(self.census, self.config, self.seed, self.source, next_frames)

    def __len__(self) -> int:
        return max(len(self.census.split.a), len(self.census.split.b))

    def __getitem__(self, k: int) -> Sample:
        problems: list[str] = []
        for attempt in range(10):  # a file that went bad since the census gives way to the next in the order
            try:
                return self._sample(self.draw(k, attempt), tuple(problems))
            except DataError as error:
                problems.append(str(error))
        raise DataError(f"10 images in a row could not be read since training began; the last: {problems[-1]}")

    def draw(self, k: int, attempt: int = 0) -> tuple[Draw, Draw]:
        """What sample k takes of a and of b, at the first attempt or after some at which a file could not be read."""
        a, b = self._draw(k, attempt)
        if not self.config.changes:
            return a, b
        random = np.random.default_rng((self.seed, CHANGES, k, attempt))
        of_a, of_b = (self._change(random, jitter) for jitter in (self.config.jitter_a, self.config.jitter_b))
        if self.census.split.paired or a.known:  # what keeps pairs is done to both alike
            of_b = of_a._replace(colours=of_b.colours)
        return a._replace(change=of_a), b._replace(change=of_b)

    def _change(self, random: np.random.Generator, jitter: float) -> Change:
        config, (turn, angle, zoom, *colours) = self.config, random.random(6).tolist()
        factors = tuple(1.0 + jitter * (2.0 * chance - 1.0) for chance in colours)
        return Change(
            int(4 * turn) if config.turns else 0,
            config.angle * (2.0 * angle - 1.0),
            config.zoom ** (2.0 * zoom - 1.0),
            (factors[0], factors[1], factors[2]) if jitter else None,
        )

    def _draw(self, k: int, attempt: int) -> tuple[Draw, Draw]:
        epoch, position = divmod(k, len(self))
        random = np.random.default_rng((self.seed, 1, k, attempt))
        if self.known and random.random() < self.config.pairs:
            chances = random.random(3)
            index_a, index_b = self.known[int(random.integers(len(self.known)))]
            return self._drawn(index_a, chances, known=True), self._drawn(index_b, chances, known=True)
        paired, place = self.census.split.paired, (position + attempt) % len(self)
        index_a = int(self._order(0, epoch)[place])
        index_b = index_a if paired else int(self._order(1, epoch)[place])
        chances_a = random.random(3)
        chances_b = chances_a if paired else random.random(3)
        return self._drawn(index_a, chances_a), self._drawn(index_b, chances_b)

    def _drawn(self, index: int, chances: np.ndarray, known: bool = False) -> Draw:
        x, y, side = chances.tolist()
        return Draw(index, x, y, self.config.flip and side < 0.5, known)

    def _order(self, side: int, epoch: int) -> np.ndarray:
        """The images of a side in the order of an epoch; the last one asked for is kept."""
        if self._orders[side][0] != epoch:
            size = len((self.census.split.a, self.census.split.b)[side])
            self._orders[side] = epoch, epoch_order(size, len(self), (self.seed, SIDE_STREAMS[side]), epoch)
        return self._orders[side][1]

    def _sample(self, drawn: tuple[Draw, Draw], problems: tuple[str, ...]) -> Sample:
        opened: Opened = {}
        a, b = (self._crop(self.source.image(side, draw.image, opened), draw, side) for side, draw in enumerate(drawn))
        files = self.census.split.a[drawn[0].image].name, self.census.split.b[drawn[1].image].name
        known = drawn[0].known if self.known else None
        following = (self._next(side, draw, crop, opened) for side, (draw, crop) in enumerate(zip(drawn, (a, b), strict=True)))
        return Sample(a, b, files, problems, known, *following)

    def _next(self, side: int, draw: Draw, frame: Tensor, opened: Opened) -> Neighbour | None:
        following = self.next_frames[side]
        if following is None:
            return None
        index = int(following[draw.image])
        if index == NONE:
            return no_neighbour(frame)
        after = self._crop(self.source.image(side, index, opened), draw, side)
        return neighbour(frame, after, self.census.b if side else self.census.a)

    def _crop(self, pixels: Tensor, draw: Draw, side: int) -> Tensor:
        domain = self.census.b if side else self.census.a
        if draw.change is None:
            pixels = crop(pixels, self.config.crop_size, draw.x, draw.y)
        else:
            pixels = changed_crop(pixels, self.config.crop_size, draw.x, draw.y, draw.change, bool(domain.classes))
            if draw.change.colours:
                colours = domain.channels - (domain.alpha == "keep")  # transparency, the last channel, is no colour
                changed = recolour(pixels[:colours], draw.change.colours, domain.low, domain.high)
                pixels = torch.cat([changed, pixels[colours:]])
        if not draw.mirrored:
            return pixels
        return mirror(pixels) if self.source.resident else mirror_by_one_thread(pixels)


def epoch_order(size: int, length: int, seed: tuple[int, int], epoch: int) -> np.ndarray:
    """``length`` draws among ``size`` images, shuffled: a function of seed and epoch, (length,) of indices.

    Each image is drawn ``length // size`` times, and some once more so that the epoch is full. Those take turns from epoch to
    epoch: over any number of epochs no image was drawn more than once oftener than another.
    """
    rounds, more = divmod(length, size)
    turns = np.random.default_rng((*seed, 0, 1)).permutation(size)
    extra = turns[(epoch * more + np.arange(more)) % size]
    draws = np.concatenate([np.tile(np.arange(size), rounds), extra])
    order: np.ndarray = draws[np.random.default_rng((*seed, epoch)).permutation(length)]
    return order


def known_pairs(split: Split) -> tuple[tuple[int, int], ...]:
    """The indices of images that belong together by their names, among images that are not paired.

    Raises ConfigError when there are none, DataError when a name does not say which image is meant.
    """
    found = match(split)
    if not found.pairs:
        raise ConfigError(
            f"data.pairs asks for pairs, but of {len(split.a)} + {len(split.b)} images none has a name of the other side; "
            "give the two images of a pair one name, or set data.pairs 0"
        )
    partners = {split.a[i].key for i, _ in found.pairs}
    for twins in (group for side in found.twins for group in side if group[0].key in partners):
        raise DataError(
            f"{show(twins[0].path)} and {show(twins[1].path)}: have one name on one side, so data.pairs cannot tell which "
            "belongs to the image of the other side; rename or remove one"
        )
    return found.pairs


def read_as(ref: Ref, domain: Domain) -> np.ndarray:
    """Read an image as native pixels (h, w, c) in a domain's channels and dtype. Raises DataError that begins with the path."""
    return read_picture_as(ref, domain)[1]


def read_picture_as(ref: Ref, domain: Domain) -> tuple[Picture, np.ndarray]:
    """Read an image: the picture as its file holds it, and its pixels in a domain's channels and dtype, as read_as gives them."""
    picture = read_picture(ref.path, domain.reading)
    picture = replace(picture, pixels=take_half(picture.pixels, ref))
    return picture, _fitted(picture.pixels, ref, domain, picture.metadata.stored)


def _fitted(pixels: np.ndarray, ref: Ref, domain: Domain, stored: str = "") -> np.ndarray:
    try:
        fitted = fit(pixels, domain.labels, stored)
    except DataError as error:
        raise DataError(f"{show(ref.path)}: {error}") from error
    return beside(fitted, ref) if domain.instances else fitted


def view(ref: Ref, domain: Domain, config: DataConfig) -> Tensor:
    """Read an image as tests and previews see it: native pixels (c, h, w).

    It is brought to crop_size as training brings it to load_size, without chance. Nothing is cut off, except that
    ``resize: none`` shows the middle crop of crop_size.
    """
    pixels, nearest = read_as(ref, domain), bool(domain.classes)
    if config.resize == "none":
        pixels = resize_for(pixels, "none", 0, at_least=config.crop_size, nearest=nearest)
        return crop(to_tensor(pixels), config.crop_size, 0.5, 0.5).contiguous()
    return to_tensor(resize_for(pixels, config.resize, config.crop_size, at_least=1, nearest=nearest))

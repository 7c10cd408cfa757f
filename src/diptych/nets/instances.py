"""Instances in label maps, for pix2pixHD (Wang et al. 2018, arXiv 1711.11585, sections 3.3 and 3.4).

An instance is what an instance map numbers, or a connected region of one label where there is no such map. Its outline is one
more input channel of the networks, and what an encoder found in it is averaged over it, so that one look belongs to one object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import full_precision
from diptych.nets.pix2pixhd import GlobalGenerator, LocalEnhancer
from diptych.pixels import INSTANCE_BYTES, Domain

NUM_STYLES = 10  # clusters of looks of each label, as in the authors' code
CAPACITY = 100  # looks of each label that are kept
LEAST_AREA = 0.005  # of the image: smaller regions say little of a look, as in the authors' code
MOST_NUMBERS = 256**2  # of objects in one image
Regions = Int[Tensor, "n h w"]
INNER: dict[str, type[nn.Module]] = {"pix2pixhd_global": GlobalGenerator, "pix2pixhd_local": LocalEnhancer}


def regions(labels: Float[Tensor, "n c h w"]) -> Regions:
    """The connected regions of one label (by the four neighbours): each pixel gets the place of its region's first pixel.

    Places are counted over all images of a batch. In each round every region is joined to the neighbour of its label with the
    smallest number. One that is joined to nothing, and nothing to it, is joined in the next round, so that two rounds halve the
    number of what is left to join: their count is fixed, and nothing waits for a GPU (Shiloach and Vishkin 1982).
    """
    n, _, height, width = labels.shape
    right, below = (labels[..., 1:] == labels[..., :-1]).all(1), (labels[..., 1:, :] == labels[..., :-1, :]).all(1)
    numbers = torch.arange(n * height * width, device=labels.device).view(n, height, width)
    doublings = max(1, (height * width - 1).bit_length())
    for round_ in range(2 * doublings):
        least = numbers.clone()
        _lower(least[..., :-1], numbers[..., 1:], right)
        _lower(least[..., 1:], numbers[..., :-1], right)
        _lower(least[:, :-1], numbers[:, 1:], below)
        _lower(least[:, 1:], numbers[:, :-1], below)
        roots = numbers.flatten().scatter_reduce(0, numbers.flatten(), least.flatten(), "amin")
        for _ in range(doublings - round_ // 2):  # a chain of joined regions is as long as there are regions left
            roots = roots[roots]
        numbers = roots[numbers]
    return numbers


def regions_of_numbers(x: Float[Tensor, "n 2 h w"]) -> Regions:
    """The pixels of one number in an image: each gets the place of its number's first pixel, counted as in ``regions``.

    A number is two bytes in [-1, 1], the high one first, as domains with instance maps encode them (diptych.pixels.Domain).
    """
    high, low = Domain(INSTANCE_BYTES).decode(x).long().unbind(1)
    numbers = high * 256 + low + torch.arange(len(x), device=x.device).view(-1, 1, 1) * MOST_NUMBERS
    places = torch.arange(numbers.numel(), device=x.device)
    first = torch.full((len(x) * MOST_NUMBERS,), numbers.numel(), device=x.device)
    return first.scatter_reduce(0, numbers.flatten(), places, "amin")[numbers]


def _lower(least: Int[Tensor, "n p q"], other: Int[Tensor, "n p q"], alike: Bool[Tensor, "n p q"]) -> None:
    least.copy_(torch.where(alike, torch.minimum(least, other), least))


def outlines(numbers: Regions) -> Float[Tensor, "n 1 h w"]:
    """1 where a pixel's left, right, upper or lower neighbour is of another region, and -1 elsewhere."""
    edge = torch.zeros_like(numbers, dtype=torch.bool)
    across, down = numbers[..., 1:] != numbers[..., :-1], numbers[:, 1:] != numbers[:, :-1]
    edge[..., 1:] |= across
    edge[..., :-1] |= across
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    return 2.0 * edge[:, None] - 1.0


def sizes_of(numbers: Regions) -> Int[Tensor, " places"]:
    """The number of pixels of each region, at the place of its number, and 0 elsewhere."""
    flat = numbers.flatten()
    return torch.zeros_like(flat).index_add(0, flat, torch.ones_like(flat))


def means_of_regions(features: Float[Tensor, "n f h w"], numbers: Regions) -> Float[Tensor, "places f"]:
    """The mean of features over each region, at the place of its number, in at least float32; 0 elsewhere."""
    flat = full_precision(features).movedim(1, -1).flatten(0, 2)
    return torch.zeros_like(flat).index_add(0, numbers.flatten(), flat) / sizes_of(numbers).clamp(min=1)[:, None]


def spread(rows: Float[Tensor, "places f"], numbers: Regions) -> Float[Tensor, "n f h w"]:
    """Each pixel gets the row of its number."""
    return rows[numbers].movedim(-1, 1)


class InstanceGenerator(nn.Module):
    """A generator of pix2pixHD that sees the outlines of instances, and ``num_features`` numbers of the look of each.

    While it trains it remembers the looks that the encoder found, by label. As a translator it draws the looks of all
    instances of a label from one of up to ten clusters of them: ``style`` 0 is the commonest, 9 the rarest. ``inner`` is the
    spec of the generator inside; with ``num_labels`` 1 regions are of equal pixels of images that are no label maps. ``mapped``:
    the last two of ``in_channels`` are the numbers of an instance map.
    """

    adjustable = ("style",)
    unportable = "looks for the objects of label maps"
    looks: Tensor
    seen: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        inner: dict[str, Any],
        num_features: int,
        num_labels: int,
        style: int = 0,
        mapped: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= style < NUM_STYLES:
            raise ConfigError(f"style must be from 0 to {NUM_STYLES - 1}, found {style}")
        if inner.get("net") not in INNER:
            raise ConfigError(f"the generator inside must be one of {', '.join(INNER)}, found {inner.get('net')!r}")
        self.spec: dict[str, Any] = {"net": "pix2pixhd_instances", "in_channels": in_channels, "out_channels": out_channels}
        self.spec |= {"inner": inner, "num_features": num_features, "num_labels": num_labels, "style": style}
        self.spec |= {"mapped": True} if mapped else {}
        self.num_features, self.num_labels, self.style, self.mapped = num_features, num_labels, style, mapped
        self.G = INNER[inner["net"]](**{key: value for key, value in inner.items() if key != "net"})
        self.multiple, self.smallest = self.G.multiple, self.G.smallest
        self.register_buffer("looks", torch.zeros(num_labels, CAPACITY, num_features))
        self.register_buffer("seen", torch.zeros(num_labels, dtype=torch.long))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        labels, numbers = self.parted(x)  # first, as this says to whoever translates by windows that it has no form for them
        looks = spread(self.looks_of_style().to(x), self.labels_of(labels)) if self.num_features else None
        return self.translate(self.beside(labels, numbers), looks)

    def parted(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n d h w"], Regions]:
        """The labels in what the generator is given, and the regions of their instances."""
        return (x[:, :-INSTANCE_BYTES], regions_of_numbers(x[:, -INSTANCE_BYTES:])) if self.mapped else (x, regions(x))

    def beside(self, x: Float[Tensor, "n c h w"], numbers: Regions) -> Float[Tensor, "n d h w"]:
        """Labels, and the outlines of their regions as one more channel."""
        return torch.cat([x, outlines(numbers).to(x.dtype)], 1)

    def translate(self, outlined: Float[Tensor, "n d h w"], looks: Float[Tensor, "n f h w"] | None) -> Float[Tensor, "n e h w"]:
        """The image of labels and outlines, with looks at each place where there are features."""
        image: Tensor = self.G(outlined if looks is None else torch.cat([outlined, looks.to(outlined.dtype)], 1))
        return image

    def adjusted(self, style: int = 0) -> InstanceGenerator:
        """The same weights with another style. Raises ConfigError unless it is from 0 to 9."""
        with torch.device("meta"):
            other = InstanceGenerator(**{key: value for key, value in self.spec.items() if key != "net"} | {"style": style})
        other.load_state_dict(self.state_dict(), assign=True)
        return other.train(self.training).requires_grad_(False)

    def labels_of(self, x: Float[Tensor, "n c h w"]) -> Int[Tensor, "n h w"]:
        """The label of each pixel."""
        return x.argmax(1) if self.num_labels > 1 else torch.zeros_like(x[:, 0], dtype=torch.long)

    @torch.no_grad()
    def remember(self, x: Float[Tensor, "n c h w"], numbers: Regions, means: Float[Tensor, "places f"]) -> None:
        """Keep the look of the largest region of each label, in the place of the oldest of its label."""
        sizes, total = sizes_of(numbers), numbers.numel()
        places = torch.arange(total, device=x.device)
        order = sizes * total + total - 1 - places  # the largest, and of equal ones the first
        largest = torch.zeros_like(self.seen).scatter_reduce(0, self.labels_of(x).flatten(), order, "amax")
        enough = largest // total >= LEAST_AREA * numbers[0].numel()
        rows, slots = torch.arange(self.num_labels, device=x.device), self.seen % CAPACITY
        looks = means[total - 1 - largest % total].to(self.looks.dtype)
        self.looks[rows, slots] = torch.where(enough[:, None], looks, self.looks[rows, slots])
        self.seen += enough

    def looks_of_style(self) -> Float[Tensor, "labels f"]:
        """For each label the centre of one of its clusters: the first again after the last; zeros for a label never seen."""
        from scipy.cluster.vq import kmeans2

        chosen = torch.zeros(self.num_labels, self.num_features)
        for label in range(self.num_labels if self.num_features else 0):
            looks = self.looks[label, : min(CAPACITY, int(self.seen[label]))].double().cpu().numpy()
            different = np.unique(looks, axis=0)
            if count := min(NUM_STYLES, len(different)):
                first = different[np.linspace(0, len(different) - 1, count).astype(int)]
                centres, nearest = kmeans2(looks, first, minit="matrix")
                order = np.argsort(-np.bincount(nearest, minlength=count), kind="stable")
                chosen[label] = torch.from_numpy(centres[order[self.style % count]])
        return chosen

"""A translator should give a moved image the moved translation; then films of images that move do not flicker.

    L(G, x, y) = mean over pixels that stay in view of w |G(y) - W G(x)|

W moves x to y. With synthetic motion y is W x and w is 1: W is a random smooth flow, which is known exactly, so that every image
is a film of two frames. Eilertsen et al. 2019 (eq. 3) regularise networks by single images in this way, with rigid
transformations. With real neighbours y is the next frame of the film, W its optical flow, and w says where the flow can be
trusted: it is small at occlusions. Lai et al. 2018 (eq. 3) train a network on films by this loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from diptych.losses.precision import without_autocast
from diptych.settings import Count, Rule, check_settings

Images = Float[Tensor, "n c h w"]
Translate = Callable[[Tensor], Tensor]
Reach = Annotated[float, Rule(lambda share: 0.0 < share <= 0.5, "greater than 0 and at most 0.5 of the image's side")]


class NextFrames(NamedTuple):
    """For each image of a batch the frame after it in its film, floats in [-1, 1], and where that shows the same.

    ``places`` say for each pixel of the next frame where the image shows the same: (x, y) from -1 to 1. ``likeness`` is the
    trust in that, from 0 to 1. All places of an image without a next frame are out of view.
    """

    images: Images
    places: Float[Tensor, "n h w 2"]
    likeness: Float[Tensor, "n 1 h w"]


class NeedsTranslator(ABC):
    """The options of a loss that applies the method's own generator to a source image."""

    @abstractmethod
    def with_translator(self, translate: Translate) -> Callable[[Tensor], Tensor]:
        """The loss, which takes a source image of a step."""


@dataclass(frozen=True)
class TemporalLoss(NeedsTranslator):
    """The mean distance of the translation of a moved image from the moved translation, over the pixels that stay in view.

    ``motion``: the moved image is the next frame of the film (``neighbours``), or is made by moving the image (``synthetic``);
    ``auto`` takes neighbours where at least half of the images have one. Of synthetic motion, ``reach`` is how far a pixel moves
    at most, as a share of the image's side; ``knots`` are the points of a side at which the flow is drawn, between which it is
    cubic: 2 move the image by little more than a shift, turn and zoom, more bend it.
    """

    num_images = 1

    motion: Literal["auto", "synthetic", "neighbours"] = "auto"

    reach: Reach = 0.05
    knots: Count = 3

    def __post_init__(self) -> None:
        check_settings(self, "temporal")

    def with_translator(self, translate: Translate) -> Callable[[Images], Float[Tensor, ""]]:
        """The loss of source images x in [-1, 1], and of their next frames; without these, motion is synthetic."""
        return _Temporal(self, translate)


@final
@dataclass(frozen=True)
class _Temporal:  # no closure: where a method is copied, the copy of its loss has the copy of its generator
    options: TemporalLoss
    translate: Translate

    def __call__(self, x: Images, following: NextFrames | None = None) -> Float[Tensor, ""]:
        if following is None:
            places, inside = random_flow(x, self.options.reach, self.options.knots)
            y, weight = moved_along(x, places), inside.float()
        else:
            y, places, weight = following
            inside = in_view(places)
        moved, after = self.translate(y), moved_along(self.translate(x), places)
        with without_autocast(x.device):
            distance = (moved.float() - after.float()).abs() * (weight * inside)
            return distance.sum() / (inside.sum() * distance.shape[1]).clamp_min(1)


def random_flow(x: Images, reach: float, knots: int) -> tuple[Float[Tensor, "n h w 2"], Bool[Tensor, "n 1 h w"]]:
    """Draw where each pixel of a moved image comes from, and whether that is in view.

    Places are (x, y) from -1 to 1, from left to right and from top to bottom.
    """
    n, _, h, w = x.shape
    drawn = (2 * torch.rand(n, 2, max(2, knots), max(2, knots), device=x.device) - 1) * (2 * reach)
    flow = F.interpolate(drawn, (h, w), mode="bicubic", align_corners=True).clamp(-2 * reach, 2 * reach)
    rows, columns = torch.linspace(-1, 1, h, device=x.device), torch.linspace(-1, 1, w, device=x.device)
    places = torch.stack([columns.expand(h, w), rows[:, None].expand(h, w)], -1) + flow.permute(0, 2, 3, 1)
    return places, in_view(places)


def in_view(places: Float[Tensor, "n h w 2"]) -> Bool[Tensor, "n 1 h w"]:
    """Tell which places lie inside of the image."""
    return (places.abs() <= 1).all(3)[:, None]


def moved_along(x: Images, places: Float[Tensor, "n h w 2"]) -> Images:
    """Images whose pixels come from the places, by linear interpolation."""
    with without_autocast(x.device):
        return F.grid_sample(x.float(), places, mode="bilinear", padding_mode="border", align_corners=True).to(x.dtype)

"""Losses that compare two images pixel by pixel, or by what is drawn in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.errors import ConfigError
from diptych.losses.precision import without_autocast
from diptych.pixels import Domain
from diptych.settings import Positive, Rule, Whole, check_settings

Images = Float[Tensor, "n c h w"]
Correlation = Annotated[float, Rule(lambda r: -1.0 <= r <= 1.0, "between -1 and 1, as correlations are")]
SMALLEST_PROBABILITY = 2.0**-23  # next to 1 in float32; its logarithm is still a number


def l1(x: Float[Tensor, n * c], y: Float[Tensor, n * c]) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return (x - y).abs().mean()


@dataclass(frozen=True)
class PixelLoss:
    """The mean distance of images from their targets, pixel by pixel; it takes the place of L1 in a method's objective.

    ``kind``: l1 is the absolute difference; bce is the binary cross-entropy of values read as probabilities (v + 1) / 2; ce is
    the cross-entropy of the classes of label maps, one channel each, which is what l1 becomes where a domain holds labels.
    ``foreground``: the weight of non-background pixels, those that differ from the median of their image's channel. An empty page
    minimises the plain mean of a drawing with few lines; a weight above 1 mends that. ``max_shift``: each target may first be
    moved by up to so many pixels, to where the image is nearest to it, and what this moves out of sight does not count: for pairs
    that do not quite lie on one another.
    """

    kind: Literal["l1", "bce", "ce"] = "l1"
    foreground: Positive = 1.0
    max_shift: Whole = 0

    def __post_init__(self) -> None:
        check_settings(self, "pixel_loss")

    def __call__(self, x: Images, y: Images, counts: Float[Tensor, " n"] | None = None) -> Float[Tensor, ""]:
        """The loss of images x against targets y, both in [-1, 1]; ``counts`` weights each image, 1 where it is not given."""
        paper = background(y) if self.foreground != 1.0 else None
        if self.max_shift:
            x, y = nearest_shift(x, y, self.max_shift)
        at_background = None if paper is None else y == paper
        if self.kind == "bce":
            p, t = _probabilities(x), (y + 1) / 2
            losses = -(t * p.log() + (1 - t) * (1 - p).log())
        elif self.kind == "ce":
            losses = cross_entropy(x, y)[:, None]
            at_background = None if at_background is None else at_background.all(1, keepdim=True)
        else:
            losses = (x - y).abs()
        if at_background is not None:
            losses = losses * torch.where(at_background, 1.0, self.foreground)
        return (losses if counts is None else losses * counts[:, None, None, None]).mean()

    @property
    def exact(self) -> PixelLoss:
        """This loss without shifts, for an image that is compared with itself."""
        return replace(self, max_shift=0) if self.max_shift else self

    def on(self, domain: Domain) -> PixelLoss:
        """This loss for images of a domain: the cross-entropy of classes takes the place of l1 where they are label maps.

        Raises ConfigError for ce where there are no labels.
        """
        if self.kind == "ce" and not domain.classes:
            raise ConfigError("pixel_loss.kind ce compares classes, and this side holds none; set data.labels, or choose l1")
        return replace(self, kind="ce") if domain.classes and self.kind == "l1" else self


def nearest_shift(x: Images, y: Images, most: int) -> tuple[Float[Tensor, "n c p q"], Float[Tensor, "n c p q"]]:
    """The middle of x, without ``most`` pixels at each edge, and what of y is nearest to it by L1 among all shifts up to that.

    The shift is found for each image on its own and passes no gradient. Raises ConfigError for images that have no middle.
    """
    height, width = x.shape[2] - 2 * most, x.shape[3] - 2 * most
    if min(height, width) < 1:
        raise ConfigError(f"pixel_loss.max_shift {most} leaves nothing of crops of {x.shape[2]} x {x.shape[3]} pixels; lower it")
    middle = x[:, :, most : most + height, most : most + width]
    with torch.no_grad():
        places = [(top, left) for top in range(2 * most + 1) for left in range(2 * most + 1)]
        apart = [(middle - y[:, :, top : top + height, left : left + width]).abs().mean((1, 2, 3)) for top, left in places]
        best = torch.stack(apart).argmin(0)
        rows = (best // (2 * most + 1))[:, None] + torch.arange(height, device=x.device)
        columns = (best % (2 * most + 1))[:, None] + torch.arange(width, device=x.device)
        images = torch.arange(len(x), device=x.device)[:, None, None]
        moved = y[images, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
    return middle, moved


def cross_entropy(x: Images, y: Images) -> Float[Tensor, "n h w"]:
    """The cross-entropy of each pixel of x with the class of y, whose channels are 1 for the class and -1 for others.

    x are outputs of tanh; twice their arguments are the logits of the softmax: 2 atanh(x) = log p - log (1 - p), p = (x + 1) / 2.
    """
    p = _probabilities(x)
    return F.cross_entropy(p.log() - (1 - p).log(), y.argmax(1), reduction="none")


def _probabilities(x: Images) -> Images:
    """Values of tanh as probabilities. Saturated ones are kept from 0 and 1, and their gradient passes: nets.blocks.bounded makes
    it the logit's."""
    p = (x + 1) / 2
    return p + (p.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY) - p).detach()


@dataclass(frozen=True)
class StructureLoss:
    """Keeps what is drawn in an image where it stands in another: max(0, enough - r), and the same for rows.

    r is the correlation of the ink in an image and in its translation, pooled over 2 pixels. Ink is the distance of a pixel from
    the background of its row, the median of each channel, whatever the colours of the two domains are: staff lines, paper and
    black are background, and strokes of one pixel do not count. For rows, r is the correlation of how far each row is from
    the background of the image on average, so that lines stay in their rows. Two drawings of one thing reach the correlations
    ``enough`` and ``rows`` and are free from there on. The loss keeps an unpaired translator from moving or exchanging what
    it sees, as the self-regularisation of Shrivastava et al. 2017 (eq. 3) does for domains of one kind.

    Two more correlations count thin strokes too and are asked for unless they are 0: ``columns``, of the square root of the ink
    of each column, and ``windows``, of the ink in every window of 24 columns that has any. There a small sign counts beside a
    full measure.
    """

    any_channels = True
    enough: Correlation = 0.2
    rows: Correlation = 0.7
    columns: Correlation = 0.0
    windows: Correlation = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "structure")

    def __call__(self, x: Images, y: Float[Tensor, "n d h w"]) -> Float[Tensor, ""]:
        """The mean over images; x and y have the same size and may differ in channels."""
        ink = F.relu(self.enough - _correlation(*(F.avg_pool2d(_solid_ink(z), 2, 1).flatten(1) for z in (y, x))))
        lost = ink + F.relu(self.rows - _correlation(*(_row_ink(z) for z in (y, x))))
        if self.columns:
            lost = lost + F.relu(self.columns - _correlation(*(_column_ink(z) for z in (y, x))))
        if self.windows:
            lost = lost + _lost_in_windows(y, x, self.windows)
        return lost.mean()


@dataclass(frozen=True)
class CharbonnierLoss:
    """The mean of sqrt((x - y)^2 + epsilon^2): L1 that is smooth around 0 (Charbonnier et al. 1994; Lai et al. 2017, eq. 4)."""

    epsilon: Positive = 1e-3

    def __post_init__(self) -> None:
        check_settings(self, "charbonnier")

    def __call__(self, x: Images, y: Images) -> Float[Tensor, ""]:
        return ((x - y).square() + self.epsilon**2).sqrt().mean()


@dataclass(frozen=True)
class TotalVariation:
    """The mean absolute difference of one image's neighbouring pixels, down plus across (Rudin et al. 1992)."""

    num_images = 1

    def __call__(self, x: Images) -> Float[Tensor, ""]:
        return (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()


@dataclass(frozen=True)
class EdgeLoss:
    """Keeps edges where they are: 1 minus the cosine of two images' edge maps, 0 where both have the same edges, at most 1.

    An edge map is the magnitude of Sobel's gradient of the mean over channels. Images may differ in channels, and neither their
    brightness nor their contrast counts, so that an unpaired translation can be held to its own input.
    """

    any_channels = True

    def __call__(self, x: Images, y: Float[Tensor, "n d h w"]) -> Float[Tensor, ""]:
        return 1.0 - F.cosine_similarity(_edges(x).flatten(1), _edges(y).flatten(1), dim=1, eps=1e-6).mean()


@dataclass(frozen=True)
class FocalFrequencyLoss:
    """The squared distance of spectra, weighted by itself, so that hard frequencies count more (Jiang et al. 2021, eq. 8).

    The weight |F_x - F_y|^alpha is divided by its maximum over each channel of each image and receives no gradient. The spectra
    are orthonormal.
    """

    alpha: Positive = 1.0

    def __post_init__(self) -> None:
        check_settings(self, "focal_frequency")

    def __call__(self, x: Images, y: Images) -> Float[Tensor, ""]:
        with without_autocast(x.device):
            wide = torch.promote_types(x.dtype, torch.float32)
            difference = torch.view_as_real(torch.fft.fft2(x.to(wide) - y.to(wide), norm="ortho")).square().sum(-1)
            weight = difference.detach().sqrt() ** self.alpha
            weight = weight / weight.amax((2, 3), keepdim=True).clamp(min=torch.finfo(wide).tiny)
            return (weight * difference).mean()


L1 = PixelLoss()
"""The pixel loss of the published objectives."""


def _edges(x: Images) -> Float[Tensor, "n p q"]:
    grey = x.mean(1, keepdim=True)
    smooth, slope = grey.new_tensor([1.0, 2.0, 1.0]) / 4, grey.new_tensor([-1.0, 0.0, 1.0]) / 2
    across = F.conv2d(grey, (smooth[:, None] * slope)[None, None])
    down = F.conv2d(grey, (slope[:, None] * smooth)[None, None])
    return (across.square() + down.square() + 1e-12).sqrt()[:, 0]  # the slope of a root at 0 is infinite


def _correlation(x: Float[Tensor, "n k"], y: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    x, y = (z - z.mean(1, keepdim=True) for z in (x, y))
    return F.cosine_similarity(x, y, dim=1, eps=1e-6)


def _row_ink(x: Images) -> Float[Tensor, "n h"]:
    return (x - background(x)).abs().mean((1, 3))


def _column_ink(x: Images) -> Float[Tensor, "n w"]:
    """The square root of the ink of each column, averaged twice over 3 columns, so that a thin sign counts beside a bold one."""
    ink = (x - x.median(3, keepdim=True).values).abs().mean((1, 2))[:, None]
    return (F.avg_pool1d(F.avg_pool1d(ink, 3, 1, 1), 3, 1, 1)[:, 0] + 1e-3).sqrt()


def _window_ink(x: Images) -> Float[Tensor, "n s k"]:
    """The ink of each window of 24 columns, every eighth, pooled over 2 pixels, less its mean."""
    ink = F.avg_pool2d((x - x.median(3, keepdim=True).values).abs().mean(1), 2, 1)
    windows = ink.unfold(2, min(24, ink.shape[2]), 8).transpose(1, 2).flatten(2)
    return windows - windows.mean(2, keepdim=True)


def _lost_in_windows(x: Images, y: Float[Tensor, "n d h w"], enough: float) -> Float[Tensor, " n"]:
    """By how much windows with ink correlate less than is enough, on average. Faint ink correlates with little."""
    a, b = _window_ink(x), _window_ink(y)
    p, q = a.norm(dim=2), b.norm(dim=2)
    r = (a * b).sum(2) / (p * q + 0.5 * (p + q) + 1e-6)
    inked = (torch.maximum(p, q) > 1).float()
    return (inked * F.relu(enough - r)).sum(1) / inked.sum(1).clamp(min=1)


def _solid_ink(x: Images) -> Float[Tensor, "n 1 p q"]:
    ink = (x - x.median(3, keepdim=True).values).abs().mean(1, keepdim=True)
    return -F.max_pool2d(-ink, 2, 1)


def background(x: Images) -> Float[Tensor, "n c 1 1"]:
    """The median of each channel of each image, which is the paper of a drawing."""
    return x.flatten(2).median(2).values[..., None, None]

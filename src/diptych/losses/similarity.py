"""Structural similarity as a loss: SSIM (Wang et al. 2004) and MS-SSIM (Wang et al. 2003), differentiable in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.errors import ConfigError
from diptych.losses.precision import without_autocast
from diptych.settings import Rule, check_settings

Images = Float[Tensor, "n c h w"]
WINDOW, SIGMA = 11, 1.5  # pixels, of the Gaussian window
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, fine to coarse (Wang et al. 2003)
Scales = Annotated[int, Rule(lambda n: 1 <= n <= len(WEIGHTS), "from 1 to 5")]


@runtime_checkable
class NeedsSize(Protocol):
    """A loss that small images are no use to."""

    def check_size(self, height: int, width: int) -> None:
        """Raise ConfigError where images are too small."""
        ...


@dataclass(frozen=True)
class SSIMLoss:
    """1 - SSIM: 0 for equal images, at most 2. The window has 11 pixels and sigma 1.5 and stays inside the image."""

    def check_size(self, height: int, width: int) -> None:
        """Raise ConfigError for images under 11 pixels a side."""
        _refuse_smaller(height, width, WINDOW, "ssim: the window needs")

    def __call__(self, x: Images, y: Images) -> Float[Tensor, ""]:
        """Raises ConfigError as check_size does."""
        self.check_size(*x.shape[-2:])
        return 1.0 - _similarity(*_as_probabilities(x, y))[0].mean()


@dataclass(frozen=True)
class MSSSIMLoss:
    """1 - MS-SSIM: contrast and structure at every scale and luminance at the coarsest one, each to its published exponent.

    Five scales need 161 pixels a side; with fewer ``scales`` the exponents of the finest ones are used, divided by their sum.
    """

    scales: Scales = 5

    def __post_init__(self) -> None:
        check_settings(self, "ms_ssim")

    def check_size(self, height: int, width: int) -> None:
        """Raise ConfigError for images that are too small for so many scales, naming how many fit."""
        fitting = [n for n in range(1, self.scales) if min(height, width) >= _smallest(n)]
        hint = f"set scales to {max(fitting)}, or " if fitting else ""
        _refuse_smaller(height, width, _smallest(self.scales), f"ms_ssim: {self.scales} scales need", hint)

    def __call__(self, x: Images, y: Images) -> Float[Tensor, ""]:
        """Raises ConfigError as check_size does."""
        self.check_size(*x.shape[-2:])
        x, y = _as_probabilities(x, y)
        used = WEIGHTS[: self.scales]
        total = sum(used) if self.scales < len(WEIGHTS) else 1.0  # the published exponents add up to 1.0001
        product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
        for scale, weight in enumerate(used):
            whole, contrast = _similarity(x, y)
            factor = whole if scale == self.scales - 1 else contrast
            # A negative number has no real power, and the slope of a power below 1 is infinite at 0.
            product = product * factor.clamp(min=1e-6) ** (weight / total)
            x, y = (F.avg_pool2d(F.pad(z, (0, z.shape[-1] % 2, 0, z.shape[-2] % 2), mode="replicate"), 2) for z in (x, y))
        return 1.0 - product.mean()


def _as_probabilities(x: Images, y: Images) -> tuple[Images, Images]:
    """From [-1, 1] to [0, 1], which the constants of SSIM assume, in at least float32."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (x.to(wide) + 1.0) / 2.0, (y.to(wide) + 1.0) / 2.0


def _similarity(x: Images, y: Images) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """SSIM, and its contrast-structure part alone, averaged over the pixels whose window lies in the image."""
    with without_autocast(x.device):  # variances are differences of nearly equal numbers
        mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    contrast = (2.0 * (xy - mean_x * mean_y) + c2) / (xx - mean_x.square() + yy - mean_y.square() + c2)
    return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))


def _blur(x: Images) -> Float[Tensor, "n c p q"]:
    place = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    window = torch.softmax(-place.square() / (2 * SIGMA**2), 0)  # a Gaussian that sums to 1
    n, c, h, w = x.shape
    flat = x.reshape(n * c, 1, h, w)
    blurred = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return blurred.view(n, c, *blurred.shape[-2:])


def _smallest(scales: int) -> int:
    """The pixels a side that so many scales need: the window fits at the coarsest of them."""
    return (WINDOW - 1) * 2 ** (scales - 1) + 1


def _refuse_smaller(height: int, width: int, smallest: int, what: str, hint: str = "") -> None:
    if min(height, width) < smallest:
        raise ConfigError(
            f"extra: {what} images of {smallest} pixels a side, found {width}x{height}; "
            f"{hint}train on larger crops (data.crop_size)"
        )

"""How near an image is to the truth, image by image: L1, PSNR, SSIM and MS-SSIM."""

from __future__ import annotations

import torch
from jaxtyping import Float
from kornia.filters import filter2d_separable, get_gaussian_kernel1d
from kornia.metrics import ssim as kornia_ssim
from torch import Tensor
from torch.nn import functional as F

from diptych.errors import DataError

SSIM_SMALLEST = 11  # pixels: the window
MS_SSIM_SMALLEST = 161  # pixels: the window still fits after four halvings that round up
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, fine to coarse (Wang et al. 2003)


def l1(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Mean absolute difference of images in [-1, 1], for each image alone: 0 to 2, the paper's L1 loss before its weight."""
    return (x.double() - y.double()).abs().mean(dim=(1, 2, 3))


def psnr(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio in dB of images in [-1, 1] (peak 2), for each image alone; infinite for equal images."""
    error = (x.double() - y.double()).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(4.0 / error)


def ssim(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Structural similarity of images in [-1, 1], for each image alone, 1 for equal images (Wang et al. 2004).

    Gaussian window of 11 pixels, sigma 1.5, without the padded border, mean over channels: equal to scikit-image's
    ``gaussian_weights=True, use_sample_covariance=False``. Raises DataError for images under 11 pixels a side.
    """
    _refuse_smaller(x, SSIM_SMALLEST, "SSIM")
    x, y = (x.double() + 1.0) / 2.0, (y.double() + 1.0) / 2.0  # the window's constants assume a range that begins at 0
    return kornia_ssim(x, y, window_size=11, max_val=1.0, padding="valid").mean(dim=(1, 2, 3))


def ms_ssim(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Multi-scale structural similarity of images in [-1, 1], for each image alone, 0 to 1 (Wang et al. 2003, eq. 7).

    Five scales, each half the one before (means of 2x2 pixels, the last row or column of an odd side repeated, as in
    the published code and TensorFlow); window and constants as in ``ssim``, without the padded border. Each channel has
    its own product over scales; the result is the mean over channels. Where contrast and structure correlate negatively
    at some scale, that factor counts as 0, for a negative number has no real power: an image that is anything like the
    truth has none. Raises DataError for images under 161 pixels a side, for which five scales do not exist.
    """
    _refuse_smaller(x, MS_SSIM_SMALLEST, "MS-SSIM of five scales")
    x, y = (x.double() + 1.0) / 2.0, (y.double() + 1.0) / 2.0
    product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        whole, contrast = _similarity(x, y)
        factor = whole if scale == len(MS_SSIM_WEIGHTS) - 1 else contrast  # luminance counts at the coarsest scale only
        product = product * factor.clamp(min=0.0) ** weight
        x, y = _halve(x), _halve(y)
    return product.mean(dim=1)


def _similarity(x: Tensor, y: Tensor) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """SSIM, and its contrast-structure part alone, averaged over the pixels whose window lies in the image."""
    window = get_gaussian_kernel1d(SSIM_SMALLEST, 1.5, dtype=x.dtype, device=x.device)

    def blur(image: Tensor) -> Tensor:
        return filter2d_separable(image, window, window, padding="valid")

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x * mean_x, blur(y * y) - mean_y * mean_y
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    contrast = (2.0 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * contrast).mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def _halve(x: Tensor) -> Tensor:
    padded = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2), mode="replicate")
    return F.avg_pool2d(padded, kernel_size=2)


def _refuse_smaller(x: Tensor, smallest: int, metric: str) -> None:
    height, width = x.shape[-2:]
    if min(height, width) < smallest:
        raise DataError(
            f"{metric} needs images of at least {smallest} pixels a side, found {width}x{height}; "
            "leave it out or compare larger images"
        )

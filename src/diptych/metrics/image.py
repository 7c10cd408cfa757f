"""How near an image is to the truth: PSNR and SSIM, image by image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from kornia.metrics import ssim as kornia_ssim
from torch import Tensor


def psnr(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio in dB of images in [-1, 1] (peak 2), for each image alone; infinite for equal images."""
    error = (x.double() - y.double()).square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(4.0 / error)


def ssim(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Structural similarity of images in [-1, 1], for each image alone, 1 for equal images (Wang et al. 2004).

    Gaussian window of 11 pixels, sigma 1.5, without the padded border, mean over channels: equal to scikit-image's
    ``gaussian_weights=True, use_sample_covariance=False``. Images are at least 11 pixels a side.
    """
    x, y = (x.double() + 1.0) / 2.0, (y.double() + 1.0) / 2.0  # the window's constants assume a range that begins at 0
    return kornia_ssim(x, y, window_size=11, max_val=1.0, padding="valid").mean(dim=(1, 2, 3))

"""PSNR and SSIM against scikit-image, and their identities."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diptych.metrics.image import psnr, ssim


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(0)
    x = torch.rand(3, 3, 40, 50, generator=random) * 2 - 1
    return x, (x + 0.2 * torch.randn(x.shape, generator=random)).clamp(-1, 1)


def as_unit(x):
    return (x.double().permute(1, 2, 0).numpy() + 1) / 2


def test_psnr_of_each_image_is_scikit_images(images):
    x, y = images
    expected = [peak_signal_noise_ratio(as_unit(a), as_unit(b), data_range=1) for a, b in zip(x, y, strict=True)]
    assert psnr(x, y).tolist() == pytest.approx(expected, rel=1e-12)


def test_ssim_of_each_image_is_scikit_images(images):
    x, y = images
    options = {"data_range": 1, "channel_axis": 2, "gaussian_weights": True, "use_sample_covariance": False}
    expected = [structural_similarity(as_unit(a), as_unit(b), **options) for a, b in zip(x, y, strict=True)]
    assert ssim(x, y).tolist() == pytest.approx(expected, rel=1e-6)


def test_an_image_equals_itself(images):
    x, _ = images
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3)
    assert psnr(x, x).isinf().all()


def test_both_fall_as_noise_grows(images):
    x, _ = images
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    levels = [(x + size * noise).clamp(-1, 1) for size in (0.05, 0.1, 0.3)]
    for metric in (psnr, ssim):
        scores = [float(metric(x, y).mean()) for y in levels]
        assert scores == sorted(scores, reverse=True)

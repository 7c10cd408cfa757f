"""L1, PSNR, SSIM and MS-SSIM against scikit-image and NumPy, and their identities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.measure import block_reduce
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diptych.errors import DataError
from diptych.metrics.image import MS_SSIM_SMALLEST, SSIM_SMALLEST, l1, ms_ssim, psnr, ssim

SKIMAGE = {"data_range": 1, "channel_axis": 2, "gaussian_weights": True, "use_sample_covariance": False}
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2


def noisy_pair(*shape):
    random = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=random) * 2 - 1
    return x, (x + 0.2 * torch.randn(x.shape, generator=random)).clamp(-1, 1)


@pytest.fixture
def images():
    return noisy_pair(3, 3, 40, 50)


@pytest.fixture(scope="module")
def large():
    """Smooth images and distorted ones, sides that are even, odd and odd after halving."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 12, 13, generator=random) * 2 - 1
    x = torch.nn.functional.interpolate(coarse, size=(163, 182), mode="bicubic").clamp(-1, 1)
    return x, (0.7 * x.roll(6, dims=3) + 0.2 * torch.randn(x.shape, generator=random)).clamp(-1, 1)


def as_unit(x):
    return (x.double().permute(1, 2, 0).numpy() + 1) / 2


def reference_ms_ssim(a, b):
    """Wang et al. 2003, eq. 7, from scikit-image's SSIM, channel by channel."""
    scores = []
    for channel in range(a.shape[2]):
        x, y = a[..., channel], b[..., channel]
        score = 1.0
        for scale, weight in enumerate(WEIGHTS):
            # A huge K1 makes the luminance term 1, which leaves contrast and structure.
            k1 = 0.01 if scale == 4 else 1e8
            options = SKIMAGE | {"channel_axis": None, "K1": k1}
            score *= max(structural_similarity(x, y, **options), 0.0) ** weight
            x, y = (block_reduce(np.pad(z, [(0, side % 2) for side in z.shape], "edge"), (2, 2), np.mean) for z in (x, y))
        scores.append(score)
    return np.mean(scores)


def test_l1_of_each_image_is_numpys(images):
    x, y = images
    assert l1(x, y).tolist() == pytest.approx(np.abs(x.double().numpy() - y.double().numpy()).mean(axis=(1, 2, 3)).tolist())


def test_l1_goes_from_0_to_2():
    white = torch.ones(2, 1, 4, 4)
    assert l1(white, white).tolist() == [0.0, 0.0]
    assert l1(white, -white).tolist() == [2.0, 2.0]


def test_psnr_of_each_image_is_scikit_images(images):
    x, y = images
    expected = [peak_signal_noise_ratio(as_unit(a), as_unit(b), data_range=1) for a, b in zip(x, y, strict=True)]
    assert psnr(x, y).tolist() == pytest.approx(expected, rel=1e-12)


def test_ssim_of_each_image_is_scikit_images(images):
    x, y = images
    expected = [structural_similarity(as_unit(a), as_unit(b), **SKIMAGE) for a, b in zip(x, y, strict=True)]
    assert ssim(x, y).tolist() == pytest.approx(expected, rel=1e-6)


def test_ms_ssim_of_each_image_is_the_paper_s_product_of_scikit_images_ssim(large):
    x, y = large
    expected = [reference_ms_ssim(as_unit(a), as_unit(b)) for a, b in zip(x, y, strict=True)]
    assert min(expected) > 0.2 and max(expected) < 0.9
    assert ms_ssim(x, y).tolist() == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_is_ssim_where_all_scales_are_alike():
    x, y = torch.full((1, 1, 176, 176), 0.2), torch.full((1, 1, 176, 176), 0.6)
    assert ms_ssim(x, y).item() == pytest.approx(ssim(x, y).item() ** WEIGHTS[-1], rel=1e-9)


def test_the_opposite_of_an_image_scores_0_and_is_a_number(large):
    x, _ = large
    assert ms_ssim(x, -x).tolist() == [0.0, 0.0]


def test_an_image_equals_itself(images, large):
    x, _ = images
    assert l1(x, x).tolist() == [0.0] * 3
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 3)
    assert ms_ssim(large[0], large[0]).tolist() == pytest.approx([1.0] * 2, rel=1e-12)
    assert psnr(x, x).isinf().all()


def test_all_get_worse_as_noise_grows(large):
    x, _ = large
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    levels = [(x + size * noise).clamp(-1, 1) for size in (0.05, 0.1, 0.3)]
    for metric in (psnr, ssim, ms_ssim, lambda x, y: -l1(x, y)):
        scores = [float(metric(x, y).mean()) for y in levels]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("metric", "smallest", "message"),
    [
        (
            ssim,
            SSIM_SMALLEST,
            "SSIM needs images of at least 11 pixels a side, found 200x10; leave it out or compare larger images",
        ),
        (
            ms_ssim,
            MS_SSIM_SMALLEST,
            "MS-SSIM of five scales needs images of at least 161 pixels a side, found 200x160; leave it out",
        ),
    ],
)
def test_images_too_small_are_refused_and_the_smallest_are_not(metric, smallest, message):
    x, y = noisy_pair(1, 1, smallest, 200)
    assert 0 < metric(x, y).item() < 1
    with pytest.raises(DataError, match=message):
        metric(x[:, :, 1:], y[:, :, 1:])

"""Histogram intersection in Lab against scikit-image and NumPy, and its identities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from diptych.errors import DataError
from diptych.metrics.colour import histogram_intersection, intersection_estimates, lab_histogram_intersection, lab_histograms


def draw(n, seed, height=20, width=30):
    random = torch.Generator().manual_seed(seed)
    means = torch.rand(n, 3, 1, 1, generator=random) * 150 + 50
    return (means + 25 * torch.randn(n, 3, height, width, generator=random)).clamp(0, 255).to(torch.uint8)


def reference(x, y):
    """From scikit-image's Lab and NumPy's histograms, one unit a bin."""
    shares = []
    for channel, (low, high) in enumerate([(-0.5, 100.5), (-128.5, 127.5), (-128.5, 127.5)]):
        edges = np.arange(low, high + 1)
        a, b = (np.histogram(rgb2lab(s.permute(0, 2, 3, 1).numpy())[..., channel], edges)[0] for s in (x, y))
        shares.append(np.minimum(a / a.sum(), b / b.sum()).sum())
    return tuple(shares)


def test_intersection_is_that_of_scikit_images_lab():
    x, y = draw(5, 0), draw(4, 1, 24, 16)
    expected = reference(x, y)
    assert all(0.2 < share < 0.95 for share in expected)
    assert lab_histogram_intersection(x, y) == pytest.approx(expected, abs=5e-4)


def test_a_set_has_all_colours_in_common_with_itself_wherever_its_pixels_stand():
    x = draw(3, 0)
    assert lab_histogram_intersection(x, x.flip(0, 2, 3)) == pytest.approx((1.0, 1.0, 1.0))


def test_black_and_white_share_a_and_b_but_no_lightness():
    black = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    assert lab_histogram_intersection(black, 255 - black) == (0.0, 1.0, 1.0)


def test_every_grey_falls_on_a_and_b_of_0_and_every_colour_into_a_bin():
    ramp = torch.arange(256, dtype=torch.uint8)
    grey = lab_histograms(ramp.view(1, 1, 16, 16).expand(1, 3, 16, 16))
    assert grey[0, 1:, 128].tolist() == [256, 256]
    corners = torch.cartesian_prod(*[torch.tensor([0, 255], dtype=torch.uint8)] * 3).T.reshape(1, 3, 2, 4)
    assert lab_histograms(corners).sum(axis=-1).tolist() == [[8, 8, 8]]


def test_histograms_of_batches_are_those_of_the_whole_and_each_image_has_its_own():
    x = draw(5, 0)
    whole = lab_histograms(x)
    assert whole.shape == (5, 3, 256) and (whole.sum(axis=-1) == 600).all()
    assert np.array_equal(whole, np.concatenate([lab_histograms(x[:2]), lab_histograms(x[2:])]))


@pytest.mark.parametrize("paired", [True, False])
def test_estimates_hold_the_value_and_repeat(paired):
    x, y = lab_histograms(draw(12, 0)), lab_histograms(draw(12, 1))
    estimates = intersection_estimates(x, y, paired=paired)
    assert tuple(estimate.value for estimate in estimates.values()) == pytest.approx(histogram_intersection(x, y))
    assert list(estimates) == ["L", "a", "b"]
    assert all(0 <= e.low < e.value < e.high <= 1 and e.n == 12 for e in estimates.values())
    assert estimates == intersection_estimates(x, y, paired=paired)


def test_pairs_are_drawn_together():
    x = lab_histograms(draw(12, 0))
    for estimate in intersection_estimates(x, x, paired=True).values():
        assert (estimate.low, estimate.high) == pytest.approx((1.0, 1.0))
    assert intersection_estimates(x, x, paired=False)["L"].low < 0.96


def test_intervals_hold_the_mean_share_of_sets_of_their_size_most_times():
    pool_x, pool_y = lab_histograms(draw(2000, 0, 8, 8)), lab_histograms(draw(2000, 1, 8, 8)[:, [0, 0, 2]])
    random = np.random.default_rng(0)
    sets = [[pool[random.integers(0, 2000, 40)] for pool in (pool_x, pool_y)] for _ in range(100)]
    estimates = [list(intersection_estimates(x, y, paired=False).values()) for x, y in sets]
    for channel in zip(*estimates, strict=True):
        middle = np.mean([estimate.value for estimate in channel])
        assert np.mean([estimate.low <= middle <= estimate.high for estimate in channel]) >= 0.88


def test_sets_that_cannot_be_compared_are_refused():
    x = lab_histograms(draw(2, 0))
    with pytest.raises(DataError, match="histogram intersection needs two sets of images, found 2 and 0"):
        histogram_intersection(x, x[:0])
    with pytest.raises(DataError, match="paired sets have one image each of every scene, found 2 and 1; leave out those alone"):
        intersection_estimates(x, x[:1], paired=True)

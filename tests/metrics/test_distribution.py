"""FID and KID against torchmetrics and SciPy, their identities, and how often their intervals hold the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from diptych.errors import DataError
from diptych.metrics.distribution import BLOCK, fid, fid_estimate, kid, kid_estimate, kid_p_value


def draw(random, n, d, shift=0.0, scale=1.0):
    """Features as networks give them: none below 0, correlated, variances that fall off."""
    mix = np.random.default_rng(99).normal(size=(d, d)) / math.sqrt(d)
    return np.abs(random.normal(size=(n, d)) / np.arange(1, d + 1) ** 0.4 @ mix) * scale + shift


@pytest.fixture
def random():
    return np.random.default_rng(0)


def scipys_fid(x, y):
    """Heusel et al. 2017 as published: the d x d root."""
    apart = x.mean(0) - y.mean(0)
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    return apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * root.real)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 50, 8), (300, 40, 32), (9, 200, 16)])
def test_fid_is_scipys(random, n, m, d):
    x, y = draw(random, n, d), draw(random, m, d, 0.1, 1.2)
    assert fid(x, y) == pytest.approx(scipys_fid(x, y), rel=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 50, 8), (30, 40, 64), (10, 100, 64)])
def test_fid_is_torchmetrics(random, n, m, d):
    x, y = (torch.from_numpy(z) for z in (draw(random, n, d), draw(random, m, d, 0.1, 1.2)))
    network = torch.nn.Identity()
    network.num_features = d
    theirs = FrechetInceptionDistance(network, normalize=True, input_img_size=(d,)).set_dtype(torch.float64)
    theirs.orig_dtype = torch.float64
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    # Their eigenvalues of a singular product are right to about the root of the precision.
    assert fid(x, y) == pytest.approx(theirs.compute().item(), rel=1e-6 if min(n, m) > d else 1e-4)


@pytest.mark.parametrize(("n", "d"), [(500, 16), (20, 300), (65, 64)])
def test_a_set_is_at_distance_0_from_itself_and_distances_are_symmetric(random, n, d):
    x, y = draw(random, n, d), draw(random, n + 3, d, 0.2)
    spread = float(x.var(axis=0).sum())
    assert 0 <= fid(x, x) <= 1e-10 * spread
    assert fid(x, x[::-1]) <= 1e-10 * spread
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-10)
    assert kid(x, y) == pytest.approx(kid(y, x), rel=1e-10)


def test_fid_of_shifted_and_scaled_gaussians_is_the_formula(random):
    x = random.normal(size=(4000, 3))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False)).T)  # mean 0, covariance 1 exactly
    assert fid(x, 3 * x + [1, 2, 2]) == pytest.approx(9 + 3 * (3 - 1) ** 2)


def test_fid_is_real_with_fewer_images_than_dimensions_and_constant_features(random):
    x = draw(random, 5, 400)
    x[:, ::2] = 0.0
    y = np.tile(draw(random, 1, 400), (4, 1))
    assert fid(x, y) == pytest.approx(((x.mean(0) - y[0]) ** 2).sum() + x.var(axis=0, ddof=1).sum())
    assert math.isfinite(fid_estimate(x, y).low) and math.isfinite(kid(x, y))


@pytest.mark.parametrize(("n", "d"), [(40, 8), (12, 64), (BLOCK + 100, 4)])
def test_kid_is_torchmetrics(random, n, d):
    x, y = draw(random, n, d), draw(random, n, d, 0.1, 1.2)
    expected = poly_mmd(torch.from_numpy(x), torch.from_numpy(y)).item()
    assert kid(x, y) == pytest.approx(expected, rel=1e-8)
    assert kid(torch.from_numpy(x), torch.from_numpy(y)) == kid(x, y)


def test_kid_is_the_mean_of_the_published_subsets(random):
    x, y = draw(random, 300, 16), draw(random, 260, 16, 0.05, 1.1)
    subsets = [kid(x[random.choice(300, 100, False)], y[random.choice(260, 100, False)]) for _ in range(400)]
    assert np.mean(subsets) == pytest.approx(kid(x, y), abs=3 * np.std(subsets) / math.sqrt(400))


def test_kid_of_two_draws_of_one_distribution_is_0_on_average(random):
    values = [kid(draw(random, 10, 16), draw(random, 14, 16)) for _ in range(400)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(400)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.02, 1.1), (0.2, 1.3)])
def test_kid_intervals_hold_the_truth_most_times(random, shift, scale):
    truth = kid(draw(random, 3000, 16), draw(random, 3000, 16, shift, scale)) if shift else 0.0
    sets = [(draw(random, 60, 16), draw(random, 60, 16, shift, scale)) for _ in range(150)]
    held = np.mean([e.low <= truth <= e.high for e in (kid_estimate(x, y, resamples=200) for x, y in sets)])
    assert held >= 0.88


@pytest.mark.parametrize(("n", "d"), [(40, 64), (100, 16)])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.2, 1.3)])
def test_fid_intervals_hold_the_mean_of_sets_of_their_size_most_times(random, n, d, shift, scale):
    estimates = [fid_estimate(draw(random, n, d), draw(random, n, d, shift, scale)) for _ in range(150)]
    middle = np.mean([estimate.value for estimate in estimates])
    spread = np.std([estimate.value for estimate in estimates])
    half = np.mean([estimate.high - estimate.value for estimate in estimates])
    assert np.mean([e.low <= middle <= e.high for e in estimates]) >= 0.88
    assert 0.8 * 1.96 * spread < half < 2 * 1.96 * spread


@pytest.mark.parametrize(("n", "m", "d"), [(7, 9, 20), (30, 25, 6), (30, 5, 6)])
def test_fid_interval_is_that_of_slopes_found_by_differences(random, n, m, d):
    x, y = draw(random, n, d), draw(random, m, d, 0.3, 1.4)

    def weighted_fid(weights_x, weights_y):
        """FID where images count with weights that sum to 1, covariances scaled as the unbiased ones are."""
        means, covariances = [], []
        for z, weights in ((x, weights_x), (y, weights_y)):
            mean = weights @ z
            means.append(mean)
            covariances.append((z - mean).T @ ((z - mean) * weights[:, None]) * len(z) / (len(z) - 1))
        root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
        return ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * root

    def slopes(side, step=1e-3):
        found = []
        even = [np.full(n, 1 / n), np.full(m, 1 / m)]
        for image in range(len(even[side])):
            ends = []
            for sign in (1, -1):
                weights = [even[0].copy(), even[1].copy()]
                weights[side] *= 1 - sign * step
                weights[side][image] += sign * step
                ends.append(weighted_fid(*weights))
            found.append((ends[0] - ends[1]) / (2 * step))
        return np.array(found)

    deviation = math.sqrt(sum(np.var(slopes(side), ddof=1) / size for side, size in ((0, n), (1, m))))
    estimate = fid_estimate(x, y)
    assert estimate.n == min(n, m) and estimate.value == pytest.approx(fid(x, y), rel=1e-9)
    quantile = scipy.stats.t.ppf(0.975, min(n, m) - 1)
    assert (estimate.high - estimate.value) / quantile == pytest.approx(deviation, rel=1e-3)


def test_estimates_repeat_and_do_not_go_below_what_is_possible(random):
    x, y = draw(random, 30, 64), draw(random, 25, 64)
    assert kid_estimate(x, y, seed=3) == kid_estimate(x, y, seed=3) != kid_estimate(x, y, seed=4)
    same = fid_estimate(x, x)
    assert 0 <= same.low <= same.value <= same.high < 1e-4 * fid(x, y)
    assert kid_estimate(x, y).value == pytest.approx(kid(x, y), rel=1e-12)
    assert kid_estimate(x, y).n == 25


@pytest.mark.parametrize("n", [2, 4])
def test_fewer_than_five_images_have_a_kid_but_no_interval(random, n):
    estimate = kid_estimate(draw(random, n, 8), draw(random, 5, 8))
    assert math.isfinite(estimate.value) and math.isnan(estimate.low) and math.isnan(estimate.high)
    assert math.isfinite(kid_estimate(draw(random, 5, 8), draw(random, 5, 8)).low)


def scenes(random, n, d, shift=0.0):
    """Two photos of each of n scenes: most of it is what a pair shares, and but for the shift both have one distribution."""
    shared = random.normal(size=(n, d))
    return shared + 0.3 * random.normal(size=(n, d)), shared + 0.3 * random.normal(size=(n, d)) + shift


def test_kid_of_pairs_is_grettons_sum_over_different_scenes(random):
    x, y = scenes(random, 9, 5, 0.2)

    def kernel(one, other):
        return (one @ other / 5 + 1) ** 3

    parts = [
        kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
        for i in range(9)
        for j in range(9)
        if i != j
    ]
    assert kid(x, y, paired=True) == pytest.approx(np.mean(parts))
    with pytest.raises(DataError, match="paired sets have one image each of every scene, found 9 and 8"):
        kid(x, y[:8], paired=True)


@pytest.mark.parametrize("n", [5, 20, 100])
def test_kid_of_pairs_is_unbiased_where_that_of_independent_sets_would_be_low(random, n):
    sets = [scenes(random, n, 8) for _ in range(400)]
    as_pairs = [kid(x, y, paired=True) for x, y in sets]
    as_sets = [kid(x, y) for x, y in sets]
    assert abs(np.mean(as_pairs)) < 3 * np.std(as_pairs) / 20
    assert np.mean(as_sets) < -10 * np.std(as_sets) / 20


def test_kid_intervals_of_pairs_hold_the_truth_and_are_narrower_than_those_of_sets(random):
    truth = np.mean([kid(*scenes(random, 400, 8, 0.5), paired=True) for _ in range(20)])
    sets = [scenes(random, 40, 8, 0.5) for _ in range(150)]
    pairs, apart = ([kid_estimate(x, y, paired=how, resamples=200) for x, y in sets] for how in (True, False))
    assert np.mean([e.low <= truth <= e.high for e in pairs]) >= 0.88
    assert np.mean([e.high - e.low for e in pairs]) < np.mean([e.high - e.low for e in apart])


def test_p_of_two_sets_is_the_share_of_all_deals_of_the_images(random):
    images = random.normal(size=(8, 3))
    images[4:] += 0.8
    dealt = [list(chosen) for chosen in itertools.combinations(range(8), 4)]
    values = np.array([kid(images[chosen], np.delete(images, chosen, axis=0)) for chosen in dealt])
    exact = np.mean(values >= values[0] - 1e-12)  # the first deal is 0, 1, 2, 3
    assert kid_p_value(images[:4], images[4:], permutations=20_000) == pytest.approx(exact, abs=0.01)


def test_p_of_pairs_is_the_share_of_all_exchanges(random):
    x, y = scenes(random, 7, 3, 0.3)
    values = []
    for swap in itertools.product((False, True), repeat=7):
        swapped = np.array(swap)[:, None]
        values.append(kid(np.where(swapped, y, x), np.where(swapped, x, y), paired=True))
    exact = np.mean(np.array(values) >= values[0] - 1e-12)
    assert kid_p_value(x, y, paired=True, permutations=20_000) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("paired", [False, True])
def test_p_errs_in_five_percent_and_sees_what_the_interval_does_not(random, paired):
    def sets(shift):
        return scenes(random, 40, 8, shift) if paired else (random.normal(size=(40, 8)), random.normal(size=(40, 8)) + shift)

    alike = [kid_p_value(*sets(0.0), paired=paired, permutations=99) for _ in range(300)]
    assert 0.02 <= np.mean(np.array(alike) <= 0.05) <= 0.09
    shift = 0.08 if paired else 0.25
    shifted = [sets(shift) for _ in range(100)]
    seen = np.mean([kid_p_value(x, y, paired=paired, permutations=99) <= 0.05 for x, y in shifted])
    by_interval = np.mean([kid_estimate(x, y, paired=paired, resamples=200).low > 0 for x, y in shifted])
    assert seen > 0.4 and seen > by_interval + 0.15


@pytest.mark.parametrize("metric", [fid, kid, fid_estimate, kid_estimate])
def test_sets_without_a_distance_are_refused(random, metric):
    x = draw(random, 4, 8)
    with pytest.raises(DataError, match="FID and KID need at least 2 images a side, found 4 and 1; give more images"):
        metric(x, x[:1])
    damaged = x.copy()
    damaged[2, 5] = math.nan
    with pytest.raises(DataError, match="image 2 of the second set has features that are not finite; look at its pixels"):
        metric(x, damaged)

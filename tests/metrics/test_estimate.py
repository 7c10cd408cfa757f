"""Intervals: how often they hold the truth, that they repeat, and what they do with what is no ordinary number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych.errors import DataError
from diptych.metrics.estimate import BLOCK, Estimate, bootstrap, decimals, mean_estimate, normal_interval, resample

INF = float("inf")


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_ninety_five_percent_of_intervals_hold_the_truth(draw):
    random = np.random.default_rng(0)
    truth, sets = {"normal": 0.0, "exponential": 1.0}[draw], 300
    estimates = [mean_estimate(getattr(random, draw)(size=60), seed=seed, resamples=400) for seed in range(sets)]
    held = sum(estimate.low <= truth <= estimate.high for estimate in estimates) / sets
    assert 0.90 <= held <= 0.99


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).normal(size=400)
    estimate = mean_estimate(values, resamples=4000)
    assert estimate.value == values.mean()
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(400), rel=0.05)


def test_same_seed_same_digits_whatever_holds_the_numbers():
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    first = mean_estimate(values)
    assert first == mean_estimate(values) == mean_estimate(torch.from_numpy(values)) == mean_estimate(values.tolist())
    assert first != mean_estimate(values, seed=1)


def test_a_set_too_large_to_draw_at_once_is_drawn_in_blocks():
    values = np.random.default_rng(0).normal(size=BLOCK // 3)
    estimate = mean_estimate(values, resamples=8)
    assert estimate.low < values.mean() < estimate.high


def test_one_image_has_no_interval():
    for estimate in (mean_estimate([3.0]), bootstrap(lambda chosen: 3.0, 1), normal_interval(3.0, math.nan, 1)):
        assert (estimate.value, estimate.n) == (3.0, 1)
        assert math.isnan(estimate.low) and math.isnan(estimate.high)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_estimate([0.25] * 7) == Estimate(0.25, 0.25, 0.25, 7)


def test_the_psnr_of_an_equal_image_makes_the_mean_infinite_and_the_low_end_says_what_the_others_do():
    one_of_twenty = mean_estimate([INF] + [30.0] * 19)
    assert one_of_twenty == Estimate(INF, 30.0, INF, 20)
    assert mean_estimate([INF] * 5) == Estimate(INF, INF, INF, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no images to average over; give at least one"),
        ([1.0, 2.0, math.nan], r"image 2 of 3 has a score that is not a number \(NaN\); look at its output"),
        ([INF, 1.0, -INF], "the scores of 3 images hold both infinities, so they have no mean"),
    ],
)
def test_values_without_a_mean_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        mean_estimate(values)


def test_bootstrap_of_the_mean_is_the_interval_of_the_mean():
    values = np.random.default_rng(0).normal(size=80)
    one = bootstrap(lambda chosen: float(values[chosen].mean()), 80, resamples=4000)
    other = mean_estimate(values, seed=1, resamples=4000)
    assert one.value == pytest.approx(values.mean())
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02)
    assert one == bootstrap(lambda chosen: float(values[chosen].mean()), 80, resamples=4000)


def test_bootstrap_refuses_no_images_and_results_that_are_no_number():
    with pytest.raises(DataError, match="no images to measure; give at least one"):
        bootstrap(lambda chosen: 0.0, 0)
    with pytest.raises(DataError, match=r"a score over 4 images is not a number \(NaN\) for some draw of them; it needs more"):
        bootstrap(lambda chosen: math.nan if len(set(chosen)) < 3 else 0.0, 4)


def test_resamples_begin_with_every_image_once_and_keep_the_number_of_images():
    counts = np.stack(list(resample(np.random.default_rng(0), 30, 500)))
    assert counts.shape == (501, 30)
    assert (counts[0] == 1).all() and (counts.sum(axis=1) == 30).all()
    assert counts[1:].mean(axis=0) == pytest.approx(np.ones(30), abs=0.2)


def test_a_normal_interval_ends_where_the_statistic_does():
    assert normal_interval(0.5, 1.0, 9, least=0.0, most=1.0) == Estimate(0.5, 0.0, 1.0, 9)
    assert normal_interval(5.0, 1.0, 9).high == pytest.approx(6.96, abs=1e-3)


def test_an_estimate_reads_in_one_line():
    assert str(Estimate(27.3456, 26.1, 28.25, 140)) == "27.35 [26.1, 28.25], n=140"


@pytest.mark.parametrize(
    ("estimate", "least", "digits"),
    [
        ((0.00031, 0.0001, 0.0005), 3, 5),  # .00031 +- .00020
        ((24.312, 23.9, 24.7), 2, 2),  # 24.31 +- 0.40
        ((62.11, 59.0, 65.0), 1, 1),
        ((1e-9, math.nan, math.nan), 3, 6),
        ((math.inf, math.inf, math.inf), 2, 2),
        ((0.0, 0.0, 0.0), 4, 4),
    ],
)
def test_as_many_digits_are_shown_as_carry(estimate, least, digits):
    assert decimals(*estimate, least) == digits

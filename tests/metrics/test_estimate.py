"""Intervals: how often they hold the truth, that they repeat, and what they do with what is no ordinary number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from diptych.errors import DataError
from diptych.metrics.estimate import (
    Estimate,
    decimals,
    jackknife_estimate,
    mean_estimate,
    percentile_interval,
    resample,
    student_interval,
    student_quantile,
)

INF = float("inf")


def coverage(random, draw, n, truth, sets=2000):
    """How often the interval of a mean of n draws holds the truth."""
    estimates = [mean_estimate(draw(size=n)) for _ in range(sets)]
    return np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])


@pytest.mark.parametrize("n", [3, 5, 10, 60])
def test_intervals_hold_the_truth_as_often_as_they_say(n):
    random = np.random.default_rng(0)
    assert coverage(random, random.normal, n, 0.0) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("n", "least"), [(3, 0.85), (10, 0.88), (60, 0.92)])
def test_intervals_of_skewed_scores_hold_the_truth_a_little_less_often(n, least):
    random = np.random.default_rng(0)
    assert least < coverage(random, random.exponential, n, 1.0) < 0.96


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).normal(size=17)
    low, high = stats.t.interval(0.95, 16, values.mean(), stats.sem(values))
    found = mean_estimate(values)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), abs=1e-4)


def test_the_quantiles_are_students():
    freedoms = [*range(1, 40), 100, 10_000]
    assert [student_quantile(df) for df in freedoms] == pytest.approx([stats.t.ppf(0.975, df) for df in freedoms], rel=1e-4)


def test_the_same_digits_whatever_holds_the_numbers():
    values = np.random.default_rng(0).normal(size=50).astype(np.float32)
    assert mean_estimate(values) == mean_estimate(torch.from_numpy(values)) == mean_estimate(values.tolist())


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_images_have_no_interval(n):
    percentiles = percentile_interval(3.0, np.array([2.0, 4.0]), n)
    for found in (
        mean_estimate([3.0] * n),
        jackknife_estimate(lambda chosen: 3.0, n),
        student_interval(3.0, 1.0, n),
        percentiles,
    ):
        assert (found.value, found.n) == (3.0, n)
        assert math.isnan(found.low) and math.isnan(found.high)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_estimate([0.25] * 7) == Estimate(0.25, 0.25, 0.25, 7)


def test_the_psnr_of_an_equal_image_makes_the_mean_infinite_without_an_interval_unless_all_are():
    one_of_twenty = mean_estimate([INF] + [30.0] * 19)
    assert one_of_twenty.value == INF and math.isnan(one_of_twenty.low) and math.isnan(one_of_twenty.high)
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


def test_the_jackknife_of_a_mean_is_the_interval_of_the_mean():
    values = np.random.default_rng(0).normal(size=8)
    one, other = jackknife_estimate(lambda chosen: float(values[chosen].mean()), 8), mean_estimate(values)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


@pytest.mark.parametrize("n", [5, 10, 40])
def test_the_jackknife_of_a_ratio_holds_the_truth_nearly_as_often_as_it_says(n):
    random, held = np.random.default_rng(0), []
    for _ in range(600):
        size = random.exponential(size=n)  # a class whose pixels are many in few images; 0.6 of them are right
        right = size * random.beta(6, 4, size=n)
        found = jackknife_estimate(lambda chosen, right=right, size=size: right[chosen].sum() / size[chosen].sum(), n)
        held.append(found.low <= 0.6 <= found.high)
    assert 0.88 < np.mean(held) < 0.98


def test_the_jackknife_refuses_no_images_and_results_that_are_no_number():
    with pytest.raises(DataError, match="no images to measure; give at least one"):
        jackknife_estimate(lambda chosen: 0.0, 0)
    with pytest.raises(DataError, match=r"a score over 4 images is not a number \(NaN\) without one of them; it needs more"):
        jackknife_estimate(lambda chosen: math.nan if 2 not in chosen else 0.0, 4)


def test_resamples_begin_with_every_image_once_and_keep_the_number_of_images():
    counts = np.stack(list(resample(np.random.default_rng(0), 30, 500)))
    assert counts.shape == (501, 30)
    assert (counts[0] == 1).all() and (counts.sum(axis=1) == 30).all()
    assert counts[1:].mean(axis=0) == pytest.approx(np.ones(30), abs=0.2)


def test_an_interval_ends_where_the_statistic_does():
    assert student_interval(0.5, 1.0, 9, least=0.0, most=1.0) == Estimate(0.5, 0.0, 1.0, 9)
    assert student_interval(5.0, 1.0, 9).high == pytest.approx(5 + stats.t.ppf(0.975, 8), abs=1e-3)


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

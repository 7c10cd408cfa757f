"""Means over trainings and images: their tests and intervals are Student's, and err as often as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from diptych.metrics.estimate import student_p_value, wilson_estimate
from diptych.metrics.two_level import Variance, difference_estimate, freedom_of, p_value, trainings_of


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30, 101])
def test_p_is_students(freedom):
    for t in (0.0, 0.3, -1.7, 2.5, 8.0):
        assert student_p_value(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-12)


def test_degrees_of_freedom_are_satterthwaites():
    x, y = np.array([1.0, 2, 4, 9]), np.array([3.0, 3.5, 4, 4.2, 5])
    parts = [Variance(float(side.var(ddof=1)) / len(side), len(side) - 1) for side in (x, y)]
    welch = stats.ttest_ind(x, y, equal_var=False)
    assert freedom_of(parts) == math.floor(welch.df)
    assert p_value(x.mean() - y.mean(), parts) == pytest.approx(2 * stats.t.sf(abs(welch.statistic), math.floor(welch.df)))


def test_with_one_training_each_a_difference_is_the_paired_t_test():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(1, 12)), random.normal(size=(1, 12)) + 0.3
    found, p = difference_estimate(one, other)
    reference = stats.ttest_rel(one[0], other[0])
    interval = reference.confidence_interval()
    assert p == pytest.approx(reference.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-3)


def test_a_single_training_is_as_uncertain_as_each_of_the_other_system():
    one, other = trainings_of([1.0, 2.0, 3.0], [5.0])
    assert one == (pytest.approx(1 / 3), 2) and other == (pytest.approx(1.0), 2)
    assert trainings_of([1.0], [2.0]) == [(0.0, 0), (0.0, 0)]


def test_tests_over_trainings_and_images_err_in_five_percent():
    random, wrong = np.random.default_rng(0), []
    for _ in range(800):
        images = 2 * random.normal(size=10)
        one, other = (0.3 * random.normal(size=(3, 1)) + images + 0.3 * random.normal(size=(3, 10)) for _ in range(2))
        wrong.append(difference_estimate(one, other)[1] <= 0.05)
    assert 0.0 < np.mean(wrong) < 0.065


def test_two_images_say_nothing():
    found, p = difference_estimate(np.array([[1.0, 2.0]]), np.array([[0.0, 0.5]]))
    assert found.value == 1.25 and math.isnan(found.low) and math.isnan(p)


def test_a_share_has_wilsons_interval():
    found = wilson_estimate(np.array([1, 1, 1, 0, 1, 0, 1, 1]))
    interval = stats.binomtest(6, 8).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.75, interval.low, interval.high))

"""Two systems are compared on the same images, measured alike, with an interval and a test."""

import itertools

import numpy as np
import pytest
from scipy import stats

from diptych.data.folders import Split
from diptych.errors import ConfigError, DataError
from diptych.evaluation.compare import compare
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from diptych.metrics.estimate import sign_flip_p_value
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise, pairs


def scored(split, translate, metrics=("l1", "psnr", "kid"), **options):
    tools = Instruments(features=Features(), resamples=40)
    return score_translators({"a2b": translate}, split, RGB, RGB, CONFIG, metrics=metrics, tools=tools, **options)


def nearly(x):
    """Better than the copy on every image."""
    return negative(x) // 2 + 60


def test_the_difference_is_that_of_the_images_with_students_interval(tmp_path):
    split = pairs(tmp_path, 8)
    one, other = scored(split, nearly), scored(split, lambda x: x, applied={"mode": "paper"})
    found = compare(one, other, "l1")
    apart = np.array([x["l1"] - y["l1"] for x, y in zip(one.images["a2b"], other.images["a2b"], strict=True)])
    low, high = stats.t.interval(0.95, 7, apart.mean(), stats.sem(apart))
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx(
        (apart.mean(), low, high), rel=1e-4
    )
    assert found.difference.value < 0 and found.better == "one" and compare(other, one, "psnr").better == "other"
    assert compare(one, one, "l1").better == "undecided" and compare(one, one, "l1").p == 1


def test_p_is_the_share_of_all_exchanges():
    apart = np.array([0.3, -0.1, 0.4, 0.2, -0.05, 0.6, 0.1])
    exact = np.mean([abs(np.dot(signs, apart)) >= apart.sum() - 1e-12 for signs in itertools.product((-1, 1), repeat=7)])
    assert sign_flip_p_value(apart, permutations=20_000) == pytest.approx(exact, abs=0.01)


def test_p_errs_in_five_percent():
    random = np.random.default_rng(0)
    assert np.mean([sign_flip_p_value(random.normal(size=12), permutations=199) <= 0.05 for _ in range(1000)]) < 0.07


def test_what_was_not_measured_alike_is_refused(tmp_path):
    split, more = pairs(tmp_path / "x", 8), pairs(tmp_path / "y", 9)
    with pytest.raises(DataError, match="compare: l1 was not measured alike, images differs; score both on the same images"):
        compare(scored(split, nearly), scored(more, nearly), "l1")
    with pytest.raises(ConfigError, match="compare: lab_l a2b has no scores of images in both evaluations"):
        compare(scored(split, nearly, ["lab_l"]), scored(split, nearly, ["lab_l"]), "lab_l")


def test_seeds_that_hold_out_other_images_are_compared_with_those_of_the_same_seeds(tmp_path):
    split, held = pairs(tmp_path / "test", 8), [noise(tmp_path / str(k), 9, seed=k) for k in (2, 3)]
    one, other = ([scored(split, f, ["nearest"], train=Split(seen, seen, False)) for seen in held] for f in (nearly, lambda x: x))
    found = compare(one, other, "nearest")
    assert found.trainings == (2, 2) and found.values[0] == pytest.approx(np.mean([e.value("nearest").value for e in one]))
    with pytest.raises(DataError, match="nearest was not measured alike, trained differs"):
        compare(one[0], other[1], "nearest")

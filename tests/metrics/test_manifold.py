"""Precision, recall and nearest neighbours against brute force, and MIND against its definition."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from diptych.errors import DataError
from diptych.metrics import manifold
from diptych.metrics.manifold import nearest_distances, precision_recall
from diptych.metrics.mind import BLOCK, NUM_DIRECTIONS, mind, mind_estimate


def sets(n=40, m=55, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, 4)), random.normal(size=(m, 4)) * 1.3 + 0.7


def test_precision_and_recall_are_those_of_all_distances(monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", 7)
    made, real = sets()
    reach = [np.sort(cdist(side, side), axis=1)[:, 3] for side in (made, real)]
    across = cdist(made, real)
    precision, recall = precision_recall(made, real)
    assert precision.value == (across <= reach[1]).any(axis=1).mean() and precision.n == 40
    assert recall.value == (across <= reach[0][:, None]).any(axis=0).mean() and recall.n == 55
    assert 0 < precision.low < precision.value < 1 and 0 < recall.value < 1


def test_precision_and_recall_never_hold_all_distances(monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", 32)
    made, real = sets(1500, 1500)
    tracemalloc.start()
    precision_recall(made, real)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1500 * 1500 * 8 / 2  # bytes; all of one set are 18 MB


def test_sets_apart_have_neither_and_a_single_answer_has_no_recall():
    made, real = sets()
    assert [found.value for found in precision_recall(made + 100, real)] == [0, 0]
    one_answer = real[:1] + 1e-3 * np.random.default_rng(1).normal(size=(40, 4))
    precision, recall = precision_recall(one_answer, real)
    assert precision.value == 1 and recall.value <= 1 / 55
    with pytest.raises(DataError, match="need more than 3 images a side, found 3; give more"):
        precision_recall(made[:3], real)


def test_nearest_distances_are_the_least_of_all():
    made, real = sets()
    assert nearest_distances(made, real) == pytest.approx(cdist(made, real).min(axis=1))
    assert nearest_distances(real[4:6], real) == pytest.approx([0, 0], abs=1e-6)


def test_mind_pairs_projections_in_their_order():
    x, y = sets(6, 10)
    random, squares = np.random.default_rng(3), []
    for _ in range(NUM_DIRECTIONS // BLOCK):
        for direction in random.normal(size=(BLOCK, 4)):
            unit = direction / np.linalg.norm(direction)
            one, other = np.sort(np.repeat(x @ unit, 10)), np.sort(np.repeat(y @ unit, 6))  # 60 equal parts of each
            squares.append(((one - other) ** 2).mean())
    assert mind(x, y, seed=3) == pytest.approx(np.mean(squares), rel=1e-9)


def test_mind_of_a_set_with_itself_is_0_and_of_a_shift_its_share_of_each_direction():
    x, _ = sets(30)
    assert mind(x, x[::-1]) == pytest.approx(0, abs=1e-12)
    shift = np.array([2.0, 0, 0, 0])
    assert mind(x, x + shift) == pytest.approx(4 / 4, rel=0.08)  # the mean of cos^2 in four dimensions


def test_intervals_of_mind_hold_the_value_of_sets_of_this_size():
    def drawn(seed):
        random = np.random.default_rng(seed)
        return random.normal(size=(20, 3)), random.normal(size=(20, 3)) + 0.6

    truth = np.mean([mind(*drawn(1000 + i)) for i in range(250)])
    found = [mind_estimate(*drawn(i)) for i in range(250)]
    assert np.mean([one.low <= truth <= one.high for one in found]) == pytest.approx(0.95, abs=0.035)

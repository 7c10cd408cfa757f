"""Scores against the truth, with translators whose scores are known without running anything."""

from __future__ import annotations

import numpy as np
import pytest

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref
from diptych.data.formats import write_pixels
from diptych.errors import DataError
from diptych.evaluation.evaluate import score_pairs
from diptych.pixels import Domain

CONFIG = DataConfig(resize="none", crop_size=16, load_size=16)


@pytest.fixture
def pairs(tmp_path):
    """Inputs, and truths that are their negatives."""
    random = np.random.default_rng(0)
    refs = []
    for i in range(3):
        pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
        write_pixels(tmp_path / f"{i}a.png", pixels)
        write_pixels(tmp_path / f"{i}b.png", 255 - pixels)
        refs.append((Ref(tmp_path / f"{i}a.png"), Ref(tmp_path / f"{i}b.png")))
    return refs


def test_a_perfect_translator_is_perfect_and_the_copy_is_not(pairs):
    scores = score_pairs(lambda x: 255 - x, Domain(), Domain(), CONFIG, pairs, [b for _, b in pairs])
    assert scores["model"] == {"psnr": float("inf"), "ssim": pytest.approx(1.0)}
    assert scores["copy"]["psnr"] < 10 and scores["copy"]["ssim"] < 0
    assert scores["n"] == 3


def test_a_translator_that_copies_scores_as_the_copy(pairs):
    scores = score_pairs(lambda x: x, Domain(), Domain(), CONFIG, pairs, [b for _, b in pairs])
    assert scores["model"] == scores["copy"]


def test_the_mean_colour_comes_from_the_training_targets(pairs, tmp_path):
    write_pixels(tmp_path / "gray.png", np.full((16, 16, 3), 77, np.uint8))
    constant = [Ref(tmp_path / "gray.png")]
    truth = [(pairs[0][0], constant[0])]
    scores = score_pairs(lambda x: x, Domain(), Domain(), CONFIG, truth, constant)
    assert scores["mean"]["psnr"] > 100
    assert score_pairs(lambda x: x, Domain(), Domain(), CONFIG, truth, [pairs[0][1]])["mean"]["psnr"] < 20


def test_without_pairs_there_is_nothing_to_score():
    with pytest.raises(DataError, match="no test pairs"):
        score_pairs(lambda x: x, Domain(), Domain(), CONFIG, [], [])

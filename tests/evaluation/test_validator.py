"""Validation during training: right scores, the right one to select by, quick, and nothing fetched."""

import numpy as np
import pytest
import torch

from diptych.data.formats import write_pixels
from diptych.data.splits import Ref, Split
from diptych.evaluation.validator import MAX_IMAGES, Validator
from diptych.metrics import weights
from diptych.metrics.image import psnr
from diptych.pixels import Domain
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise, pairs, sets


@pytest.fixture(autouse=True)
def no_weights_and_no_network(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))

    def fetch(*args):
        raise AssertionError("nothing is fetched in training")

    monkeypatch.setattr(weights, "_fetch", fetch)


def unpaired(monkeypatch):
    validator = Validator(paired=False)
    validator.tools._nets["features"] = Features()
    return validator


def test_pairs_are_selected_by_psnr_where_there_are_no_weights(tmp_path):
    split, validator = pairs(tmp_path), Validator(paired=True)
    scores = validator({"a2b": lambda x: x}, split, RGB, RGB, CONFIG)
    assert scores.keys() == {"psnr", "ssim"}
    assert (validator.select, validator.higher_is_better) == ("psnr", True)
    x, y = (torch.stack([torch.from_numpy(ref.read()).permute(2, 0, 1) for ref in side]) for side in (split.a, split.b))
    assert scores["psnr"] == pytest.approx(float(psnr(RGB.encode(x), RGB.encode(y)).mean()))


def test_pairs_are_selected_by_lpips_where_its_weights_are(monkeypatch):
    monkeypatch.setattr("diptych.evaluation.instruments.cached", lambda name: name == "alexnet" or None)
    validator = Validator(paired=True)
    assert (validator.select, validator.higher_is_better) == ("lpips_alex", False)


def test_both_directions_have_means_and_scores_of_their_own(tmp_path, monkeypatch):
    split, validator = sets(tmp_path), unpaired(monkeypatch)
    scores = validator({"a2b": lambda x: x // 2, "b2a": lambda x: x}, split, RGB, RGB, CONFIG)
    assert scores.keys() == {"kid", "cycle", "a2b/kid", "a2b/cycle", "b2a/kid", "b2a/cycle"}
    assert scores["kid"] == (scores["a2b/kid"] + scores["b2a/kid"]) / 2
    assert scores["a2b/kid"] > scores["b2a/kid"] and scores["cycle"] > 0.3
    assert (validator.select, validator.higher_is_better) == ("kid", False)


def test_real_images_are_looked_at_once(tmp_path, monkeypatch):
    split, validator = sets(tmp_path), unpaired(monkeypatch)
    first = validator({"a2b": negative}, split, RGB, RGB, CONFIG)
    seen = validator.tools.net("features").seen
    assert validator({"a2b": lambda x: x // 2}, split, RGB, RGB, CONFIG) != first
    assert validator.tools.net("features").seen == seen + 4
    assert validator({"a2b": negative}, split, RGB, RGB, CONFIG) == first


def test_no_more_than_a_hundred_images_are_looked_at(tmp_path, monkeypatch):
    split, seen = pairs(tmp_path, 103, size=16), []

    def translate(x):
        seen.append(len(x))
        return negative(x)

    Validator(paired=True)({"a2b": translate}, split, RGB, RGB, CONFIG)
    assert sum(seen) == MAX_IMAGES == 100


def test_it_can_be_stopped_between_images(tmp_path):
    polls = []

    def poll():
        polls.append(1)
        if len(polls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Validator(paired=True)({"a2b": negative}, pairs(tmp_path), RGB, RGB, CONFIG, poll)
    assert len(polls) == 3


def test_random_numbers_stay_as_they_were(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Validator(paired=False)({"a2b": negative}, sets(tmp_path), RGB, RGB, CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_set_too_small_for_kid_gives_no_score(tmp_path):
    assert Validator(paired=False)({"a2b": negative}, sets(tmp_path, 1), RGB, RGB, CONFIG) == {}


def bands(folder, channels, count=4, seed=0):
    """Images of several channels."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        write_pixels(folder / f"{i}.npy", random.integers(0, 256, (16, 16, channels), np.uint8))
    return tuple(Ref(folder / f"{i}.npy") for i in range(count))


def test_each_side_has_the_scores_that_its_channels_allow(tmp_path, monkeypatch):
    split = Split(bands(tmp_path / "five", 5), noise(tmp_path / "rgb", 4, seed=1), False)
    translators = {"a2b": lambda x: x[:, :3], "b2a": lambda x: x[:, [0, 1, 2, 0, 1]]}
    scores = unpaired(monkeypatch)(translators, split, Domain(5), RGB, CONFIG)
    assert scores.keys() == {"kid", "cycle", "a2b/kid", "a2b/cycle", "b2a/cycle"}
    assert scores["kid"] == scores["a2b/kid"] and scores["cycle"] == (scores["a2b/cycle"] + scores["b2a/cycle"]) / 2


def test_what_selects_is_a_score_that_the_channels_allow(monkeypatch):
    assert [Validator(False, channels=sides).select for sides in ((5, 3), (1, 7), (5, 5))] == ["kid", "kid", None]
    monkeypatch.setattr("diptych.evaluation.instruments.cached", lambda name: name == "alexnet" or None)
    assert [Validator(True, channels=sides).select for sides in ((5, 3), (5, 5))] == ["lpips_alex", "psnr"]
    assert Validator(True, channels=(5, 5)).higher_is_better

"""Features are computed once for equal pixels and an equal network, and damage costs a computation only."""

import os

import pytest
import torch

from diptych.evaluation import cache as module
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from tests.evaluation.images import CONFIG, RGB, Features, negative, sets

IMAGES = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_only_new_images_are_computed(tmp_path):
    features = Features()
    plain = features(IMAGES)
    cache = FeatureCache(tmp_path)
    assert torch.equal(cache.features(features, IMAGES[:3]), plain[:3])
    assert torch.equal(cache.features(features, IMAGES), plain)
    assert (cache.computed, cache.found) == (5, 3)
    again = FeatureCache(tmp_path)
    assert torch.equal(again.features(features, IMAGES.flip(0)), plain.flip(0))
    assert (again.computed, again.found) == (0, 5)


def test_without_a_folder_it_remembers_within_one_evaluation(tmp_path):
    features, cache = Features(), FeatureCache()
    cache.features(features, IMAGES), cache.features(features, IMAGES)
    assert features.seen == 5 and not list(tmp_path.iterdir())


def test_features_on_the_disk_do_not_fill_the_memory_as_well(tmp_path):
    features, cache = Features(), FeatureCache(tmp_path)
    cache.features(features, IMAGES)
    for file in tmp_path.rglob("*.f32"):
        file.unlink()
    cache.features(features, IMAGES)
    assert features.seen == 10


class Killed(Features):
    """An extractor whose process ends while it computes the features of its image of this number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self.seen + len(images) >= self.number:
            raise SystemExit(137)
        return super().__call__(images)


def test_an_evaluation_that_was_killed_goes_on_where_it_was(tmp_path):
    def scores(features, folder):
        tools = Instruments(features=features, cache=FeatureCache(folder), resamples=50)
        return score_translators({"a2b": negative}, split, RGB, RGB, CONFIG, metrics=["kid", "mind"], tools=tools).to_json()

    split = sets(tmp_path / "data", 6)
    whole, rest = Features(), Features()
    expected = scores(whole, tmp_path / "whole")
    assert whole.seen == 18  # real images, outputs and unchanged inputs
    with pytest.raises(SystemExit):
        scores(Killed(10), tmp_path / "cache")
    assert scores(rest, tmp_path / "cache") == expected
    assert rest.seen == 9


def test_another_network_another_resize_and_other_pixels_are_other_features(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.features(Features(), IMAGES)
    for change in ({"sha256": "0" * 64}, {"about": {"size": 99}}, {"name": "other"}):
        other = Features()
        for key, value in change.items():
            setattr(other, key, value)
        cache.features(other, IMAGES)
        assert other.seen == 5, change
    turned = Features()
    cache.features(turned, IMAGES.reshape(5, 3, 4, 16))
    assert turned.seen == 5


def test_a_damaged_file_is_computed_again(tmp_path):
    plain = FeatureCache(tmp_path).features(Features(), IMAGES)
    for i, file in enumerate(sorted(tmp_path.rglob("*.f32"))):
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data if i % 2 else data[:7])
    features = Features()
    assert torch.equal(FeatureCache(tmp_path).features(features, IMAGES), plain)
    assert features.seen == 5


def test_a_folder_that_cannot_be_written_is_said_once_and_done_without(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file")
    assert len(cache.features(Features(), IMAGES)) == 5
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}/file: features are not kept (Not a directory)"]


def test_the_oldest_files_go_when_there_is_too_much(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    cache.features(Features(), IMAGES)
    files = sorted(tmp_path.rglob("*.f32"))
    for age, file in enumerate(files):
        os.utime(file, (1000 - age, 1000 - age))
    monkeypatch.setattr(module, "MAX_BYTES", 2 * files[0].stat().st_size)
    cache.trim()
    assert sorted(tmp_path.rglob("*.f32")) == files[:2]

"""Features are computed once for equal pixels and an equal network, and damage costs a computation only."""

import os

import torch

from diptych.evaluation import cache as module
from diptych.evaluation.cache import FeatureCache
from tests.evaluation.images import Features

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

"""Feature networks: what they state about themselves, and that their features are useful and repeatable."""

from __future__ import annotations

import hashlib

import pytest
import safetensors.torch
import torch

from diptych.errors import WeightsError
from diptych.metrics.distribution import fid, kid_estimate
from diptych.metrics.features import BATCH_SIZE, NetworkExtractor, inception, random_vgg
from diptych.nets.inception import Inception


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 3, 6, 5, generator=random) * 200 + 20
    return torch.nn.functional.interpolate(coarse, size=(48, 40), mode="bilinear").to(torch.uint8)


@pytest.fixture(scope="module")
def extractor():
    return random_vgg()


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    torch.manual_seed(0)
    safetensors.torch.save_file({k: v for k, v in Inception().state_dict().items() if "num_batches" not in k}, path)
    return path


def test_inception_states_file_resize_size_and_layer(weight_file, images):
    extractor = inception(weight_file)
    assert extractor.name == "inception-2015-12-05"
    assert extractor.sha256 == hashlib.sha256(weight_file.read_bytes()).hexdigest()
    assert extractor.about == {
        "resize": "bilinear as TensorFlow 1, no antialias",
        "size": 299,
        "layer": "pool_3",
        "features": 2048,
    }
    features = extractor(images[:2])
    assert features.shape == (2, 2048) and features.dtype == torch.float32 and not features.requires_grad


def test_a_file_of_another_network_is_refused_by_name(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"layers.0.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"other\.safetensors: not FID's Inception: Conv2d_1a_3x3\.conv\.weight is missing"):
        inception(path)


def test_random_features_repeat_with_the_seed_and_leave_torchs_generator_alone(extractor, images):
    state = torch.get_rng_state()
    same, other = random_vgg(0), random_vgg(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert same.sha256 == extractor.sha256 != other.sha256
    features = extractor(images[:2])
    assert torch.equal(same(images[:2]), features)
    assert not torch.allclose(other(images[:2]), features)
    assert features.shape == (2, 64) and features.dtype == torch.float32
    assert extractor.name == "random-vgg16-seed0" and other.name == "random-vgg16-seed1"
    assert extractor.about == {"resize": "bilinear, antialias", "size": 128, "layer": "mean of relu5_3", "features": 64}


def test_random_features_tell_damaged_images_from_whole_ones(extractor, images):
    whole, others = extractor(images[:8]), extractor(images[8:])
    noise = torch.randn(images[8:].shape, generator=torch.Generator().manual_seed(1))
    distances = [fid(whole, others)]
    for size in (30, 90):
        noisy = extractor((images[8:] + size * noise).clamp(0, 255).to(torch.uint8))
        distances.append(fid(whole, noisy))
    assert distances == sorted(distances) and distances[2] > 3 * distances[0]
    assert kid_estimate(whole, noisy).low > 0 > kid_estimate(whole, others).low


def test_images_go_through_in_batches_and_come_back_in_order():
    sizes = []

    def network(batch):
        sizes.append(len(batch))
        return batch.float().mean(dim=(2, 3))

    images = torch.arange(BATCH_SIZE + 3, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    features = NetworkExtractor("means", "", {}, network, "cpu")(images)
    assert features[:, 0].tolist() == list(range(BATCH_SIZE + 3))
    assert sizes == [BATCH_SIZE, 3]

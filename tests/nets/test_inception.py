"""FID's Inception: numbers of the published architecture, its resize, its file, and its errors."""

from __future__ import annotations

import math

import pytest
import torch

from diptych.errors import WeightsError
from diptych.nets.inception import Inception, load_inception, resize_tensorflow


def wave(shape, start):
    """Numbers in (-1, 1) that look random and need no generator, so that they are the same in every release of torch."""
    angles = (torch.arange(math.prod(shape), dtype=torch.float64) + start) * 12.9898
    return (torch.sin(angles) * 43758.5453).frac().view(shape)


def made_up_weights():
    state = {}
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in Inception().state_dict().items()}
    for place, (key, shape) in enumerate(sorted(shapes.items())):
        if key.endswith("num_batches_tracked"):
            continue
        numbers = wave(shape, place)
        if key.endswith("conv.weight"):
            numbers = numbers * (6 / math.prod(shape[1:])) ** 0.5
        else:
            numbers = 1 + numbers / 2 if key.endswith(("running_var", "bn.weight")) else numbers / 3
        state[key] = numbers.float()
    return state


@pytest.fixture(scope="module")
def weights():
    return made_up_weights()


@pytest.fixture(scope="module")
def images():
    y, x = torch.meshgrid(torch.arange(37), torch.arange(53), indexing="ij")
    waves = torch.stack([(x * 4 + y * slope) % 256 for slope in (1, 3, 5)])
    arcs = torch.stack([(x * y * slope) // 7 % 256 for slope in (1, 2, 3)])
    return torch.stack([waves, arcs]).to(torch.uint8)


def test_features_are_those_of_torch_fidelitys_network_with_the_same_weights(weights, images):
    # torch-fidelity 0.4.0, FeatureExtractorInceptionV3 with made_up_weights(): means of 8 x 256 features; there the
    # difference was 0. Any other pooling, padding, stride, epsilon or resize moves them.
    expected = [
        [0.44925, 0.89676, 1.05961, 1.07129, 1.15834, 1.18304, 1.22273, 0.68455],
        [0.48262, 0.92448, 1.08427, 1.09452, 1.19653, 1.22311, 1.26005, 0.73654],
    ]
    features = load_inception(weights, "made-up.pth")(images)
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features.view(2, 8, 256).mean(2), torch.tensor(expected), rtol=0, atol=2e-5)


def test_resize_puts_pixel_i_at_i_times_the_ratio_and_repeats_the_last():
    x = torch.tensor([[[[0.0, 10.0, 30.0]]]])
    steps = [0, 5, 10, 20, 30, 30]  # at 0, .5, 1, 1.5, 2, 2.5
    assert resize_tensorflow(x, 6)[0, 0].tolist() == [steps] * 6
    assert resize_tensorflow(x.transpose(2, 3), 6)[0, 0].T.tolist() == [steps] * 6


def test_a_smaller_size_samples_without_averaging():
    x = torch.arange(64.0).view(1, 1, 8, 8)
    assert torch.equal(resize_tensorflow(x, 4), x[..., ::2, ::2])


def test_an_image_of_the_networks_size_stays_as_it_is():
    x = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize_tensorflow(x, 299), x)


def test_loading_draws_no_random_numbers_and_needs_no_counters(weights):
    state = torch.get_rng_state()
    net = load_inception(weights | {"Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(7)}, "made-up.pth")
    assert torch.equal(torch.get_rng_state(), state)
    assert not net.training and not any(parameter.requires_grad for parameter in net.parameters())
    assert len(net.state_dict()) == 566  # those of pytorch-fid's and torch-fidelity's network


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"Mixed_5b.branch1x1.conv.weight": None},
            r"a\.pth: not FID's Inception: Mixed_5b\.branch1x1\.conv\.weight is missing; use pt_",
        ),
        (
            {"fc.weight": torch.zeros(1000, 2048)},
            r"fc\.weight needs shape \(1008, 2048\), found \(1000, 2048\); use pt_inception-2015",
        ),
        ({"AuxLogits.fc.bias": torch.zeros(1)}, r"AuxLogits\.fc\.bias is of another network; use pt_inception-2015-12-05"),
    ],
)
def test_another_network_is_refused_by_its_first_wrong_tensor(weights, change, message):
    state = {key: tensor for key, tensor in (weights | change).items() if tensor is not None}
    with pytest.raises(WeightsError, match=message):
        load_inception(state, "a.pth")

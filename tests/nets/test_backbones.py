"""AlexNet and VGG16 are torchvision's, layer by layer; Gram matrices are the sums that the paper writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import DataError, WeightsError
from diptych.nets.backbones import BACKBONES, VGG16, AlexNet, gram, load_backbone, style_distance

# layer -> (convolution as (out, in, kernel, stride, padding)), or a pooling as (kernel, stride), as torchvision publishes them
ALEXNET = [(64, 3, 11, 4, 2), (3, 2), (192, 64, 5, 1, 2), (3, 2), (384, 192, 3, 1, 1), (256, 384, 3, 1, 1), (256, 256, 3, 1, 1)]
VGG = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]
PUBLISHED = {
    "alexnet": {"convolutions": [0, 3, 6, 8, 10], "parameters": 2_469_696, "taps": [0, 1, 2, 3, 4]},
    "vgg16": {
        "convolutions": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
        "parameters": 14_714_688,
        "taps": [1, 3, 6, 9, 12],  # the last convolution of each block
    },
}


def weights(name, seed=0):
    """A state_dict with torchvision's keys and random numbers that keep activations alive, and a classifier."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for key, like in BACKBONES[name]().state_dict().items():
        fan_in = like[0].numel() if like.ndim == 4 else 100
        state[key] = torch.randn(like.shape, generator=random) * (2.0 / fan_in) ** 0.5
    return state | {"classifier.1.weight": torch.zeros(2, 3), "classifier.1.bias": torch.zeros(2)}


@pytest.fixture(scope="module", params=list(PUBLISHED))
def named(request, tmp_path_factory):
    """A name of a backbone, its weights, and the file that holds them."""
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    state = weights(request.param)
    torch.save(state, path)
    return request.param, state, path


def layers(name):
    if name == "alexnet":
        return ALEXNET
    channels, found = 3, []
    for width in VGG:
        found.append((2, 2) if width == "M" else (width, channels, 3, 1, 1))
        channels = channels if width == "M" else width
    return found


def activations(name, state, images):
    """The taps computed from the published layer list in double precision, from images in [0, 1]."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)
    x, found = (images.double() - mean) / deviation, []
    numbers = iter(PUBLISHED[name]["convolutions"])
    for layer in layers(name):
        if len(layer) == 2:
            x = F.max_pool2d(x, *layer)
            continue
        key = f"features.{next(numbers)}"
        weight, bias = state[f"{key}.weight"].double(), state[f"{key}.bias"].double()
        x = F.relu(F.conv2d(x, weight, bias, stride=layer[3], padding=layer[4]))
        found.append(x)
    return [found[tap] for tap in PUBLISHED[name]["taps"]]


def test_the_taps_are_those_of_the_published_layers(named):
    name, state, path = named
    images = torch.rand(2, 3, 50, 66, generator=torch.Generator().manual_seed(1))
    expected = activations(name, state, images)
    found = load_backbone(name, path).double()(images.double() * 2 - 1)  # float32 rounds by more on some processors
    assert [tuple(tap.shape) for tap in found] == [tuple(tap.shape) for tap in expected]
    assert [tap.shape[1] for tap in found] == list(BACKBONES[name].widths)
    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.1
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-5)


def test_keys_and_parameters_are_torchvisions(named):
    name, *_ = named
    net = BACKBONES[name]()
    published = PUBLISHED[name]
    assert list(net.state_dict()) == [f"features.{i}.{part}" for i in published["convolutions"] for part in ("weight", "bias")]
    convolutions = [layer for layer in layers(name) if len(layer) == 5]
    assert [module.weight.shape for module in net.features if isinstance(module, nn.Conv2d)] == [
        (out, into, kernel, kernel) for out, into, kernel, *_ in convolutions
    ]
    assert sum(parameter.numel() for parameter in net.parameters()) == published["parameters"]


def test_a_loaded_backbone_is_frozen_and_draws_no_random_numbers(named):
    name, _, path = named
    before = torch.get_rng_state()
    net = load_backbone(name, path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_half_precision_files_and_images_become_float32(named, tmp_path):
    name, state, _ = named
    torch.save({key: tensor.half() for key, tensor in state.items()}, tmp_path / "half.pth")
    net = load_backbone(name, tmp_path / "half.pth")
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert net(torch.zeros(1, 3, 32, 32, dtype=dtype))[-1].dtype == torch.float32


def test_gray_is_repeated_and_other_channels_are_refused():
    net = AlexNet()
    gray = torch.rand(1, 1, 32, 32)
    for one, other in zip(net(gray), net(gray.expand(1, 3, 32, 32)), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(DataError, match=r"^AlexNet looks at gray or RGB images, these have 4 channels; choose three of them$"):
        net(torch.rand(1, 4, 32, 32))


@pytest.mark.parametrize("net", [AlexNet(), VGG16()])
def test_the_smallest_image_is_the_smallest_that_works(net):
    side = net.smallest
    assert all(min(tap.shape) > 0 for tap in net(torch.rand(1, 3, side, side + 9)))
    with pytest.raises(RuntimeError, match="too small"):
        net.features(torch.rand(1, 3, side + 9, side - 1))
    name = type(net).__name__
    message = f"{name} needs images of {side} pixels a side or more, found {side - 1}x{side + 9}; use larger ones"
    with pytest.raises(DataError, match=f"^{message}$"):
        net(torch.rand(1, 3, side + 9, side - 1))


REFUSED = {
    "missing": (
        lambda s: s.pop("features.3.bias"),
        r"'features.3.bias' is missing instead of 192; expected torchvision's alexnet",
    ),
    "another shape": (
        lambda s: s.update({"features.0.weight": torch.zeros(64, 1, 11, 11)}),
        r"'features.0.weight' is 64x1x11x11 instead of 64x3x11x11; expected torchvision's alexnet",
    ),
    "more": (
        lambda s: s.update({"features.12.weight": torch.zeros(1)}),
        r"'features.12.weight' are no part of torchvision's alexnet; give its own file",
    ),
    "VGG16": (lambda s: (s.clear(), s.update(weights("vgg16"))), r"'features.0.weight' is 64x3x3x3 instead of 64x3x11x11; "),
    "damaged": (lambda s: s["features.0.bias"].fill_(float("nan")), r"'features.0.bias' is not finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_network_is_refused_in_one_line(case, tmp_path):
    change, message = REFUSED[case]
    state = weights("alexnet")
    change(state)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=message) as caught:
        load_backbone("alexnet", tmp_path / "x.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'x.pth'}: ")
    assert "\n" not in str(caught.value)


# --- Gram matrices ---


def test_a_gram_matrix_is_the_sum_over_places_divided_by_the_size():
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = gram(features)
    for n, i, j in np.ndindex(2, 3, 3):
        expected = sum(float(features[n, i, y, x]) * float(features[n, j, y, x]) for y in range(4) for x in range(5)) / (
            3 * 4 * 5
        )
        assert float(found[n, i, j]) == pytest.approx(expected, abs=1e-6)


def test_gram_matrices_forget_places_and_sizes():
    features = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    shuffled = features.flatten(2)[..., torch.randperm(48, generator=torch.Generator().manual_seed(1))].view(1, 3, 6, 8)
    assert torch.allclose(gram(features), gram(shuffled), atol=1e-6)
    assert torch.allclose(gram(features), gram(features.repeat(1, 1, 2, 3)), atol=1e-6)
    assert torch.equal(gram(features), gram(features).transpose(1, 2))


def test_gram_matrices_keep_their_precision_under_autocast():
    features = torch.rand(1, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = gram(features)
    assert torch.equal(found, gram(features))
    assert gram(features.half() * 100).isfinite().all()
    assert gram(features.double()).dtype == torch.float64


def test_the_style_distance_is_the_squared_frobenius_distance_over_taps():
    random = torch.Generator().manual_seed(0)
    x = [torch.randn(2, c, 4, 4, generator=random, requires_grad=True) for c in (3, 5)]
    y = [torch.randn(2, c, 6, 3, generator=random) for c in (3, 5)]
    found = style_distance(x, y)
    for n in range(2):
        pairs = [((gram(a) - gram(b))[n].detach().double().numpy()) for a, b in zip(x, y, strict=True)]
        assert float(found[n].detach()) == pytest.approx(sum(np.linalg.norm(d, "fro") ** 2 for d in pairs), rel=1e-5)
    assert torch.equal(style_distance(x, x), torch.zeros(2))
    assert torch.equal(found, style_distance(y, x))
    found.mean().backward()
    assert all(tap.grad is not None and tap.grad.abs().sum() > 0 for tap in x)


def test_the_normalisation_is_imagenets():
    for image, expected in ((0.485, 0.0), (0.485 + 0.229, 1.0)):
        scaled = AlexNet().scale(torch.full((1, 3, 1, 1), image * 2 - 1))
        assert float(scaled[0, 0]) == pytest.approx(expected, abs=1e-5)

"""Style distance is the distance of Gram matrices over VGG16's taps; it forgets places and sees textures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.errors import DataError, WeightsError
from diptych.files import sha256_of
from diptych.metrics.style import StyleDistance, gram
from diptych.nets.backbones import VGG16, load_backbone


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    random = torch.Generator().manual_seed(0)
    state = {}
    for key, like in VGG16().state_dict().items():
        fan_in = like[0].numel() if like.ndim == 4 else 100
        state[key] = torch.randn(like.shape, generator=random) * (2.0 / fan_in) ** 0.5
    file = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(state, file)
    return file


@pytest.fixture
def images():
    random = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 32, 40, generator=random) * 2 - 1, torch.rand(2, 3, 32, 40, generator=random) - 1


def test_it_is_the_sum_of_squared_differences_of_gram_matrices(path, images):
    x, y = images
    net = load_backbone("vgg16", path).double()
    expected = np.zeros(2)
    for one, other in zip(net(x.double()), net(y.double()), strict=True):
        n, c, h, w = one.shape
        grams = [np.einsum("ncp,ndp->ncd", *(2 * [tap.numpy().reshape(n, c, -1)])) / (c * h * w) for tap in (one, other)]
        expected += ((grams[0] - grams[1]) ** 2).sum(axis=(1, 2))
    found = StyleDistance.load(path)(x, y)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert min(found.tolist()) > 0


def test_equal_images_are_at_distance_zero_and_order_makes_no_difference(path, images):
    style = StyleDistance.load(path)
    x, y = images
    assert style(x, x.clone()).tolist() == [0.0, 0.0]
    assert torch.equal(style(x, y), style(y, x))


def test_a_texture_shifted_is_nearer_than_another_texture(path):
    style = StyleDistance.load(path)
    stripes = torch.linspace(-1, 1, 8).repeat(1, 3, 64, 8)
    checks = stripes * torch.linspace(-1, 1, 8).repeat_interleave(8)[:, None]
    assert float(style(stripes, stripes.roll(8, dims=3))) < float(style(stripes, checks)) / 100


def test_the_images_of_a_pair_may_differ_in_size(path):
    stripes = torch.linspace(-1, 1, 8).repeat(1, 3, 64, 8)
    style = StyleDistance.load(path)
    assert float(style(stripes, stripes.repeat(1, 1, 2, 2))) < float(style(stripes, -stripes.flip(2)[..., :32] / 2))


def test_it_is_a_loss_that_trains_images_only(path, images):
    style = StyleDistance.load(path)
    x = images[0].clone().requires_grad_()
    style(x, images[1]).mean().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in style.parameters())


def test_it_says_which_weights_it_has_and_where_to_put_them(path, tmp_path, monkeypatch):
    assert StyleDistance.load(path).sha256 == sha256_of(path)
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"not on this machine; fetch https://\S+vgg16\S+ and put it at"):
        StyleDistance.load(fetch=False)


def test_what_it_cannot_look_at_is_refused(path):
    with pytest.raises(DataError, match="VGG16 needs images of 16 pixels a side or more, found 8x40; use larger ones"):
        StyleDistance.load(path)(torch.zeros(1, 3, 40, 8), torch.zeros(1, 3, 40, 8))


def test_gram_is_within_reach_for_losses():
    assert gram(torch.ones(1, 2, 3, 4)).tolist() == [[[0.5, 0.5], [0.5, 0.5]]]

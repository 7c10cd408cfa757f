"""Colorization in Lab: the colours of scikit-image, lightness that stays, and a step as published."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.color import rgb2lab

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.colorization import ColorizationConfig
from diptych.nets import build_net
from diptych.nets.colorizer import Colorizer, lab_of, lightness_of, rgb_of
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

TINY = {"generator": "unet_3", "ngf": 4, "ndf": 4, "num_layers": 1, "dropout": False, "norm": "instance"}


def photos(n=2, size=16, dtype=torch.float64):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=dtype) * 2 - 1


def test_lab_is_scikit_images_scaled_as_published():
    x = photos()
    theirs = rgb2lab(((x + 1) / 2).permute(0, 2, 3, 1).numpy())
    scaled = np.concatenate([theirs[..., :1] / 50 - 1, theirs[..., 1:] / 110], -1)
    torch.testing.assert_close(lab_of(x), torch.from_numpy(scaled).permute(0, 3, 1, 2), rtol=0, atol=1e-3)
    torch.testing.assert_close(rgb_of(lab_of(x)), x, rtol=0, atol=2e-3)


def test_black_gray_and_white_have_their_lightness():
    x = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    found = lightness_of(x).flatten()
    assert found[0].item() == pytest.approx(-1.0, abs=1e-4) and found[2].item() == pytest.approx(1.0, abs=1e-3)
    assert found[1].item() == pytest.approx(53.39 / 50 - 1, abs=2e-3)  # sRGB 0.5 has L 53.39


@pytest.mark.parametrize("channels", [1, 3])
def test_a_translation_has_the_lightness_of_its_input_where_the_colour_exists(channels):
    torch.manual_seed(0)
    net = Colorizer(channels, width=4, num_downs=3, norm="instance", dropout=False).eval()
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    gray = torch.rand(1, 1, 17, 20).expand(-1, channels, -1, -1)
    y = net(gray)
    assert torch.equal(twin(gray), y) and y.shape == (1, 3, 17, 20) and y.abs().max() <= 1
    inside = (y.abs() < 1).all(1)
    assert inside.any()
    torch.testing.assert_close(lightness_of(y)[:, 0][inside], lightness_of(gray)[:, 0][inside], rtol=0, atol=2e-3)


def test_a_step_is_the_published_one():
    torch.manual_seed(1)
    recipe = Recipe(ColorizationConfig(**TINY), train=TrainConfig(precision="fp32"))
    method = recipe.build(Domain(1), Domain()).double()
    ours = Trainee(method, recipe, torch.device("cpu"), World())
    G, D = copy.deepcopy(method.G_ab.unet), copy.deepcopy(method.D_b)
    adam_G, adam_D = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (G, D))
    b = photos()
    lab = lab_of(b)
    a = rgb_of(torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], 1)).mean(1, keepdim=True)
    light, ab = lightness_of(a), lab[:, 1:]
    for _ in range(3):
        train_step(ours, Batch(a, b))
        guess = G(light)

        def judged(colours, label):
            logits = D(torch.cat([light, colours], 1))
            return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

        adam_D.zero_grad()
        (0.5 * (judged(ab, 1.0) + judged(guess.detach(), 0.0))).backward()
        adam_D.step()
        adam_G.zero_grad()
        (judged(guess, 1.0) + 100.0 * F.l1_loss(guess, ab)).backward()
        adam_G.step()
    for net, plain in ((method.G_ab.unet, G), (method.D_b, D)):
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("a", "b"), [(4, 3), (1, 1)])
def test_images_without_a_lightness_or_colours_are_refused(a, b):
    with pytest.raises(ConfigError, match=rf"must be 1 or 3 of domain a, and 3 of domain b, found {a} and {b}; choose RGB"):
        ColorizationConfig(**TINY).build(Domain(a), Domain(b), 16)

"""The temporal loss is 0 for what moves with its image, and joins the step of every unpaired method."""

import copy

import pytest
import torch

from diptych.errors import ConfigError
from diptych.losses import TemporalLoss
from diptych.losses.temporal import moved_along, random_flow
from diptych.methods import METHODS, Batch, method_config
from diptych.pixels import Domain
from diptych.recipe import Recipe
from tests.contract.small import small

UNPAIRED = [name for name in METHODS if not method_config(name).paired]


def image(n=2, size=24):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_what_depends_on_a_pixel_alone_has_no_loss_and_what_depends_on_its_place_has():
    loss = TemporalLoss().with_translator(lambda x: -0.5 * x)
    assert loss(image()) < 1e-6
    ramp = torch.linspace(-1, 1, 24)
    assert TemporalLoss().with_translator(lambda x: x * 0 + ramp)(image()) > 0.01


def test_the_loss_of_a_picture_that_stays_is_the_mean_change_along_the_flow():
    """G(x) = r for a ramp r of slope 1: |G(W x) - W G(x)| = |r - W r|, how far each pixel in view was moved along its row."""
    ramp = torch.linspace(-1, 1, 24)
    torch.manual_seed(3)
    places, inside = random_flow(image(), 0.05, 3)
    moved = (places[..., 0] - ramp).abs()[:, None] * inside
    torch.manual_seed(3)
    found = TemporalLoss().with_translator(lambda x: x * 0 + ramp)(image())
    assert found.item() == pytest.approx((moved.sum() / inside.sum()).item(), rel=1e-4)
    assert moved.max() <= 0.1 + 1e-6 and moved.max() > 0.02  # 5 % of a side that is 2 long


def test_a_whole_shift_moves_pixels_exactly():
    x = image(1, 9)
    row = torch.linspace(-1, 1, 9)
    places = torch.stack([row.expand(9, 9) + 2 / 8, row[:, None].expand(9, 9)], -1)[None]  # each pixel from its right neighbour
    assert torch.allclose(moved_along(x, places)[..., :-1], x[..., 1:], atol=1e-6)


@pytest.mark.parametrize("name", UNPAIRED)
def test_the_loss_joins_every_unpaired_method_and_reaches_its_generator(name):
    settings = {"method": small(name), "data": {"crop_size": 16}}
    recipe = Recipe.create(name, settings | {"extra": [{"loss": "temporal", "between": ["real_a"], "weight": 2.0}]})
    method = copy.deepcopy(recipe.build(Domain(), Domain()))
    found = {}
    for _, terms in method.losses(Batch(image(2, 16), image(2, 16).flip(0))):
        found |= {key: value for key, value in terms.items() if key.startswith("temporal")}
    (key,) = found
    assert key == "temporal_real_a" and found[key].isfinite() and found[key] > 0
    found[key].backward()
    G = method.generators()["a2b"]
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in G.parameters())


def test_what_is_no_source_is_refused():
    for between, message in (
        (["fake_b"], "temporal: between names the source of a translation"),
        (["real_b"], r"\(real_a\), found real_b"),
    ):
        recipe = Recipe.create("cut", {"extra": [{"loss": "temporal", "between": between}]})
        with pytest.raises(ConfigError, match=message):
            recipe.build(Domain(), Domain())
    with pytest.raises(ConfigError, match=r"reach must be greater than 0 and at most 0\.5"):
        TemporalLoss(reach=0.9)

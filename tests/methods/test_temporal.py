"""The temporal loss is 0 for what moves with its image, and joins the step of every unpaired method."""

import copy

import pytest
import torch

from diptych.errors import ConfigError
from diptych.losses import NextFrames, TemporalLoss
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


def next_frames(x, shift=2):
    """The next frame of a camera that moves to the right by so many pixels, with its exact places."""
    n, _, height, width = x.shape
    places = torch.stack(torch.meshgrid(torch.arange(width) + float(shift), torch.arange(height).float(), indexing="xy"), -1)
    unit = 2 * places / torch.tensor([width - 1, height - 1]) - 1
    return NextFrames(torch.roll(x, -shift, 3), unit.expand(n, -1, -1, -1), torch.ones(n, 1, height, width))


def test_a_real_next_frame_must_be_translated_alike_where_both_show_the_same():
    x = image()
    loss, ramp = TemporalLoss(), torch.linspace(-1, 1, 24)
    assert loss.with_translator(lambda x: -0.5 * x)(x, next_frames(x)) < 1e-5
    # G(x) = r with r = 2 i / 23: two columns further it is 4 / 23 more, wherever the place is in view
    assert loss.with_translator(lambda x: x * 0 + ramp)(x, next_frames(x)).item() == pytest.approx(4 / 23, rel=1e-4)


def test_what_cannot_be_trusted_or_has_no_next_frame_weighs_nothing():
    x, ramp = image(), torch.linspace(-1, 1, 24)
    frames = next_frames(x)
    half = frames.likeness.clone()
    half[:, :, :12] = 0.0
    loss = TemporalLoss().with_translator(lambda x: x * 0 + ramp)
    assert loss(x, frames._replace(likeness=half)).item() == pytest.approx(2 / 23, rel=1e-4)  # a mean over all that is in view
    places = frames.places.clone()
    places[1] = 2.0
    assert loss(x, frames._replace(places=places)).item() == pytest.approx(4 / 23, rel=1e-4)  # a mean over the first image alone
    assert loss(x, frames._replace(places=places * 0 + 2.0)) == 0


@pytest.mark.parametrize("name", UNPAIRED)
def test_next_frames_reach_the_loss_in_every_unpaired_method(name):
    recipe = Recipe.create(
        name, {"method": small(name), "data": {"crop_size": 16}, "extra": [{"loss": "temporal", "between": ["real_a"]}]}
    )
    method, a, b = recipe.build(Domain(), Domain()), image(2, 16), image(2, 16).flip(0)
    for frames, expected in ((next_frames(a), True), (next_frames(a)._replace(likeness=torch.zeros(2, 1, 16, 16)), False)):
        with method.extra.beside(frames, None):
            found = [terms["temporal_real_a"] for _, terms in method.losses(Batch(a, b)) if "temporal_real_a" in terms]
        assert bool(found[0] > 0) is expected

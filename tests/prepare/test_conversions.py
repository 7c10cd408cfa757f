"""What photos are turned into, against values worked out by hand and independent implementations."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from diptych.prepare.conversions import CONVERSIONS, generator_for


def photo(height=37, width=50, channels=3, seed=0):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def convert(kind, x, strength=None, name="x"):
    conversion = CONVERSIONS[kind]
    return conversion.convert(x, strength or conversion.strength, generator_for(name))


@pytest.mark.parametrize("kind", CONVERSIONS)
@pytest.mark.parametrize(("height", "width"), [(37, 50), (8, 9), (64, 64)])
def test_every_conversion_keeps_size_and_range_and_leaves_the_photo_alone(kind, height, width):
    x = photo(height, width)
    before = x.clone()
    made = convert(kind, x)
    assert made.shape[-2:] == (height, width) and made.shape[1] in (1, 3)
    assert made.min() >= -1 and made.max() <= 1 and torch.equal(x, before)


def test_gray_weighs_colours_as_bt601():
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]]).T[None, :, None]
    assert torch.allclose(convert("gray", colours)[0, 0, 0], torch.tensor([0.299, 0.587, 0.114]) * 2 - 1)


def test_a_mosaic_holds_the_mean_of_each_square():
    x = photo(8, 12)
    made = convert("mosaic", x, 4)
    assert torch.allclose(made[0, :, 4:8, 8:12], x[0, :, 4:8, 8:12].mean((1, 2))[:, None, None].expand(-1, 4, 4), atol=1e-6)


def test_few_pixels_are_means_of_blocks():
    x = photo(16, 24)
    made = convert("lowres", x, 4)
    blocks = x.reshape(1, 3, 4, 4, 6, 4).mean((3, 5))
    again = torch.nn.functional.interpolate(blocks, scale_factor=4, mode="bicubic").clamp(-1, 1)
    assert torch.allclose(made, again, atol=1e-6)


def test_a_blur_is_scipys_gaussian_filter():
    x = photo(40, 40)
    expected = ndimage.gaussian_filter(x[0].double().numpy(), (0, 2, 2), mode="mirror", radius=6)
    assert np.allclose(convert("blur", x, 2)[0].numpy(), expected, atol=1e-5)


def test_a_hole_has_its_share_and_everything_else_stays():
    x = photo(100, 140)
    shares = []
    for name in map(str, range(20)):
        made = convert("mask", x, 0.3, name)
        hidden = (made != x).any(dim=1)[0]
        rows, columns = hidden.any(1).nonzero().ravel(), hidden.any(0).nonzero().ravel()
        assert hidden[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()  # one rectangle
        assert torch.equal(made[0, :, hidden].unique(), torch.tensor([0.0]))
        shares.append(hidden.float().mean().item())
    assert shares == pytest.approx([0.3] * 20, abs=0.01)


def test_a_hole_depends_on_the_name_alone():
    x = photo(60, 60)
    assert torch.equal(convert("mask", x, name="a"), convert("mask", x, name="a"))
    assert not torch.equal(convert("mask", x, name="a"), convert("mask", x, name="b"))


def test_edges_are_black_lines_on_white_where_two_areas_meet():
    x = torch.full((1, 3, 32, 32), -0.8)
    x[..., 16:] = 0.8
    made = convert("edges", x)
    assert set(made.unique().tolist()) == {-1.0, 1.0}
    assert (made[0, 0, 4:-4] == -1).nonzero()[:, 1].unique().tolist() in ([15], [16])


def test_a_sketch_is_white_where_nothing_changes_and_dark_on_the_dark_side_of_an_edge():
    x = torch.full((1, 1, 32, 64), 0.6)
    x[..., 40:] = -0.6
    made = convert("sketch", x, 4)
    assert made[..., :20].min() > 0.99 and made[0, 0, 16, 41] < 0 and made[0, 0, 16, 63] > 0.99

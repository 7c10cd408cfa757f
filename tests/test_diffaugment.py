"""Augmentations of what a discriminator sees: what each does to an image, that gradients pass, and how the probability adapts."""

import pytest
import torch

from diptych.diffaugment import AUGMENTATIONS, AdaptiveProbability, augment, cutout, flip, saturation, translation


def images(n=64, h=16, w=24):
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_translated_image_is_a_shifted_copy_with_zeros_from_outside():
    torch.manual_seed(0)
    x = images() + 4.0  # nothing is 0 by itself
    seen = set()
    for image, moved in zip(x, translation(x), strict=True):
        padded = torch.nn.functional.pad(image, (3, 3, 2, 2))  # an eighth of 24 and of 16
        offsets = [(i, j) for i in range(5) for j in range(7) if torch.equal(padded[:, i : i + 16, j : j + 24], moved)]
        assert len(offsets) == 1
        seen |= set(offsets)
    assert {i for i, _ in seen} == set(range(5)) and {j for _, j in seen} == set(range(7))


def test_cutout_zeroes_one_rectangle_of_at_most_half_the_sides():
    torch.manual_seed(0)
    x = images(n=256) + 4.0
    y = cutout(x)
    sizes = set()
    for before, after in zip(x, y, strict=True):
        gone = (after == 0).all(0)
        rows, columns = gone.any(1), gone.any(0)
        assert torch.equal(gone, rows[:, None] & columns[None])
        assert torch.equal(after[:, ~gone], before[:, ~gone])
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert max(sizes) == (8, 12) and min(h for h, _ in sizes) >= 4  # cut off at the border, where the centre is outside


def test_colour_keeps_what_its_formula_says_it_keeps():
    torch.manual_seed(0)
    x = images()
    torch.testing.assert_close(saturation(x).mean(1), x.mean(1))
    bright, _, contrast = AUGMENTATIONS["color"]
    shift = bright(x) - x
    torch.testing.assert_close(shift, shift.mean((1, 2, 3), keepdim=True).expand_as(x))
    assert -0.5 <= shift.min() < -0.3 and 0.3 < shift.max() <= 0.5
    mean = x.mean((1, 2, 3), keepdim=True)
    factor = ((contrast(x) - mean) / (x - mean)).flatten(1).median(1).values
    torch.testing.assert_close(contrast(x).mean((1, 2, 3), keepdim=True), mean)
    assert factor.min() >= 0.5 and factor.max() <= 1.5


def test_an_image_is_mirrored_or_left_alone():
    torch.manual_seed(0)
    x = images()
    mirrored = 0
    for before, after in zip(x, flip(x), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))
        mirrored += int(torch.equal(after, before.flip(2)))
    assert 16 < mirrored < 48


@pytest.mark.parametrize("policy", AUGMENTATIONS)
def test_gradients_pass_through(policy):
    x = images(n=4).requires_grad_()
    augment(x, policy).sum().backward()
    assert x.grad.abs().sum() > 0


def test_the_empty_policy_and_a_probability_of_zero_leave_images_alone():
    x = images()
    assert torch.equal(augment(x, ""), x)
    assert torch.equal(augment(x, "color,translation,cutout,flip", torch.zeros(())), x)


def test_a_probability_of_a_half_changes_half_of_the_images():
    torch.manual_seed(0)
    x = images(n=400)
    changed = (augment(x, "cutout", torch.tensor(0.5)) != x).flatten(1).any(1)
    assert 160 < changed.sum() < 240


def test_the_probability_follows_the_signs_of_logits_and_stays_between_0_and_1():
    adaptive = AdaptiveProbability(target=0.6, images=10)
    sure, unsure = torch.ones(2, 1, 3, 3), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    adaptive.adapt(unsure, 0.0)
    assert adaptive.value.item() == 0.0
    for expected in (0.2, 0.4):  # mean sign 1 is above the target: 2 images of 10
        adaptive.adapt(sure, 0.0)
        assert adaptive.value.item() == pytest.approx(expected)
    adaptive.adapt(unsure, 0.0)  # mean sign 0
    assert adaptive.value.item() == pytest.approx(0.2)
    adaptive.adapt(torch.full((2, 1), 0.4), 0.5)  # real is above 1/2 for least squares
    assert adaptive.value.item() == 0.0
    for _ in range(8):
        adaptive.adapt(sure, 0.0)
    assert adaptive.value.item() == 1.0

"""Every loss against an independent formula, and every gradient where it must and must not go."""

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.losses import (
    LOSSES,
    PixelLoss,
    StructureLoss,
    check_gan,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    l1,
    r1_penalty,
)
from diptych.nets import PatchGAN
from diptych.nets.blocks import bounded


def logits(seed=0, scale=3.0):
    return torch.randn(3, 1, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def images(seed=0, n=3):
    return torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


INDEPENDENT = {
    "vanilla": lambda x, real: nn.BCEWithLogitsLoss()(x, torch.full_like(x, float(real))),
    "lsgan": lambda x, real: nn.MSELoss()(x, torch.full_like(x, float(real))),
    "hinge": lambda x, real: (1 + (-x if real else x)).clamp(min=0).mean(),
    "wgan": lambda x, real: -x.sum() / x.numel() if real else x.sum() / x.numel(),
}


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("gan", INDEPENDENT)
def test_the_discriminator_loss_is_the_formula_of_its_paper(gan, real):
    x = logits()
    expected = INDEPENDENT[gan](x, real)
    assert discriminator_loss(x, real, gan).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("gan", ["vanilla", "lsgan"])
def test_the_generator_loss_wants_its_images_judged_real(gan):
    assert generator_loss(logits(), gan).item() == pytest.approx(INDEPENDENT[gan](logits(), True).item(), abs=1e-12)


@pytest.mark.parametrize("gan", ["hinge", "wgan"])
def test_the_generator_loss_of_hinge_and_wgan_has_no_margin(gan):
    assert generator_loss(logits(), gan).item() == pytest.approx(-logits().mean().item(), abs=1e-12)


@pytest.mark.parametrize("gan", INDEPENDENT)
def test_both_losses_pull_the_logits_of_an_image_in_opposite_directions(gan):
    x = torch.zeros(1, 1, 1, 1, requires_grad=True)
    (of_d,) = torch.autograd.grad(discriminator_loss(x, False, gan), x)
    (of_g,) = torch.autograd.grad(generator_loss(x, gan), x)
    assert of_g.item() < 0 and (of_d.item() > 0 or gan == "lsgan")  # lsgan: D rests at 0, which is where x is


def test_vanilla_stays_finite_and_keeps_its_gradient_where_the_discriminator_is_certain():
    x = torch.full((1, 1, 1, 1), -200.0, requires_grad=True)
    loss = generator_loss(x, "vanilla")
    assert loss.item() == pytest.approx(200.0)
    assert torch.autograd.grad(loss, x)[0].item() == pytest.approx(-1.0)  # non-saturating


@pytest.mark.parametrize("gan", INDEPENDENT)
def test_known_values(gan):
    zero = torch.zeros(1, 1, 2, 2)
    expected = {"vanilla": (0.693147, 0.693147), "lsgan": (1.0, 0.0), "hinge": (1.0, 1.0), "wgan": (0.0, 0.0)}[gan]
    found = discriminator_loss(zero, True, gan).item(), discriminator_loss(zero, False, gan).item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_l1_is_the_mean_absolute_difference():
    assert l1(images(0), images(1)).item() == pytest.approx(F.l1_loss(images(0), images(1)).item(), abs=1e-15)
    assert l1(images(), images()).item() == 0.0


# --- penalties ---


def linear_judge(slope):
    """D with a gradient of the same norm everywhere."""
    direction = images(9, n=1)
    direction = slope * direction / direction.norm()
    return lambda x: (x * direction).sum(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (0.0, 1.0), (3.0, 4.0), (0.5, 0.25)])
def test_the_gradient_penalty_of_a_linear_judge_is_its_slope_less_one_squared(slope, expected):
    assert gradient_penalty(linear_judge(slope), images(0), images(1)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.5), (0.0, 0.0), (3.0, 4.5)])
def test_r1_of_a_linear_judge_is_half_its_squared_slope(slope, expected):
    assert r1_penalty(linear_judge(slope), images()).item() == pytest.approx(expected, abs=1e-12)


def test_the_gradient_penalty_is_taken_between_real_and_fake():
    seen = []

    def judge(x):
        seen.append(x.detach())
        return (x**2).sum(dim=(1, 2, 3), keepdim=True)

    real, fake = torch.ones(200, 1, 1, 1, dtype=torch.float64), torch.zeros(200, 1, 1, 1, dtype=torch.float64)
    penalty = gradient_penalty(judge, real, fake)
    points = seen[0].flatten()
    assert 0 <= points.min() < 0.1 and 0.9 < points.max() <= 1 and 0.4 < points.mean() < 0.6
    assert points.unique().numel() == 200  # each sample a point of its own
    assert penalty.item() == pytest.approx(((2 * points - 1) ** 2).mean().item(), abs=1e-12)


@pytest.mark.parametrize("penalty", ["gp", "r1"])
def test_penalties_reach_the_weights_of_the_judge_and_nothing_else(penalty):
    torch.manual_seed(0)
    D = PatchGAN(3, width=4, num_layers=1).double()
    real, fake = images(0).requires_grad_(), images(1).requires_grad_()
    loss = gradient_penalty(D, real, fake) if penalty == "gp" else r1_penalty(D, real)
    loss.backward()
    assert real.grad is None and fake.grad is None
    weights = [m.weight for m in D.modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in weights)
    # The gradient of a gradient, against finite differences.
    weight, shift = weights[0], 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0, 0, 0] += sign * shift
        values.append(r1_penalty(D, real).item())
        with torch.no_grad():
            weight[0, 0, 0, 0] -= sign * shift
    if penalty == "r1":
        assert weight.grad[0, 0, 0, 0].item() == pytest.approx((values[0] - values[1]) / (2 * shift), rel=1e-4)


def test_penalties_are_computed_in_full_precision_also_where_the_step_is_not():
    torch.manual_seed(0)
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 1, 3))
    x = images(0).float().requires_grad_()
    (gradient,) = torch.autograd.grad(D(x).sum(), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert D(x).dtype == torch.bfloat16
        r1, gp = r1_penalty(D, x).item(), gradient_penalty(D, x, x).item()  # between x and x is x
    assert r1 == pytest.approx(gradient.square().sum((1, 2, 3)).mean().item() / 2, rel=1e-6)
    assert gp == pytest.approx((gradient.flatten(1).norm(dim=1) - 1).square().mean().item(), rel=1e-5)


def test_r1_is_the_mean_over_samples_of_half_the_squared_norm_of_the_input_gradient():
    torch.manual_seed(0)
    D, real = PatchGAN(3, width=4, num_layers=1, norm="none").double(), images()
    by_hand = []
    for image in real:
        x = image[None].clone().requires_grad_()
        D(x).sum().backward()
        by_hand.append(x.grad.pow(2).sum().item() / 2)
    assert r1_penalty(D, real).item() == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-12)


def test_an_unknown_loss_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ConfigError, match="gan must be one of vanilla, lsgan, hinge, wgan, found 'wgan-gp'"):
        check_gan("wgan-gp")


def test_cross_entropy_is_pytorchs_on_probabilities():
    x, y = images(0).tanh(), images(1).sign()
    expected = F.binary_cross_entropy((x + 1) / 2, (y + 1) / 2)
    assert PixelLoss("bce")(x, y).item() == pytest.approx(expected.item(), rel=1e-12)
    assert PixelLoss("bce")(y, y).item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(PixelLoss("bce")(-y, y))
    assert PixelLoss()(x, y).item() == l1(x, y).item()


@pytest.mark.parametrize("kind", ["l1", "bce"])
def test_foreground_is_what_differs_from_the_median_of_its_channel(kind):
    y = torch.full((2, 3, 8, 8), -1.0, dtype=torch.float64)
    y[1, 2] = 1.0  # a channel of another background
    y[0, 0, 2, 3] = y[1, 2, 4, :2] = 0.5
    x = torch.zeros_like(y)
    apart = PixelLoss(kind, 3.0)(x, y) - PixelLoss(kind)(x, y)
    lines = y == 0.5
    each = torch.stack([PixelLoss(kind)(x[lines][:1, None, None, None], y[lines][:1, None, None, None])] * 3)
    assert apart.item() == pytest.approx((2.0 * each.sum() / y.numel()).item(), rel=1e-12)


def test_each_image_counts_as_often_as_asked():
    x, y = images(0).tanh(), images(1).sign()
    counts = torch.zeros(len(x), dtype=x.dtype)
    counts[0] = 2.0
    found = PixelLoss("bce", 3.0)(x, y, counts).item()
    assert found == pytest.approx(2 * PixelLoss("bce", 3.0)(x[:1], y[:1]).item() / len(x), rel=1e-12)


def staff(colour, paper, channels, line=28):
    """Two pages with a line and a note each, at different places."""
    page = torch.full((2, channels, 32, 32), paper)
    page[:, -1, line] = colour
    page[0, 0, 6:10, 12:16] = page[1, 0, 20:24, 4:8] = colour
    return page


def test_structure_is_where_ink_stands_whatever_its_colour_and_the_paper():
    page, night = staff(-1.0, 1.0, 1), staff(0.4, -1.0, 3)
    assert StructureLoss(1.0, 1.0)(night, page).item() == pytest.approx(0.0, abs=1e-6)
    assert StructureLoss(1.0, -1.0)(night.flip(0), page).item() > 0.9
    assert StructureLoss(1.0, 0.5)(torch.full_like(night, -1.0), page).item() == pytest.approx(1.5)
    faint = staff(0.4, -1.0, 3) + 0.05 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert 0.0 < StructureLoss(1.0, -1.0)(faint, page) < 0.5 and StructureLoss(0.5, 0.5)(faint, page) == 0.0
    moved = night.roll(8, 3).requires_grad_()
    StructureLoss()(moved, page).backward()
    assert torch.isfinite(moved.grad).all() and moved.grad.abs().sum() > 0


def test_lines_must_stay_in_their_rows_though_a_row_is_no_ink():
    page, night = staff(-1.0, 1.0, 1), staff(0.4, -1.0, 3)
    elsewhere = staff(0.4, -1.0, 3, line=16)
    assert StructureLoss(0.5, -1.0)(elsewhere, page).item() == 0.0
    assert StructureLoss(-1.0, 0.7)(elsewhere, page).item() > 0.5
    assert StructureLoss(0.5, 0.7)(night, page).item() == 0.0


def test_an_empty_page_is_no_longer_the_best_answer_to_a_drawing():
    page = torch.full((1, 1, 16, 16), 1.0)
    page[..., 3] = -1.0  # one line in 16
    gray = page.clone()
    gray[..., 2:5] = 0.0
    assert PixelLoss()(torch.ones_like(page), page) < PixelLoss()(gray, page)
    assert PixelLoss("l1", 8.0)(torch.ones_like(page), page) > PixelLoss("l1", 8.0)(gray, page)


def test_structure_keeps_to_the_correlations_of_its_formula():
    """r of pooled ink and of rows by numpy's own correlation, on pages whose background is plain."""
    page, night = staff(-1.0, 1.0, 1), staff(0.4, -1.0, 3, line=26)
    ink = [(z - z.median(3, keepdim=True).values).abs().mean(1, keepdim=True) for z in (page, night)]
    pooled = [F.avg_pool2d(-F.max_pool2d(-z, 2, 1), 2, 1).flatten(1).numpy() for z in ink]
    backgrounds = [z.flatten(2).median(2).values[..., None, None] for z in (page, night)]
    rows = [(z - b).abs().mean((1, 3)).numpy() for z, b in zip((page, night), backgrounds, strict=True)]
    r, s = ([np.corrcoef(x, y)[0, 1] for x, y in zip(*two, strict=True)] for two in (pooled, rows))
    expected = np.mean([max(0.0, 0.9 - r) + max(0.0, 0.8 - s) for r, s in zip(r, s, strict=True)])
    assert expected > 0.1
    assert StructureLoss(0.9, 0.8)(night, page).item() == pytest.approx(expected, rel=1e-5)


def test_a_page_beside_an_empty_one_misses_all_that_structure_asks_for():
    page = staff(-1.0, 1.0, 1)
    empty = torch.ones_like(page)  # correlates with nothing: r is 0
    assert StructureLoss()(empty, page).item() == pytest.approx(0.2 + 0.7)
    assert StructureLoss(0.5, -1.0)(empty, page).item() == pytest.approx(0.5)


def test_structure_of_a_batch_is_the_mean_of_its_images_however_much_ink_each_has():
    x, y = torch.ones(2, 1, 16, 16), torch.ones(2, 1, 16, 16)
    x[0, 0, 2:5, 2:5] = y[0, 0, 3:6, 3:6] = -1.0
    x[1, 0, 2:14, 1:7] = y[1, 0, 4:14, 2:8] = -1.0
    alone = [StructureLoss(1.0, 1.0)(x[i : i + 1], y[i : i + 1]).item() for i in range(2)]
    assert abs(alone[0] - alone[1]) > 0.1
    assert StructureLoss(1.0, 1.0)(x, y).item() == pytest.approx(sum(alone) / 2, abs=1e-6)


def test_rows_of_ink_are_the_same_on_gray_paper_and_on_white():
    gray, white = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    gray[..., 4:8, 3:7], white[..., 4:8, 3:7] = 0.8, -1.0
    assert StructureLoss(-1.0, 1.0)(gray, white).item() == pytest.approx(0.0, abs=1e-5)


def test_a_stroke_moved_by_one_pixel_still_overlaps_where_ink_is_pooled():
    x, y = torch.full((1, 1, 6, 6), 1.0), torch.full((1, 1, 6, 6), 1.0)
    x[..., 1:3, 1:3] = y[..., 1:3, 2:4] = -1.0
    # Each stroke of 2 x 2 pixels is 1 solid place of 5 x 5, and 4 equal ones of 4 x 4 after pooling, of which 2 are shared:
    # covariance 2/16 - (4/16)^2, variance 4/16 - (4/16)^2, r = 1/3. Their rows are the same.
    assert StructureLoss(1.0, -1.0)(x, y).item() == pytest.approx(1 - 1 / 3, abs=1e-5)
    assert StructureLoss(-1.0, 1.0)(x, y).item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("pixel", {"kind": "l2"}, r"pixel_loss\.kind must be one of l1, bce, found 'l2'"),
        ("pixel", {"foreground": 0.0}, r"pixel_loss\.foreground must be greater than 0, found 0\.0"),
        ("structure", {"enough": 1.5}, r"structure\.enough must be between -1 and 1, as correlations are, found 1\.5"),
    ],
)
def test_an_option_that_breaks_a_rule_is_refused(loss, options, message):
    with pytest.raises(ConfigError, match=message):
        LOSSES[loss](**options)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_of_the_table_is_a_scalar_whose_gradient_reaches_the_first_image(loss):
    x, y = images(0).float().requires_grad_(), images(1).float()
    term = LOSSES[loss]()(x, y)
    term.backward()
    assert term.shape == () and term > 0 and x.grad.abs().max() > 0


@pytest.mark.parametrize("logit", [-30.0, -9.0, -3.0, 0.0, 0.5, 9.0, 30.0])
@pytest.mark.parametrize("target", [-1.0, 1.0])
def test_a_confidently_wrong_pixel_is_corrected_as_from_its_logit(logit, target):
    z = torch.full((1, 1, 1, 1), logit, requires_grad=True)
    (found,) = torch.autograd.grad(PixelLoss("bce")(bounded(z), torch.full_like(z, target).detach()), z)
    exact = torch.tensor(2 * logit, dtype=torch.float64, requires_grad=True)  # (tanh z + 1) / 2 is the sigmoid of 2 z
    loss = torch.nn.functional.binary_cross_entropy_with_logits(exact, torch.tensor((target + 1) / 2, dtype=torch.float64))
    (expected,) = torch.autograd.grad(loss, exact)
    assert found.item() == pytest.approx(2 * expected.item(), rel=0.05, abs=1e-5)


def test_a_bounded_image_is_a_tanh():
    z = torch.linspace(-20, 20, 401)[None, None, None]
    assert torch.equal(bounded(z), torch.tanh(z)) and torch.equal(bounded(z.requires_grad_()), torch.tanh(z))

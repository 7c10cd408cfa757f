"""Every loss against an independent formula, and every gradient where it must and must not go."""

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from kornia.filters import sobel as kornia_sobel
from kornia.losses import total_variation
from torch import nn
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from diptych.errors import ConfigError
from diptych.loss_networks import LossNetworks
from diptych.losses import (
    LOSSES,
    CharbonnierLoss,
    EdgeLoss,
    FeatureMatching,
    FocalFrequencyLoss,
    MSSSIMLoss,
    NeedsNetwork,
    NeedsTranslator,
    PerceptualLoss,
    PixelLoss,
    SSIMLoss,
    StructureLoss,
    StyleLoss,
    TotalVariation,
    check_gan,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    l1,
    r1_penalty,
)
from diptych.metrics import image as metrics_image
from diptych.nets import MultiscaleDiscriminator, PatchGAN
from diptych.nets.blocks import bounded
from diptych.nets.pix2pixhd import halved
from diptych.pixels import Domain


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


def test_windows_ask_as_much_of_a_small_sign_as_of_a_full_measure():
    x, y = torch.ones(1, 1, 16, 80), torch.ones(1, 1, 16, 80)
    x[..., 4:12, 40:76] = y[..., 4:12, 40:76] = -1.0
    x[..., :3, 4:7] = -1.0  # a sign that y lacks
    whole, parts = StructureLoss(0.5, -1.0), StructureLoss(-1.0, -1.0, windows=0.5)
    assert whole(y, x) == 0.0
    # Windows begin at 0, 8, ... 48. The first has nothing but the sign, the second nothing, and the other five are the same.
    assert parts(y, x).item() == pytest.approx(0.5 / 6)
    assert parts(x, x).item() == pytest.approx(0.0, abs=1e-6)


def test_windows_keep_to_the_correlations_of_their_formula():
    """r of pooled ink in windows of 24 columns by numpy, with half the norms added, so that faint ink correlates with little."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(2, channels, 20, 64, generator=generator) * 2 - 1 for channels in (1, 3))
    y[1] = y[1] * 1e-3
    lost = np.zeros(2)
    for image in range(2):
        inks = []
        for z in (x, y):
            z = z[image].numpy().astype(np.float64)
            middle = np.sort(z, axis=2)[:, :, 31:32]  # of an even number torch takes the lower
            ink = np.abs(z - middle).mean(0)
            inks.append((ink[:-1, :-1] + ink[1:, :-1] + ink[:-1, 1:] + ink[1:, 1:]) / 4)
        found = []
        for first in range(0, 63 - 24 + 1, 8):
            a, b = ((ink[:, first : first + 24] - ink[:, first : first + 24].mean()).ravel() for ink in inks)
            p, q = np.linalg.norm(a), np.linalg.norm(b)
            assert max(p, q) > 1
            found.append(max(0.0, 0.6 - a @ b / (p * q + (p + q) / 2 + 1e-6)))
        lost[image] = np.mean(found)
    assert 0.3 < lost.mean() < 0.7
    assert StructureLoss(-1.0, -1.0, windows=0.6)(y, x).item() == pytest.approx(lost.mean(), rel=1e-4)


def test_columns_keep_to_the_correlation_of_their_formula():
    """r of the root of the ink of columns, averaged twice over 3 with the outside empty, by numpy on pages of plain paper."""
    page, night = staff(-1.0, 1.0, 1), staff(0.4, -1.0, 3)
    night[..., 20:] = -1.0
    inks = [(z - z.median(3, keepdim=True).values).abs().mean((1, 2)).double().numpy() for z in (page, night)]
    found = []
    for a, b in zip(*inks, strict=True):
        smooth = [np.convolve(np.convolve(ink, np.ones(3) / 3, "same"), np.ones(3) / 3, "same") for ink in (a, b)]
        found.append(max(0.0, 0.95 - np.corrcoef(*(np.sqrt(ink + 1e-3) for ink in smooth))[0, 1]))
    assert np.mean(found) > 0.05
    assert StructureLoss(-1.0, -1.0, columns=0.95)(night, page).item() == pytest.approx(np.mean(found), rel=1e-4)


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
        ("pixel", {"kind": "l2"}, r"pixel_loss\.kind must be one of l1, bce, ce, found 'l2'"),
        ("pixel", {"foreground": 0.0}, r"pixel_loss\.foreground must be greater than 0, found 0\.0"),
        ("structure", {"enough": 1.5}, r"structure\.enough must be between -1 and 1, as correlations are, found 1\.5"),
    ],
)
def test_an_option_that_breaks_a_rule_is_refused(loss, options, message):
    with pytest.raises(ConfigError, match=message):
        LOSSES[loss](**options)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if not issubclass(LOSSES[loss], NeedsNetwork | NeedsTranslator)])
def test_every_loss_of_the_table_is_a_scalar_whose_gradient_reaches_the_first_image(loss):
    x, y = images(0).float().requires_grad_(), images(1).float()
    made = LOSSES[loss](**({"scales": 1} if loss == "ms_ssim" else {}))
    term = made(x) if loss == "total_variation" else made(x, y)
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


# --- losses between two images, each against an independent implementation or by hand ---


def pair(size=24, n=2, channels=3):
    random = torch.Generator().manual_seed(3)
    x = torch.rand(n, channels, size, size, generator=random, dtype=torch.float64) * 2 - 1
    return x, (x + 0.3 * torch.randn(x.shape, generator=random, dtype=torch.float64)).clamp(-1, 1)


def test_ssim_is_that_of_torchmetrics_and_scikit_image():
    x, y = pair()
    theirs = structural_similarity_index_measure((x + 1) / 2, (y + 1) / 2, data_range=1.0, gaussian_kernel=True, sigma=1.5)
    assert SSIMLoss()(x, y).item() == pytest.approx(1 - theirs.item(), abs=0.02)  # theirs keeps part of a padded border
    metric = metrics_image.ssim(x, y).mean().item()  # equal to scikit-image's, which tests/metrics show
    assert SSIMLoss()(x, y).item() == pytest.approx(1 - metric, abs=1e-10)


def test_ms_ssim_of_five_scales_is_the_metric_and_fewer_scales_share_the_exponents():
    x, y = pair(size=176, n=1, channels=1)
    assert MSSSIMLoss()(x, y).item() == pytest.approx(1 - metrics_image.ms_ssim(x, y).item(), abs=1e-9)
    assert MSSSIMLoss(scales=1)(x, y).item() == pytest.approx(SSIMLoss()(x, y).item(), abs=1e-9)
    theirs = multiscale_structural_similarity_index_measure(
        (x + 1) / 2, (y + 1) / 2, data_range=1.0, betas=(0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    )
    assert MSSSIMLoss()(x, y).item() == pytest.approx(1 - theirs.item(), abs=0.02)


@pytest.mark.parametrize(("loss", "size"), [(SSIMLoss(), 10), (MSSSIMLoss(), 160), (MSSSIMLoss(scales=3), 40)])
def test_structural_similarity_refuses_images_that_its_window_does_not_fit_in(loss, size):
    x, y = pair(size=size, n=1, channels=1)
    with pytest.raises(ConfigError, match=rf"images of {size + 1} pixels a side, found {size}x{size}; .*train on larger crops"):
        loss(x, y)
    x, y = pair(size=size + 1, n=1, channels=1)
    assert loss(x, y).isfinite()


def test_charbonnier_is_a_smooth_l1():
    x, y = pair()
    by_hand = np.sqrt((x - y).numpy() ** 2 + 0.1**2).mean()
    assert CharbonnierLoss(epsilon=0.1)(x, y).item() == pytest.approx(by_hand, abs=1e-12)
    z = x.clone().requires_grad_()
    CharbonnierLoss()(z, x).backward()
    assert z.grad.abs().max() == 0  # L1 has no slope here


def test_total_variation_is_kornias_per_neighbour():
    x, _ = pair()
    down, across = (x[:, :, 1:] - x[:, :, :-1]).abs(), (x[..., 1:] - x[..., :-1]).abs()
    theirs = total_variation(x).sum() / down.numel()  # both have as many neighbours, as the images are square
    assert down.numel() == across.numel() and TotalVariation()(x).item() == pytest.approx(theirs.item(), abs=1e-12)
    assert TotalVariation()(torch.ones(1, 1, 4, 4)).item() == 0


def test_the_edge_loss_sees_neither_brightness_nor_contrast_nor_colour_but_where_edges_are():
    x = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    x[..., 4:12, 4:12] = 1.0
    recoloured = torch.cat([0.2 - 0.5 * x, -0.3 * x + 0.1, 0.1 * x], 1)
    moved = x.roll((6, 6), dims=(2, 3))
    assert EdgeLoss()(x, recoloured).item() == pytest.approx(0.0, abs=1e-6)
    assert EdgeLoss()(x, moved).item() > 0.7
    sobel = kornia_sobel(x, normalized=True, eps=1e-12)[..., 1:-1, 1:-1].flatten(1)  # theirs repeats the border
    other = kornia_sobel(moved, normalized=True, eps=1e-12)[..., 1:-1, 1:-1].flatten(1)
    by_kornia = 1 - F.cosine_similarity(sobel, other).mean()
    assert EdgeLoss()(x, moved).item() == pytest.approx(by_kornia.item(), abs=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_the_focal_frequency_loss_is_its_formula_in_numpy(alpha):
    x, y = pair(size=9)
    distance = np.abs(np.fft.fft2(x.numpy(), norm="ortho") - np.fft.fft2(y.numpy(), norm="ortho"))
    weight = distance**alpha
    weight /= weight.max(axis=(2, 3), keepdims=True)
    assert FocalFrequencyLoss(alpha)(x, y).item() == pytest.approx((weight * distance**2).mean(), rel=1e-9)
    assert FocalFrequencyLoss(alpha)(x, x).item() == 0


class Two:
    """Finds random networks for losses, and one discriminator."""

    def __init__(self, judge=None):
        self.judge = judge

    def backbone(self, name, weights):
        return LossNetworks({}).backbone(name, "random")

    def discriminator(self, name):
        return self.judge


@pytest.mark.parametrize("network", ["vgg16", "alexnet"])
def test_the_perceptual_and_the_style_loss_are_their_formulas_over_chosen_layers(network):
    net = Two().backbone(network, "random")
    x, y = (z.float() for z in pair(size=48))
    of_x, of_y = net(x), net(y)
    options = {"network": network, "layers": (2, 4), "layer_weights": (0.5, 3.0)}
    expected = 0.5 * (of_x[1] - of_y[1]).abs().mean() + 3.0 * (of_x[3] - of_y[3]).abs().mean()
    assert PerceptualLoss(**options).with_network(Two())(x, y).item() == pytest.approx(expected.item(), rel=1e-5)
    squares = 0.5 * (of_x[1] - of_y[1]).square().mean() + 3.0 * (of_x[3] - of_y[3]).square().mean()
    assert PerceptualLoss(**options, distance="l2").with_network(Two())(x, y).item() == pytest.approx(squares.item(), rel=1e-5)
    style = 0.0
    for weight, one, other in ((0.5, of_x[1], of_y[1]), (3.0, of_x[3], of_y[3])):
        grams = [torch.einsum("ncij,ndij->ncd", f, f) / f[0].numel() for f in (one, other)]
        style += weight * (grams[0] - grams[1]).square().sum((1, 2)).mean().item()
    assert StyleLoss(**options).with_network(Two())(x, y).item() == pytest.approx(style, rel=1e-4)


def test_feature_matching_is_the_mean_over_the_layers_and_teaches_the_generator_alone():
    torch.manual_seed(0)
    for D in (PatchGAN(3, width=2, num_layers=2), MultiscaleDiscriminator(3, width=2, num_layers=2)):
        x, y = (z.float().requires_grad_() for z in pair(size=32))
        loss = FeatureMatching().with_network(Two(D))(x, y)
        loss.backward()
        scales = [(D, x, y)] if isinstance(D, PatchGAN) else [(D.scales[0], x, y), (D.scales[1], halved(x), halved(y))]
        found = []
        for layers, one, other in scales:
            parts = layers.layers if isinstance(D, PatchGAN) else [part for stage in layers for part in stage]
            for part in parts:
                one, other = part(one), part(other)
                found += [(one - other).abs().mean().item()] if isinstance(part, nn.LeakyReLU) else []
        assert len(found) == 3 * len(scales)
        assert loss.item() == pytest.approx(np.mean(found), rel=1e-5)
        assert x.grad.abs().max() > 0 and y.grad is None and all(p.grad is None and p.requires_grad for p in D.parameters())


SAME = {
    name: {"size": 161} if name == "ms_ssim" else {} for name in LOSSES if name not in ("feature_matching", "lpips", "temporal")
}


@pytest.mark.parametrize("name", [name for name in SAME if name != "total_variation"])
def test_every_loss_is_least_for_equal_images_and_pulls_others_towards_them(name):
    x, y = (z.float() for z in pair(**({"size": 32, "n": 1} | SAME[name])))
    made = LOSSES[name]()
    loss = made.with_network(Two()) if isinstance(made, NeedsNetwork) else made
    z = y.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(z, x), z)
    assert gradient.isfinite().all()
    assert loss(x, x) <= loss(y, x)
    if name != "structure":  # noise does not move what is drawn
        assert gradient.abs().max() > 0 and loss(y - 1e-3 * gradient / gradient.abs().max(), x) < loss(y, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PerceptualLoss(layers=(0, 2)), r"perceptual\.layers must be different numbers from 1 to 5, .* found \[0, 2\]"),
        (lambda: StyleLoss(layers=(2, 2)), r"style\.layers must be different numbers .* found \[2, 2\]"),
        (lambda: PerceptualLoss(layers=(1, 2), layer_weights=(1.0,)), r"layer_weights must have a number of at least 0 for each"),
        (lambda: PerceptualLoss(network="vgg19"), r"perceptual\.network must be one of alexnet, vgg16, found 'vgg19'"),
        (lambda: MSSSIMLoss(scales=6), r"ms_ssim\.scales must be from 1 to 5, found 6"),
        (lambda: CharbonnierLoss(epsilon=0.0), r"charbonnier\.epsilon must be greater than 0, found 0"),
        (lambda: LossNetworks({}).lpips("vgg16", "random"), r"lpips\.weights random has no meaning"),
        (lambda: LossNetworks({"D_b": None}).discriminator("D_c"), r"no discriminator 'D_c'; did you mean D_b\?"),
        (lambda: LossNetworks({}).discriminator("D_b"), r"no discriminator 'D_b'; it has none"),
    ],
)
def test_wrong_options_of_a_loss_are_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(("foreground", "expected"), [(1.0, 0.4), (2.0, 0.65), (3.0, 0.9)])
def test_a_weight_on_the_foreground_counts_its_pixels_so_many_times(foreground, expected):
    target = torch.tensor([-1.0, -1.0, -1.0, 1.0]).view(1, 1, 2, 2)
    image = torch.tensor([-0.8, -0.8, -0.8, 0.0]).view(1, 1, 2, 2)  # 0.2 off on the paper, 1 off on the ink: (0.6 + 1) / 4
    assert PixelLoss(foreground=foreground)(image, target).item() == pytest.approx(expected)


def test_the_adversarial_loss_is_vanilla_unless_asked_for_another():
    for real in (True, False):
        assert discriminator_loss(logits(), real) == discriminator_loss(logits(), real, "vanilla")
    assert generator_loss(logits()) == generator_loss(logits(), "vanilla")


def test_cross_entropy_is_that_of_the_logits_behind_tanh():
    z = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    classes = torch.randint(5, (2, 3, 4), generator=torch.Generator().manual_seed(1))
    y = F.one_hot(classes, 5).movedim(-1, 1).double() * 2 - 1
    expected = F.cross_entropy(2 * z, classes)
    found = PixelLoss("ce")(torch.tanh(z), y)
    assert found.item() == pytest.approx(expected.item())
    (of_found,), (of_expected,) = torch.autograd.grad(found, z), torch.autograd.grad(expected, z)
    assert torch.allclose(of_found, of_expected)


def test_cross_entropy_corrects_a_saturated_wrong_class():
    z = torch.tensor([30.0, -30.0]).view(1, 2, 1, 1).requires_grad_()
    PixelLoss("ce")(bounded(z), torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)).backward()
    assert z.grad.flatten().tolist() == pytest.approx([2.0, -2.0], rel=1e-3)  # 2 (softmax - one-hot) of the logits 2 z


def test_the_pixel_loss_of_labels_is_their_cross_entropy():
    labels, photos = Domain(classes=((0,), (1,))), Domain()
    assert PixelLoss().on(labels) == PixelLoss("ce") and PixelLoss().on(photos) == PixelLoss()
    assert PixelLoss("bce", 4.0).on(labels) == PixelLoss("bce", 4.0)
    with pytest.raises(ConfigError, match=r"ce compares classes, and this side holds none; set data.labels"):
        PixelLoss("ce").on(photos)

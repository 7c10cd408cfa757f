"""One step of pix2pix on networks of one or two numbers, so that every term can be worked out by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.losses import PixelLoss
from diptych.methods import Batch
from diptych.methods.pix2pix import Pix2Pix, Pix2PixConfig
from diptych.nets import PatchGAN
from diptych.pixels import Domain
from tests.methods.by_hand import Judge, Times, flat, items

A, B, FAKE_B = 0.25, -0.5, 0.5  # G doubles


def step_of(weights=(1.0, 2.0), **settings):
    """A method whose D weights the channels of what it sees: by default 1 * a + 2 * b."""
    return Pix2Pix(Pix2PixConfig(norm="none", **settings), Times(2.0), Judge(*weights))


def terms_of(method):
    return {phase: items(terms) for phase, terms in method.losses(Batch(flat(A), flat(B)))}


def test_d_sees_input_and_output_and_g_wants_the_real_output_and_to_be_judged_real():
    # D judges real pairs 0.25 + 2 * -0.5 = -0.75, generated ones 0.25 + 2 * 0.5 = 1.25
    found = terms_of(step_of(gan="lsgan", lambda_gan=3.0, lambda_l1=7.0))
    assert list(found) == ["D", "G"]
    assert found["D"] == pytest.approx({"real": 0.5 * 1.75**2, "fake": 0.5 * 1.25**2})
    assert found["G"] == pytest.approx({"l1": 7.0 * 1.0, "gan": 3.0 * 0.25**2})


def test_an_unconditional_d_sees_the_output_alone():
    found = terms_of(step_of((2.0,), gan="lsgan", conditional=False))
    assert found["D"] == pytest.approx({"real": 0.5 * 2.0**2, "fake": 0.5 * 1.0**2})  # 2 * -0.5 and 2 * 0.5
    assert found["G"] == pytest.approx({"l1": 100.0, "gan": 0.0})


def test_a_critic_and_r1_are_penalised_by_their_gradient_on_pairs():
    # At each of 4 pixels the gradient is (1, 2): its squared norm is 20.
    found = terms_of(step_of(gan="wgan", lambda_gp=5.0, lambda_r1=0.5, lambda_gan=2.0))
    assert found["D"] == pytest.approx({"real": 0.75, "fake": 1.25, "gp": 5.0 * (20**0.5 - 1) ** 2, "r1": 0.5 * 10.0})
    assert found["G"]["gan"] == pytest.approx(2.0 * -1.25)


def test_another_pixel_loss_takes_the_place_of_l1_under_its_own_name():
    # As probabilities, 0.5 is 3/4 and the target -0.5 is 1/4: -(1/4 ln 3/4 + 3/4 ln 1/4) = 1.11164
    assert terms_of(step_of(pixel_loss=PixelLoss("bce"), lambda_l1=2.0))["G"]["bce"] == pytest.approx(2.0 * 1.11164, rel=1e-5)


def test_without_l1_there_is_no_such_term_and_without_a_gan_no_d():
    assert list(terms_of(step_of(lambda_l1=0.0))["G"]) == ["gan"]
    method = Pix2Pix(Pix2PixConfig(lambda_gan=0.0, lambda_l1=7.0), Times(2.0), None)
    assert terms_of(method) == {"G": pytest.approx({"l1": 7.0})}
    assert method.phases() == {"G": [method.G_ab]} and method.D_b is None


def test_its_translator_and_the_networks_of_its_phases():
    method = step_of()
    assert method.generators() == {"a2b": method.G_ab}
    assert method.phases() == {"D": [method.D_b], "G": [method.G_ab]} and list(method.phases()) == ["D", "G"]


def test_each_phase_teaches_its_own_network_alone_and_g_meets_the_d_that_was_updated():
    method = step_of(gan="lsgan", lambda_l1=0.0)
    losses = method.losses(Batch(flat(A), flat(B)))
    _, of_d = next(losses)
    sum(of_d.values()).backward()
    # 0.5 (real - 1)^2 + 0.5 fake^2: -1.75 * (a, b) + 1.25 * (a, fake_b)
    expected = [-1.75 * A + 1.25 * A, -1.75 * B + 1.25 * FAKE_B]
    assert method.D_b.weights.grad.tolist() == pytest.approx(expected) and method.G_ab.factor.grad is None
    method.D_b.weights.data = torch.tensor([1.0, 3.0])  # as an optimizer would
    method.zero_grad()
    _, of_g = next(losses)
    of_g["gan"].backward()
    assert of_g["gan"].item() == pytest.approx(0.75**2)  # 0.25 + 3 * 0.5 = 1.75
    assert method.G_ab.factor.grad.item() == pytest.approx(2 * 0.75 * 3 * A) and method.D_b.weights.grad is None
    assert method.D_b.weights.requires_grad and next(losses, None) is None


def test_the_step_names_its_images_and_adds_what_a_recipe_asks_for():
    method, seen, batch = step_of(), {}, Batch(flat(A), flat(B))
    method.extra = lambda **images: seen.update(images) or {"more": torch.tensor(4.0)}
    terms = dict(method.losses(batch))
    assert tuple(seen) == Pix2PixConfig.images and seen["real_a"] is batch.a and seen["real_b"] is batch.b
    assert seen["fake_b"].unique().tolist() == [FAKE_B] and seen["fake_b"].requires_grad
    assert list(terms["G"]) == ["l1", "gan", "more"] and terms["G"]["more"] == 4.0 and "more" not in terms["D"]


SMALL = {"generator": "unet_6", "ngf": 2, "ndf": 3, "num_layers": 2, "init_gain": 0.5, "norm": "instance_affine"}


@pytest.mark.parametrize(("conditional", "judged"), [(True, 5), (False, 4)])
@pytest.mark.parametrize("dropout", [True, False])
def test_its_networks_have_the_channels_of_the_domains_and_the_settings_of_the_recipe(conditional, judged, dropout):
    config = Pix2PixConfig(conditional=conditional, dropout=dropout, upsample="resize", **SMALL)
    method = config.build(Domain(1), Domain(4), 64)
    assert replace(method.config, pixel_loss=config.pixel_loss) == config and isinstance(method.D_b, PatchGAN)
    shape = {"in_channels": 1, "out_channels": 4, "width": 2, "num_downs": 6, "skips": True}
    assert (
        method.G_ab.spec.items()
        >= ({"net": "unet", "norm": "instance_affine", "dropout": dropout, "upsample": "resize"} | shape).items()
    )
    assert (
        method.D_b.spec.items()
        >= {"net": "patchgan", "in_channels": judged, "width": 3, "num_layers": 2, "norm": "instance_affine"}.items()
    )
    for net in (method.G_ab, method.D_b):
        weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv2d)])
        assert 0.4 < weights.std().item() < 0.6  # init_gain


@pytest.mark.parametrize("lambda_gan", [0.0, 1.0])
def test_a_d_is_built_where_there_is_an_adversarial_loss(lambda_gan):
    assert bool(Pix2PixConfig(lambda_gan=lambda_gan, **SMALL).build(Domain(), Domain(), 64).D_b) == bool(lambda_gan)


def test_the_kind_of_initialisation_is_taken():
    net = Pix2PixConfig(**SMALL | {"init": "orthogonal"}).build(Domain(), Domain(), 64)
    for layer in (net.G_ab.downs[2][1], net.D_b.layers[2]):
        rows = layer.weight.flatten(1)
        assert torch.allclose(rows @ rows.T, 0.25 * torch.eye(len(rows)), atol=1e-5)  # rows of norm init_gain, at right angles


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"gan": "wgan"},
            "method.gan wgan penalises each image's own gradient, which BatchNorm mixes with others'; set method.norm instance",
        ),
        ({"ngf": 0}, "method.ngf must be at least 1, found 0"),
        (
            {"lambda_gan": 0.0, "lambda_l1": 0.0},
            "pix2pix: lambda_gan and lambda_l1 are both 0, so there is nothing to learn; set one of them",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        Pix2PixConfig(**settings)
    assert str(caught.value) == message

"""One step of CycleGAN on networks of one number, so that every term can be worked out by hand."""

import logging

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.losses import PixelLoss
from diptych.methods import Batch
from diptych.methods.cyclegan import CycleGAN, CycleGANConfig
from diptych.pixels import Domain
from tests.methods.by_hand import Judge, Times, flat, items

A, B = 0.1, -0.2
# G_ab doubles, G_ba triples: fake_b 0.2, fake_a -0.6, rec_a 0.6, rec_b -1.2, idt_a 0.3, idt_b -0.4
CYCLE_A, CYCLE_B, IDT_A, IDT_B = 0.5, 1.0, 0.2, 0.2  # mean distances from A and B


class Adds(nn.Module):
    """A pool that gives back other images than it gets."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return x.detach() + self.number


def step_of(identity=True, judges=True, **settings):
    """D_a judges 5 * x and D_b 4 * x; the pools add 0.1 and 0.3."""
    config = CycleGANConfig(norm="none", **settings)
    D_a, D_b = (Judge(5.0), Judge(4.0)) if judges else (None, None)
    return CycleGAN(config, Times(2.0), Times(3.0), D_a, D_b, Adds(0.1), Adds(0.3), identity, (config.pixel_loss,) * 2)


def terms_of(method, known=None):
    return {phase: items(terms) for phase, terms in method.losses(Batch(flat(A), flat(B), known))}


def test_every_term_is_the_one_of_the_paper():
    found = terms_of(step_of(lambda_gan=3.0, lambda_cycle_a=7.0, lambda_cycle_b=11.0, lambda_identity=0.5))
    assert list(found) == ["G", "D"]
    assert found["G"] == pytest.approx(
        {
            "idt_a": 0.5 * 7.0 * IDT_A,
            "idt_b": 0.5 * 11.0 * IDT_B,
            "cycle_a": 7.0 * CYCLE_A,
            "cycle_b": 11.0 * CYCLE_B,
            "gan_ab": 3.0 * 0.2**2,  # D_b judges fake_b 0.8
            "gan_ba": 3.0 * 4.0**2,  # D_a judges fake_a -3
        },
        rel=1e-5,
    )
    # D_a judges a 0.5 and -0.5 from its pool -2.5; D_b judges b -0.8 and 0.5 from its pool 2
    by_hand = {"real_a": 0.5 * 0.5**2, "fake_a": 0.5 * 2.5**2, "real_b": 0.5 * 1.8**2, "fake_b": 0.5 * 2.0**2}
    assert found["D"] == pytest.approx(by_hand, rel=1e-5)


def test_each_cycle_goes_through_both_generators():
    method = step_of(identity=False, lambda_cycle_a=7.0, lambda_cycle_b=11.0)
    method.G_ab.factor.data.fill_(4.0)  # rec_a 12 * 0.1 and rec_b 12 * -0.2
    found = terms_of(method)["G"]
    assert (found["cycle_a"], found["cycle_b"]) == pytest.approx((7.0 * 1.1, 11.0 * 2.2))


def test_the_published_weights():
    found = terms_of(step_of())["G"]
    assert found == pytest.approx(
        {
            "idt_a": 5.0 * IDT_A,
            "idt_b": 5.0 * IDT_B,
            "cycle_a": 10.0 * CYCLE_A,
            "cycle_b": 10.0 * CYCLE_B,
            "gan_ab": 0.04,
            "gan_ba": 16.0,
        },
        rel=1e-5,
    )


def test_without_identity_and_with_one_cycle_the_other_terms_are_what_they_were():
    a = terms_of(step_of(identity=False, lambda_cycle_b=0.0))["G"]
    assert a == pytest.approx({"cycle_a": 10.0 * CYCLE_A, "gan_ab": 0.04, "gan_ba": 16.0}, rel=1e-5)
    b = terms_of(step_of(identity=False, lambda_cycle_a=0.0))["G"]
    assert b == pytest.approx({"cycle_b": 10.0 * CYCLE_B, "gan_ab": 0.04, "gan_ba": 16.0}, rel=1e-5)
    neither = terms_of(step_of(identity=False, lambda_cycle_a=0.0, lambda_cycle_b=0.0))["G"]
    assert neither == pytest.approx({"gan_ab": 0.04, "gan_ba": 16.0}, rel=1e-4)


def test_without_judges_the_generators_learn_alone():
    method = step_of(judges=False, identity=False, lambda_gan=0.0)
    assert terms_of(method) == {"G": pytest.approx({"cycle_a": 10.0 * CYCLE_A, "cycle_b": 10.0 * CYCLE_B})}
    assert method.phases() == {"G": [method.G_ab, method.G_ba]}


def test_another_pixel_loss_takes_the_place_of_l1_everywhere():
    loss = PixelLoss("bce")
    found = terms_of(step_of(pixel_loss=loss, lambda_pair=2.0), torch.ones(1))["G"]
    between = {"idt_a": (0.3, A), "idt_b": (-0.4, B), "cycle_a": (0.6, A), "pair_ab": (0.2, B), "pair_ba": (-0.6, A)}
    for name, (image, target) in between.items():
        weight = {"idt": 5.0, "cycle": 10.0, "pair": 2.0}[name.split("_")[0]]
        assert found[name] == pytest.approx(weight * loss(flat(image), flat(target)).item(), rel=1e-5), name


def test_known_pairs_add_the_distance_of_their_translations_from_their_partners():
    batch = Batch(flat(A, A), flat(B, B), torch.tensor([1.0, 0.0]))
    (_, terms), *_ = step_of(lambda_pair=3.0).losses(batch)
    assert terms["pair_ab"].item() == pytest.approx(3.0 * 0.4 / 2)  # 0.2 from -0.2, for one of two
    assert terms["pair_ba"].item() == pytest.approx(3.0 * 0.7 / 2)  # -0.6 from 0.1


def test_a_critic_and_r1_are_penalised_by_their_gradient():
    # At each of 4 pixels the gradient of D_a is 5 and that of D_b 4: norms 10 and 8
    found = terms_of(step_of(gan="wgan", lambda_gp=2.0, lambda_r1=0.5))
    assert found["D"] == pytest.approx(
        {"real_a": -0.5, "fake_a": -2.5, "gp_a": 2.0 * 81.0, "r1_a": 0.5 * 50.0}
        | {"real_b": 0.8, "fake_b": 2.0, "gp_b": 2.0 * 49.0, "r1_b": 0.5 * 32.0},
        rel=1e-5,
    )
    assert (found["G"]["gan_ab"], found["G"]["gan_ba"]) == pytest.approx((-0.8, 3.0))


def test_each_phase_teaches_its_own_networks_alone():
    method = step_of(identity=False, lambda_cycle_a=0.0, lambda_cycle_b=0.0)
    losses = method.losses(Batch(flat(A), flat(B)))
    sum(next(losses)[1].values()).backward()
    assert method.G_ab.factor.grad.item() == pytest.approx(2 * (0.8 - 1) * 4 * A)
    assert method.G_ba.factor.grad.item() == pytest.approx(2 * (-3.0 - 1) * 5 * B)
    assert method.D_a.weights.grad is None and method.D_b.weights.grad is None
    method.zero_grad()
    sum(next(losses)[1].values()).backward()
    assert method.D_a.weights.grad.item() == pytest.approx((0.5 - 1) * A + -2.5 * -0.5)
    assert method.D_b.weights.grad.item() == pytest.approx((-0.8 - 1) * B + 2.0 * 0.5)
    assert method.G_ab.factor.grad is None and method.G_ba.factor.grad is None
    assert next(losses, None) is None


def test_its_translators_and_the_networks_of_its_phases():
    method = step_of()
    assert method.generators() == {"a2b": method.G_ab, "b2a": method.G_ba}
    assert method.phases() == {"G": [method.G_ab, method.G_ba], "D": [method.D_a, method.D_b]}


@pytest.mark.parametrize("cycles", [(10.0, 10.0), (10.0, 0.0), (0.0, 10.0)])
@pytest.mark.parametrize("identity", [True, False])
def test_the_step_names_its_images_and_adds_what_a_recipe_asks_for(cycles, identity):
    method, seen = step_of(identity, lambda_cycle_a=cycles[0], lambda_cycle_b=cycles[1]), {}
    method.extra = lambda **images: seen.update(images) or {"more": torch.tensor(4.0)}
    terms = dict(method.losses(Batch(flat(A), flat(B))))
    expected = {"real_a": A, "real_b": B, "fake_a": -0.6, "fake_b": 0.2}
    expected |= {"rec_a": 0.6} if cycles[0] else {}
    expected |= {"rec_b": -1.2} if cycles[1] else {}
    expected |= {"idt_a": 0.3, "idt_b": -0.4} if identity else {}
    assert tuple(seen) == CycleGANConfig.images
    assert {name: image[0, 0, 0, 0].item() for name, image in seen.items() if image is not None} == pytest.approx(expected)
    assert terms["G"]["more"] == 4.0 and "more" not in terms["D"]


SMALL = {"generator": "resnet_1", "ngf": 2, "ndf": 3, "num_layers": 2, "init_gain": 0.5, "norm": "instance_affine"}


@pytest.mark.parametrize("dropout", [True, False])
def test_its_networks_have_the_channels_of_the_domains_and_the_settings_of_the_recipe(dropout):
    config = CycleGANConfig(dropout=dropout, upsample="resize", pool_size=7, **SMALL)
    method = config.build(Domain(1), Domain(4), 24)
    assert method.config is config
    shape = {"net": "resnet", "width": 2, "num_blocks": 1, "norm": "instance_affine", "dropout": dropout, "upsample": "resize"}
    assert method.G_ab.spec.items() >= (shape | {"in_channels": 1, "out_channels": 4}).items()
    assert method.G_ba.spec.items() >= (shape | {"in_channels": 4, "out_channels": 1}).items()
    judge = {"net": "patchgan", "width": 3, "num_layers": 2, "norm": "instance_affine"}
    assert (
        method.D_a.spec.items() >= (judge | {"in_channels": 1}).items()
        and method.D_b.spec.items() >= (judge | {"in_channels": 4}).items()
    )
    assert method.pool_a.images.shape == (7, 1, 24, 24) and method.pool_b.images.shape == (7, 4, 24, 24)
    for net in (method.G_ab, method.G_ba, method.D_a, method.D_b):
        weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv2d)])
        assert 0.4 < weights.std().item() < 0.6  # init_gain


def test_without_an_adversarial_loss_there_are_no_judges_and_the_pools_are_empty():
    method = CycleGANConfig(lambda_gan=0.0, **SMALL).build(Domain(), Domain(), 8)
    assert method.D_a is None and method.D_b is None
    assert len(method.pool_a.images) == len(method.pool_b.images) == 0


@pytest.mark.parametrize(
    ("channels", "weight", "expected"), [((3, 3), 0.5, True), ((1, 1), 0.0, False), ((1, 3), 0.5, False), ((1, 3), 0.0, False)]
)
def test_identity_needs_its_weight_and_equal_channels_and_its_absence_is_said(channels, weight, expected, caplog):
    with caplog.at_level(logging.WARNING):
        method = CycleGANConfig(lambda_identity=weight, **SMALL).build(Domain(channels[0]), Domain(channels[1]), 8)
    assert method.identity is expected
    said = [record.getMessage() for record in caplog.records]
    assert said == (["identity loss is off: domain a has 1 channels and b has 3"] if weight and channels == (1, 3) else [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"gan": "wgan", "norm": "batch"},
            "method.gan wgan penalises each image's own gradient, which BatchNorm mixes with others'; set method.norm instance",
        ),
        ({"pool_size": -1}, "method.pool_size must be at least 0, found -1"),
        (
            {"lambda_gan": 0.0, "lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0},
            "cyclegan: lambda_gan, lambda_cycle_a and lambda_cycle_b are all 0, so there is nothing to learn; set one",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        CycleGANConfig(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("kept", ["lambda_gan", "lambda_cycle_a", "lambda_cycle_b"])
def test_any_one_of_the_losses_is_enough(kept):
    weights = {"lambda_gan": 0.0, "lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0} | {kept: 1.0}
    assert getattr(CycleGANConfig(**weights), kept) == 1.0

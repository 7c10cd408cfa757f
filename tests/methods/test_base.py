"""What all methods share: frozen networks, the discriminator's terms, and how a method is found by its name."""

import dataclasses
import importlib
import sys
import types
from contextlib import suppress

import pytest
from torch import nn

import diptych.methods
from diptych.errors import ConfigError
from diptych.methods import METHODS, method_config, method_name
from diptych.methods.base import Batch, check_critic, discriminator_terms, frozen
from diptych.methods.cyclegan import CycleGANConfig
from diptych.methods.pix2pix import Pix2PixConfig
from tests.methods.by_hand import Judge, flat, items

# --- frozen networks ---


def test_gradients_pass_through_a_frozen_network_without_reaching_its_weights():
    one, other, x = Judge(2.0), Judge(3.0), flat(1.0).requires_grad_()
    with frozen(one, other):
        loss = (one(x) + other(x)).mean()
    loss.backward()
    assert x.grad.sum().item() == pytest.approx(5.0)
    assert one.weights.grad is None and other.weights.grad is None
    assert one.weights.requires_grad and other.weights.requires_grad


def test_after_a_block_that_fails_the_weights_are_trained_again_and_frozen_ones_stay_frozen():
    trained, kept = Judge(2.0), Judge(3.0)
    kept.weights.requires_grad_(False)
    with suppress(ZeroDivisionError), frozen(trained, kept):
        assert not trained.weights.requires_grad
        raise ZeroDivisionError
    assert trained.weights.requires_grad and not kept.weights.requires_grad


# --- the discriminator's terms ---


@pytest.mark.parametrize(
    ("gan", "real", "fake"),
    [
        ("vanilla", 0.5 * 0.048587, 0.5 * 0.313262),  # log(1 + e^-3), log(1 + e^-1)
        ("lsgan", 0.5 * 4.0, 0.5 * 1.0),  # (3 - 1)^2, (-1)^2
        ("hinge", 0.0, 0.0),  # max(0, 1 - 3), max(0, 1 - 1)
        ("wgan", -3.0, -1.0),
    ],
)
def test_the_terms_of_a_judge_that_finds_3_in_real_images_and_less_1_in_fakes(gan, real, fake):
    terms = items(discriminator_terms(Judge(1.0), flat(3.0), flat(-1.0), gan, 10.0, 0.0))
    assert list(terms) == ["real", "fake"] + (["gp"] if gan == "wgan" else [])
    assert (terms["real"], terms["fake"]) == pytest.approx((real, fake), abs=1e-5)


def test_penalties_have_their_weights_and_r1_is_taken_at_real_images():
    class Square(nn.Module):
        """Its gradient at x is x, and so differs between real and fake images."""

        def forward(self, x):
            return x.square() / 2

    terms = items(discriminator_terms(Judge(3.0), flat(1.0), flat(0.0), "wgan", 7.0, 11.0))
    assert terms["gp"] == pytest.approx(7.0 * (36**0.5 - 1) ** 2)  # 4 pixels of slope 3: a norm of 6
    assert terms["r1"] == pytest.approx(11.0 * 36 / 2)
    assert items(discriminator_terms(Square(), flat(3.0), flat(5.0), "lsgan", 7.0, 2.0))["r1"] == pytest.approx(2.0 * 36 / 2)


def test_a_network_with_batch_norm_meets_fake_and_real_images_apart_in_this_order():
    D = nn.Sequential(nn.BatchNorm2d(1, momentum=1.0))
    terms = discriminator_terms(D, flat(1.0, 3.0), flat(5.0, 9.0), "lsgan", 0.0, 0.0)
    assert D[0].running_mean.item() == 2.0 and D[0].num_batches_tracked == 2  # the mean of the images that came last
    # Each pair of images is -1 and 1 after its own statistics.
    assert items(terms) == pytest.approx({"real": 0.5 * (4 + 0) / 2, "fake": 0.5 * 1.0}, abs=1e-4)


@pytest.mark.parametrize(("gan", "norm"), [("wgan", "instance"), ("lsgan", "batch"), ("vanilla", "none")])
def test_other_critics_are_fine(gan, norm):
    assert check_critic(gan, norm) is None


def test_a_critic_with_batch_norm_is_refused():
    message = "method.gan wgan penalises each image's own gradient, which BatchNorm mixes with others'; set method.norm instance"
    with pytest.raises(ConfigError) as caught:
        check_critic("wgan", "batch")
    assert str(caught.value) == message


# --- by name ---


def test_a_batch_knows_no_pairs_unless_it_is_told():
    assert Batch(flat(0.0), flat(0.0)).known is None


def test_methods_are_found_by_name_or_by_place_and_named_likewise(monkeypatch):
    assert method_config("pix2pix") is method_config("diptych.methods.pix2pix:Pix2PixConfig") is Pix2PixConfig
    assert method_config("cyclegan") is CycleGANConfig
    assert method_name(Pix2PixConfig) == "pix2pix" and method_name(CycleGANConfig) == "cyclegan"
    monkeypatch.setattr(diptych.methods, "METHODS", {})
    assert method_name(Pix2PixConfig) == "diptych.methods.pix2pix:Pix2PixConfig"


def test_a_class_that_only_has_the_name_of_a_method_is_named_by_its_place():
    @dataclasses.dataclass(frozen=True)
    class Mine(Pix2PixConfig):
        pass

    place = f"{__name__}:{Mine.__qualname__}"
    assert method_name(Mine) == place


def config_of(**changes):
    """A complete configuration of a user's own, less what is None."""
    parts = {"name": "mine", "paired": True, "mode": "eval", "images": (), "build": lambda *_: None} | changes
    return dataclasses.make_dataclass("Mine", [], namespace={k: v for k, v in parts.items() if v is not None}, frozen=True)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("pix2pics", None, f"no method is called 'pix2pics'; known: {', '.join(METHODS)}; did you mean pix2pix?"),
        ("zzz", None, f"no method is called 'zzz'; known: {', '.join(METHODS)}; or module:Class of your own"),
        ("nowhere:C", None, "method nowhere:C: No module named 'nowhere'; give it as module:Class, importable from here"),
        (
            "mine:Other",
            config_of(),
            "method mine:Other: 'types.SimpleNamespace' object has no attribute 'Other'; "
            "give it as module:Class, importable from here",
        ),
        ("mine:Config", int, "method mine:Config: Config is no dataclass; decorate it with @dataclass(frozen=True)"),
        (
            "mine:Config",
            config_of(name=None, build=None),
            "method mine:Config: Config lacks name (what people call it), "
            "build (build(a, b, crop_size), which makes its networks); see docs/method.md",
        ),
        ("mine:Config", config_of(mode="evl"), "method mine:Config: Config.mode must be one of eval, paper, found 'evl'"),
    ],
)
def test_a_method_that_is_not_there_or_not_complete_is_one_line_that_says_so(name, config, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Config=config))
    with pytest.raises(ConfigError) as caught:
        method_config(name)
    assert str(caught.value) == message


def test_a_row_of_the_table_must_have_the_name_of_its_method(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(Config=config_of()))
    monkeypatch.setitem(METHODS, "other", "mine:Config")
    with pytest.raises(ConfigError) as caught:
        method_config("other")
    assert str(caught.value) == "method other: Config.name must be its name in METHODS, found 'mine'"
    monkeypatch.setitem(METHODS, "mine", "mine:Config")
    assert method_config("mine").name == "mine"


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("Batch", "base"),
        ("Method", "base"),
        ("MethodConfig", "base"),
        ("Terms", "base"),
        ("Extra", "extra"),
        ("ExtraLosses", "extra"),
    ],
)
def test_classes_come_from_the_files_that_hold_them(name, module):
    assert getattr(diptych.methods, name) is getattr(importlib.import_module(f"diptych.methods.{module}"), name)


def test_a_name_that_the_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError) as caught:
        getattr(diptych.methods, "Pool")  # noqa: B009 - the attribute is looked up by the module's own function
    assert str(caught.value) == "module 'diptych.methods' has no attribute 'Pool'"

"""What is special about UNSB; its step beside the authors' order of operations is compared by benchmarks/step.py."""

import pytest
import torch

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.unsb import UNSBConfig
from diptych.pixels import Domain
from diptych.recipe import Recipe
from tests.contract.small import small


def built(**settings):
    torch.manual_seed(1)
    return UNSBConfig(**small("unsb", **settings)).build(Domain(), Domain(), 16)


def images(n, seed=0):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_other_source_is_the_image_before_also_across_batches_of_one():
    method, (first, second, third) = built(), (images(1, seed) for seed in range(3))
    assert torch.equal(method._others(first), first)  # there is no other yet
    assert torch.equal(method._others(second), first) and torch.equal(method._others(third), second)
    batch = images(3, 9)
    assert torch.equal(method._others(batch), torch.cat([third, batch[:2]]))


def test_without_an_other_or_with_batches_of_two_no_image_is_its_own_other():
    method, batch = built(), images(2)
    assert torch.equal(method._others(batch), batch.flip(0))


def test_the_state_at_time_0_is_the_image_and_later_ones_move_away_from_it():
    method, x = built(), images(4)
    torch.nn.init.constant_(method.G_ab.G.head[1].bias, 3.0)  # translations are white
    assert torch.equal(method._state_at(torch.tensor(0), x), x)
    means = [method._state_at(torch.tensor(k), x).mean().item() for k in range(5)]
    assert means == sorted(means) and means[4] > 0.85  # as much of the translation as 1 - 0.06 / 1 of the time


def test_a_cpu_walks_the_chain_only_as_far_as_the_time_and_draws_what_the_whole_chain_draws():
    method, x, passes = built(), images(2), []
    method.G_ab.G.register_forward_hook(lambda net, args, out: passes.append(int(args[1][0])))
    drawn = []
    for index in range(5):
        torch.manual_seed(7)
        method._state_at(torch.tensor(index), x)
        assert passes == list(range(index))
        drawn.append(torch.rand(()).item())
        passes.clear()
    assert len(set(drawn)) == 1


def test_without_its_terms_the_method_has_no_critic_and_no_projector():
    method = built(lambda_sb=0.0, lambda_nce=0.0)
    assert list(method.phases()) == ["D", "G"] and method.H is None
    assert [list(terms) for _, terms in method.losses(Batch(images(2), images(2)))] == [["fake", "real"], ["gan"]]


def test_its_judges_take_what_a_recipe_adds_to_discriminators():
    added = {"spectral_norm": True, "augment": "color,translation", "ada_target": 0.6, "updates": 2}
    settings = {"method": small("unsb"), "data": {"crop_size": 16}, "train": {"discriminator": added}}
    method = Recipe.create("unsb", settings).build(Domain(), Domain())
    for _, terms in method.losses(Batch(images(2), images(2))):
        assert all(term.isfinite() for term in terms.values())


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match=r"method\.gan wgan needs a gradient penalty, which unsb's judges have not; choose"):
        UNSBConfig(gan="wgan")
    with pytest.raises(ConfigError, match="lambda_gan is 0, so nothing is learnt of the target"):
        UNSBConfig(lambda_gan=0.0)

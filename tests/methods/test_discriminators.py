"""What a recipe adds to the discriminators of any method: the same for each of them, saved, resumed and without waiting."""

import copy
import math

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.methods import METHODS, Batch
from diptych.methods.base import discriminator_terms
from diptych.methods.discriminators import (
    DiscriminatorConfig,
    EquippedDiscriminator,
    Pace,
    discriminator_phases,
    equip,
)
from diptych.nets import MultiscaleDiscriminator, PatchGAN
from diptych.nets.spectral import spectrally_normed
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from diptych.trees import read_tree, write_tree
from tests.contract.small import CUT, small
from tests.contract.test_methods import (
    assert_a_step_never_waits,
    assert_each_phase_reaches_exactly_its_own_networks,
    assert_equal_trees,
)

SIZE = 32
JUDGED = [name for name in [*METHODS, CUT]]
ALL = {"spectral_norm": True, "augment": "color,translation,cutout,flip", "ada_target": 0.3, "ada_images": 8, "r1_every": 2}


def batch_of(n=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(n, 3, SIZE, SIZE, generator=random) * 2 - 1 for _ in "ab"))


def method_of(name, discriminator, **settings):
    torch.manual_seed(1)
    values = {"method": small(name, **settings), "data": {"crop_size": SIZE}, "train": {"discriminator": discriminator}}
    return Recipe.create(name, values).build(Domain(), Domain())


def trainee(name, discriminator, seed=1, **settings):
    values = {"method": small(name, **settings), "data": {"crop_size": SIZE}}
    values["train"] = {"discriminator": discriminator, "precision": "fp32", "ema": 0.9, "batch_size": 2}
    recipe = Recipe.create(name, values)
    torch.manual_seed(seed)
    return Trainee(recipe.build(Domain(), Domain()), recipe, torch.device("cpu"), World())


def steps(trainee, count):
    for _ in range(count):
        train_step(trainee, batch_of(seed=trainee.images // 2))
        trainee.images += 2


def has_judges(name):
    return bool(discriminator_phases(method_of(name, {})))


@pytest.mark.parametrize("name", JUDGED)
def test_every_method_bears_all_of_it_or_has_no_discriminator_and_says_so(name):
    if not has_judges(name):
        with pytest.raises(ConfigError, match=r"train\.discriminator changes how discriminators learn, .* the method has none"):
            method_of(name, ALL)
        return
    method = method_of(name, ALL, **({"lambda_r1": 1.0} if name in ("pix2pix", "cyclegan") else {}))
    assert_each_phase_reaches_exactly_its_own_networks(method, batch_of())
    assert_a_step_never_waits(trainee(name, ALL), batch_of())


@pytest.mark.parametrize("name", JUDGED)
def test_a_resumed_training_is_bit_equal_to_one_that_never_stopped(name, tmp_path):
    if not has_judges(name):
        return
    settings = {"lambda_r1": 1.0} if name in ("pix2pix", "cyclegan") else {}
    whole = trainee(name, ALL | {"updates": 3}, **settings)
    begun = trainee(name, ALL | {"updates": 3}, **settings)
    for one, count in ((whole, 6), (begun, 3)):
        torch.manual_seed(5)
        steps(one, count)
    write_tree(tmp_path / "state.safetensors", begun.state())
    resumed = trainee(name, ALL | {"updates": 3}, seed=99, **settings)
    resumed.restore(read_tree(tmp_path / "state.safetensors"))
    steps(resumed, 3)
    assert_equal_trees(resumed.state(), whole.state())


def test_spectral_norm_is_the_largest_singular_value_once_the_iteration_has_converged():
    torch.manual_seed(0)
    net = spectrally_normed(PatchGAN(3, width=4, num_layers=2))
    for _ in range(200):
        net(torch.rand(1, 3, 16, 16))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            raw = module.parametrizations.weight.original
            sigma = torch.linalg.matrix_norm(raw.detach().flatten(1), 2)
            torch.testing.assert_close(module.weight, raw / sigma, rtol=1e-3, atol=1e-4)


def test_every_weight_of_every_discriminator_is_normalised_and_none_of_a_generator():
    method = method_of("cyclegan", {"spectral_norm": True})
    for name, module in method.named_modules():
        if isinstance(module, nn.Conv2d):
            assert ("parametrizations" in module._modules) == name.startswith(("D_a", "D_b")), name


def test_generators_learn_in_every_so_many_steps_and_discriminators_in_all():
    one = trainee("cyclegan", {"updates": 3})
    moved = []
    for _ in range(6):
        before = copy.deepcopy([one.method.G_ab, one.method.D_b, one.ema.nets])
        steps(one, 1)
        after = [one.method.G_ab, one.method.D_b, one.ema.nets]
        same = [all(map(torch.equal, x.parameters(), y.parameters())) for x, y in zip(before, after, strict=True)]
        moved.append([not unchanged for unchanged in same])
    assert moved == [[False, True, False], [False, True, False], [True, True, True]] * 2


def test_a_critic_that_learns_alone_learns_as_a_plain_one_does():
    """WGAN-GP's critic (Gulrajani et al. 2017, algorithm 1): updates of -D(real) + D(fake) + 10 gp, each on a new batch."""
    one = trainee("pix2pix", {"updates": 2}, gan="wgan", norm="instance", dropout=False)
    G, D = copy.deepcopy(one.method.G_ab).double(), copy.deepcopy(one.method.D_b).double()
    one.method.double()
    adam = torch.optim.Adam(D.parameters(), 2e-4, (0.5, 0.999))
    a, b = (x.double() for x in batch_of()[:2])
    torch.manual_seed(3)
    train_step(one, Batch(a, b))
    torch.manual_seed(3)
    real, fake = torch.cat([a, b], 1), torch.cat([a, G(a).detach()], 1)
    mix = torch.rand(2, 1, 1, 1, dtype=torch.float64)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
    penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    (D(fake).mean() - D(real).mean() + 10 * penalty).backward()
    adam.step()
    for ours, plain in zip(one.method.D_b.parameters(), D.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-7)


class Constant(nn.Module):
    """Judges images by the mean of their values, four times over."""

    def forward(self, x):
        return x.mean(dim=(1, 2, 3), keepdim=True) * 4 - 1


def test_a_lazy_penalty_is_computed_rarely_and_counts_as_much_more():
    config = DiscriminatorConfig(r1_every=4)
    pace = Pace(config)
    D = EquippedDiscriminator(Constant(), config, pace)
    real, fake = torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    found = []
    for pace.step in range(8):
        terms = discriminator_terms(D, real, fake, "lsgan", lambda_gp=0.0, lambda_r1=2.0)
        found.append(terms["r1"].item() if "r1" in terms else None)
    by_hand = 4 * 2.0 * 16 * (4 / 16) ** 2 / 2  # 16 values, each of gradient 4 / 16
    assert found == [by_hand, None, None, None] * 2


def test_the_objective_of_several_scales_is_their_sum():
    torch.manual_seed(0)
    D, real, fake = MultiscaleDiscriminator(3, width=2, num_layers=1), *(torch.rand(2, 3, 32, 32) for _ in "rf")
    terms = discriminator_terms(D, real, fake, "hinge", lambda_gp=0.0, lambda_r1=1.0)
    on_real, on_fake = D(real), D(fake)
    assert len(on_real) == 2
    assert terms["real"].item() == pytest.approx(0.5 * sum((1 - x).clamp(min=0).mean().item() for x in on_real), rel=1e-5)
    assert terms["fake"].item() == pytest.approx(0.5 * sum((1 + x).clamp(min=0).mean().item() for x in on_fake), rel=1e-5)
    x = real.requires_grad_()
    (gradient,) = torch.autograd.grad(sum(scale.sum() for scale in D(x)), x)
    assert terms["r1"].item() == pytest.approx(gradient.square().sum().item() / 2 / 2, rel=1e-4)


def test_both_a_discriminator_and_its_generator_see_augmented_images():
    torch.manual_seed(0)
    method = method_of("cyclegan", {"augment": "cutout"})
    seen = []
    method.D_b.net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    list(method.losses(batch_of()))
    assert len(seen) == 2 and all((x == 0).flatten(1).float().mean(1).min() > 0.05 for x in seen)  # G's phase and D's


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": "colour"}, r"train\.discriminator\.augment must be words among color, translation, cutout, flip"),
        ({"ada_target": 0.6}, r"ada_target adapts the probability of augmentations, and there are none"),
        ({"updates": 0}, r"train\.discriminator\.updates must be at least 1, found 0"),
        ({"r1_every": 1.5}, r"train\.discriminator\.r1_every"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_built(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.create("cyclegan", {"train": {"discriminator": settings}})


def test_adaptive_augmentation_of_a_wgan_critic_is_refused():
    with pytest.raises(ConfigError, match="those of a wgan critic have none that means real"):
        Recipe.create("cyclegan", {"method": {"gan": "wgan"}, "train": {"discriminator": {"augment": "flip", "ada_target": 0.6}}})


def test_a_step_of_each_kind_is_told_by_its_number():
    pace = Pace(DiscriminatorConfig(r1_every=2, updates=3))
    kinds = []
    for pace.step in range(6):
        kinds.append(pace.kind()[:2])
    assert kinds == [(False, True), (False, False), (True, True), (False, False), (False, True), (True, False)]
    assert math.prod(len({kind[i] for kind in kinds}) for i in (0, 1)) == 4


def test_plain_discriminators_stay_as_their_method_builds_them():
    plain = method_of("cyclegan", {})
    assert isinstance(plain.D_a, PatchGAN) and equip(plain, DiscriminatorConfig()) is plain

"""BicycleGAN against a plain implementation of its objective, and codes that make one input into many answers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.bicyclegan import BicycleGANConfig
from diptych.nets import build_net
from diptych.nets.latent import LatentEncoder, LatentUNet
from diptych.nets.modes import applied
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

SIZE = 32
TINY = {"generator": "unet_3", "ngf": 4, "nef": 4, "ndf": 2, "num_layers": 1, "latent": 3}


def batch_of(seed, n=2):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(n, 3, SIZE, SIZE, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab"))


def unet(everywhere=True):
    torch.manual_seed(0)
    shape = {"in_channels": 3, "out_channels": 2, "width": 4, "num_downs": 3, "norm": "instance", "dropout": False}
    return LatentUNet(latent=3, everywhere=everywhere, **shape)


@pytest.mark.parametrize("settings", [{}, {"conditional": True, "everywhere": False}])
def test_a_step_is_the_papers(settings):
    torch.manual_seed(1)
    recipe = Recipe(BicycleGANConfig(**(TINY | settings)), train=TrainConfig(precision="fp32"))
    method = recipe.build(Domain(), Domain()).double()
    ours = Trainee(method, recipe, torch.device("cpu"), World())
    nets = G, E, D, D2 = [copy.deepcopy(net) for net in (method.G_ab, method.E_b, method.D_b, method.D_random)]
    adams = [torch.optim.Adam([p for net in pair for p in net.parameters()], 2e-4, (0.5, 0.999)) for pair in ((G, E), (D, D2))]

    def judged(a, b):
        return torch.cat([a, b], 1) if settings else b

    def objective(scales, label):
        return sum(F.mse_loss(x, torch.full_like(x, label)) for x in scales)

    for step in range(3):
        a, b, *_ = batch = batch_of(step)
        torch.manual_seed(step)
        train_step(ours, batch)

        torch.manual_seed(step)
        mu, logvar = E(b)
        z = mu + torch.randn_like(mu) * torch.exp(logvar / 2)
        z_random = torch.randn_like(mu)
        fake, random = G.translate(a, z), G.translate(a, z_random)
        loss = objective(D(judged(a, fake)), 1.0) + objective(D2(judged(a, random)), 1.0) + 10.0 * F.l1_loss(fake, b)
        normal, found = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(mu, torch.exp(logvar / 2))
        loss = loss + 0.01 * torch.distributions.kl_divergence(found, normal).sum()
        adams[0].zero_grad()
        loss.backward(retain_graph=True)
        of_E = [p.grad.clone() for p in E.parameters()]
        (0.5 * F.l1_loss(E(random)[0], z_random)).backward()  # teaches G alone
        for p, gradient in zip(E.parameters(), of_E, strict=True):
            p.grad = gradient
        adams[0].step()
        adams[1].zero_grad()
        real = judged(a, b)
        loss = objective(D(real), 1.0) + objective(D(judged(a, fake.detach())), 0.0)
        loss = loss + objective(D2(real.flip(0)), 1.0) + objective(D2(judged(a, random.detach())), 0.0)  # a batch of two
        loss.backward()
        adams[1].step()
    for net, plain in zip((method.G_ab, method.E_b, method.D_b, method.D_random), nets, strict=True):
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("everywhere", [True, False])
def test_the_code_is_seen_at_every_level_or_at_the_input(everywhere):
    net = unet(everywhere)
    convs = [next(layer for layer in down if isinstance(layer, nn.Conv2d)) for down in net.unet.downs]
    assert [conv.in_channels for conv in convs] == ([6, 7, 11] if everywhere else [6, 4, 8])
    x = torch.rand(2, 3, SIZE, SIZE)
    z = torch.zeros(2, 3)
    assert torch.equal(net.translate(x, z), net.translate(x, z))
    assert (net.translate(x, z) - net.translate(x, z + 1)).abs().max() > 1e-3


def test_each_seed_is_another_answer_and_a_snapshot_can_rebuild_it():
    net = unet().eval()
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    x = torch.rand(1, 3, 17, 20)
    assert torch.equal(net(x), twin(x)) and torch.equal(net(x), net(x)) and net(x).shape == (1, 2, 17, 20)
    with applied(net, "paper", 0) as one, applied(net, "paper", 1) as other:
        assert not torch.equal(one(x), other(x))


@pytest.mark.parametrize("size", [16, 33, 64])
def test_the_encoder_takes_images_of_any_size(size):
    mean, log_variance = LatentEncoder(3, latent=5, width=2)(torch.rand(2, 3, size, size))
    assert mean.shape == log_variance.shape == (2, 5) and mean.isfinite().all()


def test_a_generator_without_levels_is_refused():
    with pytest.raises(ConfigError, match=r"generator must be unet_N with N of at least 2, such as unet_8, found 'resnet_9'"):
        BicycleGANConfig(generator="resnet_9")

"""UVCGANv2 against a plain implementation written from its paper, and what is special about its parts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.uvcgan2 import UVCGAN2Config
from diptych.nets import VitModnet, build_net
from diptych.nets.batch_head import BatchHeadDiscriminator, FeatureQueue
from diptych.nets.vit_modnet import ModulatedConv
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.training.distributed import World
from diptych.training.ema import Ema
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.contract.small import small

SIZE = 16


def batch_of(seed, n=1):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(n, 3, SIZE, SIZE, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab"))


class PlainHead:
    """A discriminator and the features of the last three images, in a list."""

    def __init__(self, D):
        self.D, self.real, self.fake = D, [], []

    def judge(self, x, past, remember=None):
        body = self.D.body(x)
        if remember is not None:
            remember.insert(0, body.detach())
            del remember[3:]
        rows = [body, *past]
        while len(rows) < 4:
            rows.append(body)  # what the queue lacks, this image stands for
        joined = torch.cat(rows)
        mean, variance = joined.mean((0, 2, 3), keepdim=True), joined.var((0, 2, 3), keepdim=True, unbiased=False)
        norm = self.D.norm
        y = (body - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        return self.D.head(y)


def test_a_step_is_the_papers():
    torch.manual_seed(1)
    c = UVCGAN2Config(**small("uvcgan2", pool_size=3))
    method = c.build(Domain(), Domain(), SIZE).double()
    G, H, D_a, D_b = (copy.deepcopy(net) for net in (method.G_ab, method.G_ba, method.D_a, method.D_b))
    train = TrainConfig(precision="fp32", lr=1e-4, betas=(0.5, 0.99))
    ours = Trainee(method, Recipe(c, train=train), torch.device("cpu"), World())
    adams = [torch.optim.Adam([p for net in nets for p in net.parameters()], 1e-4, (0.5, 0.99)) for nets in ((G, H), (D_a, D_b))]
    heads = PlainHead(D_a), PlainHead(D_b)
    for step in range(5):
        a, b, *_ = batch = batch_of(step)
        torch.manual_seed(step)
        train_step(ours, batch)

        torch.manual_seed(step)
        fake_b, fake_a = G(a), H(b)
        on_a, on_b = heads[0].judge(fake_a, heads[0].fake), heads[1].judge(fake_b, heads[1].fake)
        cycle = F.l1_loss(H(fake_b), a) + F.l1_loss(G(fake_a), b)
        identity = F.l1_loss(G(b), b) + F.l1_loss(H(a), a)
        adams[0].zero_grad()
        ((on_a - 1) ** 2).mean().add(((on_b - 1) ** 2).mean()).add(
            (5.0 * cycle + 0.5 * 5.0 * identity) / 2
        ).backward()  # in [0, 1]
        adams[0].step()
        adams[1].zero_grad()
        for head, real, fake in ((heads[0], a, fake_a.detach()), (heads[1], b, fake_b.detach())):
            past_real, past_fake = list(head.real), list(head.fake)
            on_real, on_fake = head.judge(real, past_real, head.real), head.judge(fake, past_fake, head.fake)
            alpha = torch.rand(())
            x = ((alpha * real + (1 - alpha) * fake + 1) / 2).requires_grad_()  # in [0, 1], as the penalty's weight is published
            past = [alpha * r + (1 - alpha) * f for r, f in zip(past_real, past_fake, strict=True)]
            (gradient,) = torch.autograd.grad(head.judge(2 * x - 1, past).mean(), x, create_graph=True)
            loss = 0.5 * (((on_real - 1) ** 2).mean() + (on_fake**2).mean()) + 1.0 * gradient.square().sum()
            loss.backward()
        adams[1].step()
    for net, plain in ((method.G_ab, G), (method.G_ba, H), (method.D_a, D_a), (method.D_b, D_b)):
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_the_queue_keeps_the_newest_first_and_says_how_many_are_there():
    queue = FeatureQueue(3, 1, 1, 1)
    assert not queue.past().there.any()
    for values, expected, there in ([[1], [1, 0, 0], 1], [[2, 3], [2, 3, 1], 3], [[4, 5, 6, 7], [4, 5, 6], 3]):
        queue.push(torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1))
        assert queue.past().features.flatten().tolist() == expected and int(queue.past().there.sum()) == there


def test_what_a_discriminator_says_of_an_image_depends_on_what_it_saw_before():
    torch.manual_seed(0)
    D, queue = BatchHeadDiscriminator(3, width=4, num_layers=1), FeatureQueue(3, 8, 7, 7)
    x, others = torch.rand(1, 3, SIZE, SIZE), torch.rand(3, 3, SIZE, SIZE) * 0.1
    alone = D(x, queue.past())
    D.eval()
    torch.testing.assert_close(D(x, queue.past()), D(x))
    queue.push(D.body(others))
    assert (D(x, queue.past()) - alone).abs().max() > 1e-3
    twin = build_net(D.spec).eval()
    twin.load_state_dict(D.state_dict())
    assert torch.equal(twin(x), D(x))
    without = BatchHeadDiscriminator(3, width=4, num_layers=1, batch_norm=False).eval()
    torch.testing.assert_close(without(torch.cat([x, others]))[:1], without(x))


def test_the_weights_of_the_body_are_drawn_and_spectrally_normalised_as_published_and_not_those_of_the_head():
    D = BatchHeadDiscriminator(3, width=4, num_layers=2)
    convs = [module for module in D.body.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 3 and not any(hasattr(module, "parametrizations") for module in D.head)
    assert all(not conv.bias.any() for conv in convs) and all(conv.bias.any() for conv in (D.head[0], D.head[2]))
    drawn = torch.cat([conv.parametrizations.weight.original.flatten() for conv in convs])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.05) and drawn.abs().max() > 0.055  # normal, not uniform
    for _ in range(100):
        D(torch.rand(1, 3, SIZE, SIZE))
    for conv in convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-3)


def test_averaged_weights_warm_up_as_published():
    net = nn.ModuleDict({"a2b": nn.Linear(1, 1, bias=False)})
    net["a2b"].weight.data.zero_()
    ema, kept = Ema(net, 0.5, warm_up=True), 0.0
    for n in range(12):
        net["a2b"].weight.data.fill_(float(n + 1))
        ema.update(net)
        decay = min(0.5, (1 + n) / (10 + n))
        kept = decay * kept + (1 - decay) * (n + 1)
        assert ema.translators()["a2b"].weight.item() == pytest.approx(kept, rel=1e-5)


def test_a_warm_up_is_saved_and_resumed():
    recipe = Recipe.create("uvcgan2", {"method": small("uvcgan2"), "train": {"ema": 0.9999, "ema_warm_up": True}})
    one, other = (Trainee(recipe.method.build(Domain(), Domain(), SIZE), recipe, torch.device("cpu"), World()) for _ in "12")
    for seed in range(3):
        train_step(one, Batch(*(x.float() for x in batch_of(seed)[:2])))
    other.restore(one.state())
    assert other.ema.updates.item() == 3


# --- the generator with a transformer ---


def vit(**settings):
    torch.manual_seed(0)
    return VitModnet(3, 2, **({"width": 4, "num_downs": 2, "num_blocks": 2, "num_heads": 2} | settings))


def test_the_published_transformer_has_384_features_in_six_heads_and_its_number_of_weights():
    with torch.device("meta"):
        net = VitModnet(3, 3)
    block = 384 * 3 * 384 + 3 * 384 + 384 * 384 + 384 + 2 * 384 * 1536 + 1536 + 384 + 4 * 384 + 1
    assert net.blocks[0].heads == 6 and net.style.shape == (1, 1, 384)
    assert sum(p.numel() for p in net.blocks.parameters()) == 12 * block
    assert [level[0].out_channels for level in net.levels] == [48, 96, 192, 384]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 30)])
def test_any_size_in_gives_the_same_size_out(size):
    y = vit()(torch.rand(2, 3, *size) * 2 - 1)
    assert y.shape == (2, 2, *size) and y.isfinite().all() and y.abs().max() <= 1


def test_it_is_rebuilt_from_its_spec_and_its_output_is_the_published_sigmoid():
    net = vit().eval()
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    x, seen = torch.rand(1, 3, 16, 16), []
    net.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert torch.equal(twin(x), net(x))
    torch.testing.assert_close((net(x) + 1) / 2, torch.sigmoid(seen[0]))


def test_blocks_begin_as_the_identity_and_every_parameter_learns_in_the_second_step():
    net = vit()
    tokens = torch.rand(1, 5, 8)
    assert torch.equal(net.blocks[0](tokens), tokens)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.rand(2, 3, 16, 16)).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.abs().max() > 0 for name, p in net.named_parameters() if name.endswith(("weight", "scale", "strength")))


def test_modulation_is_the_modulated_and_demodulated_weight_of_stylegan2():
    torch.manual_seed(0)
    layer = ModulatedConv(3, 4, 5).double()
    layer.strength.data.fill_(0.7)
    x, style = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 5).double()
    for image, s, found in zip(x, 1 + 0.7 * layer.to_scale(style), layer(x, style), strict=True):
        weight = layer.conv.weight * s[None, :, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(found, F.conv2d(image[None], weight, layer.conv.bias, padding=1)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generator": "vit"}, r"method\.generator must be vit_modnet, resnet_N, or unet_N"),
        ({"gan": "wgan"}, r"method\.gan wgan needs a penalty around 1"),
        ({"lambda_gan": 0.0}, r"method\.lambda_gan must be greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        UVCGAN2Config(**settings)


def test_crops_that_are_too_small_for_the_discriminator_are_refused():
    with pytest.raises(ConfigError, match=r"data\.crop_size must be at least 24 for method\.num_layers 3, found 16"):
        UVCGAN2Config(ngf=2, ndf=2).build(Domain(), Domain(), 16)


def test_it_trains_with_the_transformer_too():
    method = UVCGAN2Config(**small("uvcgan2", generator="vit_modnet", num_blocks=1)).build(Domain(), Domain(1), SIZE)
    assert isinstance(method.G_ab, VitModnet) and method.G_ba.spec["out_channels"] == 3
    for _, terms in method.losses(Batch(torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 1, SIZE, SIZE))):
        sum(terms.values()).backward()

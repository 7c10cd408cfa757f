"""Bridges: their published coefficients, the network's scaling, and a sampler that walks exactly where it should."""

import math

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.inference.pytorch import TorchBackend
from diptych.methods import Batch
from diptych.methods.bridge import BridgeConfig
from diptych.nets import VitModnet, adjusted, build_net
from diptych.nets.bridge import EARLIEST, BridgeSampler, coefficients, scaling
from diptych.nets.modes import applied
from diptych.nets.time_unet import Attention, GroupNorm, TimeUNet
from diptych.pixels import Domain
from tests.contract.small import small

KINDS = ["vp", "brownian", "flow"]
UNET = {"in_channels": 6, "out_channels": 3, "width": 4, "num_levels": 2, "num_blocks": 1, "num_attention": 1}


def times(*values):
    return torch.tensor(values or [0.001, 0.1, 0.37, 0.5, 0.8, 0.999], dtype=torch.float64)


def sampler(kind="vp", steps=4, **settings):
    torch.manual_seed(0)
    return BridgeSampler(kind=kind, steps=steps, unet=UNET | settings)


def lively(net):
    """A network whose silent layers say something."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.2)
    return net


@pytest.mark.parametrize("kind", KINDS)
def test_a_bridge_begins_at_the_target_and_ends_at_the_source(kind):
    a, b, c = coefficients(kind, times(0.0, 1.0))
    torch.testing.assert_close(torch.stack([a, b, c]), torch.tensor([[0.0, 1], [1, 0], [0, 0]], dtype=torch.float64))
    a, b, c = coefficients(kind, times())
    assert (a.diff() > 0).all() and (b.diff() < 0).all() and ((c > 0).all() or kind == "flow")


def test_the_vp_bridge_is_ddbms_by_its_signal_to_noise_ratio():
    t = times()

    def logsnr(t):
        return -torch.log(torch.exp(0.5 * 2.0 * t**2 + 0.1 * t) - 1)

    def logs(t):
        return -0.25 * 2.0 * t**2 - 0.5 * 0.1 * t

    T = torch.ones_like(t)
    a, b, c = coefficients("vp", t)
    torch.testing.assert_close(a, torch.exp(logsnr(T) - logsnr(t) + logs(t) - logs(T)))
    torch.testing.assert_close(b, (1 - torch.exp(logsnr(T) - logsnr(t))) * torch.exp(logs(t)))
    torch.testing.assert_close(c**2, (1 - torch.exp(logsnr(T) - logsnr(t))) * torch.exp(2 * logs(t) - logsnr(t)))


def test_the_brownian_bridge_is_bbdms():
    a, b, c = coefficients("brownian", times(0.25))
    assert (a.item(), b.item(), c.item()) == pytest.approx((0.25, 0.75, math.sqrt(2 * (0.25 - 0.0625))))


def test_the_scaling_of_the_vp_bridge_keeps_inputs_and_targets_at_variance_1():
    """c_in, c_skip and c_out of DDBM, for data of deviation 1/2 without correlation (Karras et al. 2022, the same principle)."""
    t = times()
    a, b, c = coefficients("vp", t)
    skip, out, into, clock = scaling("vp", t)
    data = 0.25
    torch.testing.assert_close(into**2 * (a**2 * data + b**2 * data + c**2), torch.ones_like(t))
    # The target (x0 - skip x_t) / out has variance 1, and skip is the least-squares estimate of x0 from x_t.
    residual = (1 - skip * b) ** 2 * data + skip**2 * (a**2 * data + c**2)
    torch.testing.assert_close(residual / out**2, torch.ones_like(t))
    torch.testing.assert_close(skip, b * data / (a**2 * data + b**2 * data + c**2))
    torch.testing.assert_close(clock, 1000 * 0.25 * torch.log(t))
    assert torch.isfinite(torch.stack(scaling("vp", times(0.0, 1.0)))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_published_one(kind):
    method = BridgeConfig(**small("bridge", bridge=kind, num_levels=2, num_blocks=1)).build(Domain(), Domain(), 16).double()
    lively(method.G_ab)
    y, x0 = (torch.rand(3, 3, 16, 16, dtype=torch.float64) * 2 - 1 for _ in "ab")
    torch.manual_seed(7)
    ((phase, terms),) = method.losses(Batch(y, x0))
    torch.manual_seed(7)
    t = torch.rand(3, dtype=torch.float64) * (1 - EARLIEST) + EARLIEST
    a, b, c = (z.view(-1, 1, 1, 1) for z in coefficients(kind, t))
    noise = torch.randn_like(y)
    x = a * y + b * x0 + c * noise
    estimate, unet = method.G_ab.estimate(x, y, t), method.G_ab.unet
    if kind == "vp":  # A / (a^2 sd^4 + sd^2 c^2) |x0_hat - x0|^2
        weight = (0.25 * a**2 + 0.25 * b**2 + c**2) / (0.0625 * a**2 + 0.25 * c**2)
        expected = (weight * (estimate - x0) ** 2).mean()
    elif kind == "brownian":  # |m (y - x0) + c eps - net|, without scaling
        expected = (a * (y - x0) + c * noise - unet(torch.cat([x, y], 1), 1000 * t)).abs().mean()
    else:  # the velocity
        expected = (unet(torch.cat([x, y], 1), 1000 * t) - (x0 - y)).square().mean()
    assert phase == "G" and terms["bridge"].item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_with_a_network_that_knows_the_target_the_walk_stays_on_the_bridge_and_ends_there(kind, steps, monkeypatch):
    net, seen = sampler(kind, steps).double(), []
    y, x0 = (torch.rand(2, 3, 8, 8, dtype=torch.float64) * 1.6 - 0.8 for _ in "ab")
    monkeypatch.setattr(BridgeSampler, "estimate", lambda self, x, y, t: seen.append((t, x)) or x0)
    torch.testing.assert_close(net(y), x0)
    noise = net.noise(y)
    assert len(seen) == steps and torch.equal(seen[0][1], y)
    for t, x in seen:
        a, b, c = (z.view(-1, 1, 1, 1) for z in coefficients(kind, t.double()))
        torch.testing.assert_close(x, a * y + b * x0 + c * noise, rtol=1e-5, atol=1e-5)


def test_the_flow_is_walked_over_by_eulers_method():
    net = lively(sampler("flow", 5)).double()
    y = torch.rand(1, 3, 8, 8, dtype=torch.float64) * 0.2
    x = y
    for step in range(5):
        t = torch.full((1,), 1.0 - step / 5, dtype=torch.float64)
        x = x + net.unet(torch.cat([x, y], 1), 1000 * t) / 5
    torch.testing.assert_close(net(y), x.clamp(-1, 1), rtol=1e-4, atol=1e-4)


def test_each_seed_is_another_answer_in_mode_paper_and_mode_eval_has_one():
    net, y = lively(sampler()), torch.rand(1, 3, 8, 8) * 2 - 1
    answers = {}
    for mode, seed in (("paper", 0), ("paper", 1), ("paper", 0), ("eval", 0), ("eval", 1)):
        with applied(net, mode, seed) as translate:
            answers.setdefault((mode, seed), []).append(translate(y))
    assert torch.equal(*answers["paper", 0]) and not torch.equal(answers["paper", 0][0], answers["paper", 1][0])
    assert torch.equal(answers["eval", 0][0], answers["eval", 1][0])
    net.steps = 1
    with applied(net, "paper", 0) as one, applied(net, "paper", 1) as other:
        assert torch.equal(one(y), other(y))


def test_the_number_of_steps_is_a_users_choice_over_the_same_weights():
    net, y = lively(sampler(steps=4)).eval(), torch.rand(1, 3, 8, 8)
    other = adjusted(net, steps=2)
    assert other.steps == other.spec["steps"] == 2 and net.steps == 4 and adjusted(net) is net
    assert next(other.parameters()) is next(net.parameters()) and not torch.equal(other(y), net(y))
    with pytest.raises(ConfigError, match="at least 1 step, found 0"):
        adjusted(net, steps=0)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 12)])
def test_any_size_in_gives_the_same_size_out_and_a_sampler_is_rebuilt_from_its_spec(size):
    net = lively(sampler()).eval()
    y = torch.rand(2, 3, *size) * 2 - 1
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    assert net(y).shape == y.shape and net(y).abs().max() <= 1 and torch.equal(net(y), twin(y))


def test_attention_is_torchs_over_all_places():
    torch.manual_seed(0)
    layer = lively(Attention(128))
    x = torch.randn(2, 128, 3, 5)
    q, k, v = layer.to_qkv(layer.norm(x)).flatten(2).chunk(3, 1)
    heads = []
    for i in (0, 64):
        scores = torch.einsum("ncq,nck->nqk", q[:, i : i + 64], k[:, i : i + 64]) / 8
        heads.append(torch.einsum("nqk,nck->ncq", scores.softmax(-1), v[:, i : i + 64]))
    expected = x + layer.to_out(torch.cat(heads, 1).unflatten(2, (3, 5)))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("net", [sampler, lambda: VitModnet(3, 3, width=4, num_downs=2, num_blocks=1)])
def test_the_networks_compute_in_bfloat16_as_translators_do(net):
    net, pixels = lively(net()), torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    exact, fast = (TorchBackend(net, Domain(), Domain(), torch.device("cpu"), p, "eval", 0)(pixels) for p in ("fp32", "bf16"))
    assert (exact.float() - fast.float()).abs().mean() < 8


def test_the_network_begins_silent_and_listens_to_the_clock_once_it_has_learnt():
    net, x = TimeUNet(**UNET), torch.rand(1, 6, 8, 8)
    assert not net(x, torch.zeros(1)).any() and net.head[-1].bias is not None
    lively(net)
    assert (net(x, torch.zeros(1)) - net(x, torch.ones(1))).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BridgeConfig(bridge="ve"), r"method\.bridge must be one of vp, brownian, flow, found 've'"),
        (lambda: BridgeConfig().build(Domain(1), Domain(3), 32), r"same channels, found 1 and 3; convert one or take pix2pix"),
        (lambda: sampler(steps=0), r"walked over in at least 1 step, found 0"),
        (lambda: TimeUNet(**UNET | {"num_levels": 0}), r"found num_levels 0 and num_blocks 1"),
    ],
)
def test_what_makes_no_bridge_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_group_norm_in_bfloat16_is_the_function_and_its_gradient_and_keeps_the_layout():
    random = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 8, 6, 5, generator=random).to(torch.bfloat16) for _ in "xy")
    norm, exact = GroupNorm(4, 8), torch.nn.GroupNorm(4, 8).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0, generator=random)
    exact.load_state_dict(norm.state_dict())
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    reference = x.double().requires_grad_()
    y, expected = norm(last), exact(reference)
    y.backward(grad)
    expected.backward(grad.double())
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y.double(), expected, rtol=0.01, atol=0.01)
    torch.testing.assert_close(last.grad.double(), reference.grad, rtol=0.02, atol=0.02)
    torch.testing.assert_close(norm.weight.grad.double(), exact.weight.grad, rtol=0.02, atol=0.05)

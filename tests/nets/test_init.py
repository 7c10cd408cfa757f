import jaxtyping
import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import PatchGAN, ResNet, UNet, initialise


def kernels(net):
    return torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)])


def test_normal_init_draws_weights_of_spread_one_fiftieth_and_no_biases():
    torch.manual_seed(0)
    net = initialise(UNet(3, 3, width=8, num_downs=5))
    weights = kernels(net)
    assert abs(weights.mean()) < 3e-4 and abs(weights.std() - 0.02) < 2e-4
    scales = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert abs(scales.mean() - 1) < 0.01 and 0.015 < scales.std() < 0.025
    assert all(not p.any() for name, p in net.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("kind", ["xavier", "kaiming", "orthogonal"])
def test_other_inits_have_the_spread_of_their_formula(kind):
    torch.manual_seed(0)
    conv = initialise(nn.Sequential(nn.Conv2d(32, 16, 3)), kind, gain=0.02)[0]
    fan_in, fan_out = 32 * 9, 16 * 9
    # A 16 x 288 matrix with orthonormal rows has entries of spread 1/sqrt(288).
    spread = {
        "xavier": 0.02 * (2 / (fan_in + fan_out)) ** 0.5,
        "kaiming": (2 / fan_in) ** 0.5,
        "orthogonal": 0.02 * fan_in**-0.5,
    }[kind]
    assert conv.weight.std().item() == pytest.approx(spread, rel=0.05)


def test_init_follows_the_seed_and_returns_the_same_net():
    net = PatchGAN(3, width=4)
    torch.manual_seed(3)
    first = kernels(initialise(net)).clone()
    torch.manual_seed(3)
    assert initialise(net) is net and torch.equal(kernels(net), first)


@pytest.mark.parametrize("kind", ["normal", "xavier", "kaiming", "orthogonal"])
@pytest.mark.parametrize(
    "net",
    [
        lambda: ResNet(3, 3, width=4, num_blocks=1, upsample="pixelshuffle"),
        lambda: UNet(3, 2, width=4, num_downs=3, upsample="pixelshuffle"),
    ],
)
def test_all_four_subpixels_start_equal(net, kind):
    net = initialise(net(), kind)
    pairs = [
        (conv, layer)
        for seq in net.modules()
        if isinstance(seq, nn.Sequential)
        for conv, layer in zip(seq, list(seq)[1:], strict=False)
    ]
    upsamplings = [nn.Sequential(conv, layer) for conv, layer in pairs if isinstance(layer, nn.PixelShuffle)]
    assert len(upsamplings) >= 2
    for layers in upsamplings:
        y = layers(torch.randn(1, layers[0].in_channels, 5, 5))
        corner = y[..., ::2, ::2]
        assert corner.std() > 0
        assert all(torch.equal(y[..., i::2, j::2], corner) for i in (0, 1) for j in (0, 1))


def test_unknown_init_is_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users, whose words no type checker sees
    with pytest.raises(ConfigError, match="init must be one of normal, xavier, kaiming, orthogonal, found 'he'"):
        initialise(nn.Conv2d(1, 1, 1), "he")

"""SinCUT's networks beside functions written from the definitions of their layers."""

import pytest
import torch

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.cut import SINCUT_TAPS, CUTConfig
from diptych.nets import StyleGAN2Discriminator, StyleGAN2Generator, build_net, tapped
from diptych.pixels import Domain
from tests.reference.sincut import generated, judged

DIRECT = ("strength", "bias")


def nets(size=16):
    """A generator and a discriminator with few channels, whose biases are not 0."""
    torch.manual_seed(0)
    G = StyleGAN2Generator(3, 3, width=1, size=256).double().eval()
    D = StyleGAN2Discriminator(3, width=1, size=size).double()
    for net in (G, D):
        for name, parameter in net.named_parameters():
            if name.endswith(DIRECT):
                torch.nn.init.normal_(parameter)
    return G, D


def in_order(net, *parts):
    """The weights of parts, in the order in which the reference takes them."""
    return [parameter for part in parts for parameter in getattr(net, part).parameters()]


def test_the_generator_and_its_taps_are_the_published_ones():
    G, _ = nets()
    x = torch.rand(2, 3, 8, 12, dtype=torch.float64) * 2 - 1
    expected, maps = generated(x, in_order(G, "stem", "down", "blocks", "up", "head"))
    found, seen = tapped(G, x, SINCUT_TAPS)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(seen, maps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert torch.equal(G(x), found) and found.std() > 0.1


def test_the_discriminator_is_the_published_one_of_one_size():
    _, D = nets()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    weights = [*in_order(D, "body", "first"), D.last, D.bias]
    torch.testing.assert_close(D(x).flatten(1), judged(x, weights), rtol=1e-10, atol=1e-10)
    assert torch.equal(D.features(x)[-1], D(x))
    for size in (4, 48):
        with pytest.raises(ConfigError, match=f"this discriminator needs crops of 8, 16, 32 ... pixels, found {size}"):
            StyleGAN2Discriminator(3, size=size)


def test_the_published_widths_and_numbers_of_weights():
    with torch.device("meta"):
        G, D = StyleGAN2Generator(3, 3), StyleGAN2Discriminator(3)
    assert G.channels == [80, 160]
    assert [layer.layers[1].weight.shape[0] for layer in D.body[1:-1]] == [64, 128, 256, 384]
    down = 80 * 80 * 9 + 80 + 160 * 80 * 9 + 160 + 160 * 80
    expected = 3 * 80 + 80 + down + 6 * 2 * (160 * 160 * 9 + 160) + 80 * 160 * 9 + 1 + 80 + 80 * 3 + 3
    assert sum(p.numel() for p in G.parameters()) == expected


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (16, 16)])
def test_any_size_in_gives_the_same_size_out_and_noise_is_of_training_alone(size):
    G, _ = nets()
    x = torch.rand(1, 3, *size, dtype=torch.float64)
    twin = build_net(G.spec).double().eval()
    twin.load_state_dict(G.state_dict())
    assert torch.equal(G(x), twin(x)) and G(x).shape == x.shape
    G.train()
    assert not torch.equal(G(x), G(x))


def test_an_unknown_tap_is_answered_with_those_that_there_are():
    with pytest.raises(ConfigError, match="no tap 'down_2'; it has input, down_1, block_1, block_2"):
        nets()[0].position("down_2")


def test_cut_learns_single_images_with_them():
    torch.manual_seed(0)
    settings = {"generator": "stylegan2", "gan": "vanilla", "num_patches": 1, "negatives": "batch", "projection": 8}
    settings |= {"lambda_nce": 4.0, "lambda_nce_idt": 4.0, "lambda_identity": 1.0, "lambda_r1": 1.0, "ngf": 1, "ndf": 1}
    method = CUTConfig(**settings).build(Domain(), Domain(), 8)
    assert [head[0].in_features for head in method.H.heads] == [3, *2 * [method.G_ab.channels[1]]]
    assert method.G_ab.stem.weight.std() > 0.9  # not drawn again by method.init
    batch = Batch(*(torch.rand(4, 3, 8, 8) * 2 - 1 for _ in "ab"))
    for phase, terms in method.losses(batch):
        sum(terms.values()).backward()
        expected = {"D": {"fake", "real", "r1"}, "G": {"gan", "nce", "nce_idt", "idt_b"}}
        assert terms.keys() == expected[phase]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())

import copy

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import Projector, ResNet, cut_taps, initialise, recompute_stages, tapped, taps
from diptych.nets.blocks import pad_to_multiple
from diptych.nets.resnet import tap_channels

BLUR = {"downsample": "blur", "upsample": "blur"}


def by_the_numbers(net, x, numbers):
    """The outputs of the published flat list of layers at these numbers, as the authors' code counts them."""
    layers, kept = [*net.stem, *net.down, *net.blocks, *net.up, *net.head], []
    x = pad_to_multiple(x, 4, smallest=8)
    for number, layer in enumerate(layers):
        x = layer(x)
        if number in numbers:
            kept.append(x.clone())
    return kept


def test_the_taps_of_cut_are_the_published_ones():
    net, x = ResNet(3, 3, width=2, num_blocks=9, **BLUR), torch.rand(2, 3, 20, 23)
    assert cut_taps(9) == ("input", "down_1", "down_2", "block_1", "block_5")
    found = taps(net, x, cut_taps(9))
    assert [tuple(y.shape[1:]) for y in found] == [(3, 26, 30), (4, 20, 24), (8, 10, 12), (8, 5, 6), (8, 5, 6)]
    for one, other in zip(found, by_the_numbers(net, x, (0, 4, 8, 12, 16)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("norm", ["instance", "instance_affine", "none"])
@pytest.mark.parametrize("how", [{}, BLUR, {"upsample": "pixelshuffle"}, {"upsample": "resize"}])
def test_tapping_changes_neither_output_nor_maps(norm, how):
    net, x = ResNet(3, 2, width=2, num_blocks=3, norm=norm, **how), torch.rand(1, 3, 16, 16)
    names = ["head", "up_2", "up_1", "block_3", "block_1", "down_2", "down_1", "input"]
    output, maps = tapped(net, x, names)
    assert torch.equal(output, net(x))
    assert all(torch.equal(y, taps(net, x, [name])[0]) for name, y in zip(names, maps, strict=True))
    encoder = cut_taps(3)
    assert tap_channels(encoder, 3, 2) == [y.shape[1] for y in taps(net, x, encoder)]


def test_the_network_is_computed_up_to_the_last_tap_only():
    net, calls = ResNet(3, 3, width=2, num_blocks=4), []
    for index, block in enumerate(net.blocks):
        block.register_forward_hook(lambda *_, index=index: calls.append(index))
    taps(net, torch.rand(1, 3, 16, 16), ["block_2", "down_1"])
    assert calls == [0, 1]


def test_maps_bring_the_same_gradients_when_stages_are_recomputed():
    net, x = ResNet(3, 3, width=2, num_blocks=2), torch.rand(1, 3, 16, 16)
    twin = copy.deepcopy(net)
    recompute_stages(twin)
    for one in (net, twin):
        output, maps = tapped(one, x, ["down_2", "block_1"])
        (output.square().mean() + sum(y.square().mean() for y in maps)).backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(net.parameters(), twin.parameters(), strict=True))


def test_few_blocks_have_few_taps_and_unknown_ones_are_named():
    assert cut_taps(6)[3:] == ("block_1", "block_3") and cut_taps(1)[3:] == ("block_1",) and cut_taps(0)[3:] == ()
    with pytest.raises(ConfigError, match="this generator has no tap 'block_3'; it has input, block_1, block_2, head, down_1"):
        taps(ResNet(3, 3, width=2, num_blocks=2), torch.rand(1, 3, 16, 16), ["block_3"])


def test_a_projector_makes_unit_vectors_by_an_mlp_for_each_tap():
    torch.manual_seed(0)
    H = initialise(Projector([3, 8], width=16), "normal", 1.0)
    patches = [torch.rand(2, 7, 3), torch.rand(2, 4, 8)]
    found = H(patches)
    assert [tuple(y.shape) for y in found] == [(2, 7, 16), (2, 4, 16)]
    for head, x, y in zip(H.heads, patches, found, strict=True):
        plain = torch.relu(x @ head[0].weight.T + head[0].bias) @ head[2].weight.T + head[2].bias
        assert torch.allclose(y, plain / (plain.square().sum(-1, keepdim=True).sqrt() + 1e-7), atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(y.dtype == torch.float32 and torch.allclose(y.norm(dim=-1), torch.ones(())) for y in H(patches))


def test_linear_layers_are_initialised_as_convolutions_are():
    torch.manual_seed(0)
    linear = initialise(nn.Sequential(nn.Linear(200, 300)), "xavier", 0.02)[0]
    assert linear.weight.std().item() == pytest.approx(0.02 * (2 / 500) ** 0.5, rel=0.05) and not linear.bias.any()

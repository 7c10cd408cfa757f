"""pix2pixHD's networks against plain ones written layer by layer as published, and for images of any size."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import GlobalGenerator, LocalEnhancer, MultiscaleDiscriminator, build_net


def copied(ours, plain):
    """The plain network with our weights, which are taken in order."""
    for one, other in zip(plain.parameters(), ours.parameters(), strict=True):
        one.data.copy_(other.data)
    return plain


class PlainBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        pads = (nn.ReflectionPad2d(1), nn.ReflectionPad2d(1))
        convs = (nn.Conv2d(channels, channels, 3), nn.Conv2d(channels, channels, 3))
        self.conv_block = nn.Sequential(
            pads[0], convs[0], nn.InstanceNorm2d(channels), nn.ReLU(), pads[1], convs[1], nn.InstanceNorm2d(channels)
        )

    def forward(self, x):
        return x + self.conv_block(x)


def plain_global(in_channels, width, num_downs, num_blocks):
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
    for level in range(num_downs):
        c = width * 2**level
        layers += [nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * c), nn.ReLU()]
    layers += [PlainBlock(width * 2**num_downs) for _ in range(num_blocks)]
    for level in range(num_downs, 0, -1):
        c = width * 2**level
        layers += [nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1), nn.InstanceNorm2d(c // 2), nn.ReLU()]
    return nn.Sequential(*layers)


def head(width, out_channels):
    return [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]


def test_the_global_generator_is_the_published_one():
    torch.manual_seed(0)
    ours = GlobalGenerator(5, 3, width=2, num_downs=3, num_blocks=2).double()
    plain = copied(ours, nn.Sequential(*plain_global(5, 2, 3, 2), *head(2, 3)).double())
    x = torch.rand(2, 5, 32, 48, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(ours(x), plain(x))


def test_the_published_global_generator_has_its_number_of_weights():
    with torch.device("meta"):
        net = GlobalGenerator(3, 3)
    stem, last = 3 * 49 * 64 + 64, 64 * 49 * 3 + 3
    downs = sum(9 * c * 2 * c + 2 * c for c in (64, 128, 256, 512))
    ups = sum(9 * c * 2 * c + c for c in (64, 128, 256, 512))
    blocks = 9 * 2 * (9 * 1024 * 1024 + 1024)
    assert sum(p.numel() for p in net.parameters()) == stem + downs + blocks + ups + last


def test_the_local_enhancer_adds_its_features_to_those_of_the_halved_image():
    torch.manual_seed(0)
    ours = LocalEnhancer(3, 3, width=2, num_downs=2, num_blocks=1, num_local_blocks=2).double()
    coarse = copied(ours.coarse, plain_global(3, 4, 2, 1).double())
    down = nn.Sequential(
        *(nn.ReflectionPad2d(3), nn.Conv2d(3, 2, 7), nn.InstanceNorm2d(2), nn.ReLU()),
        *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.InstanceNorm2d(4), nn.ReLU()),
    )
    up = nn.Sequential(
        *(PlainBlock(4), PlainBlock(4), nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1)),
        *(nn.InstanceNorm2d(2), nn.ReLU()),
    )
    (enhancer,) = ours.enhancers
    copied(enhancer, nn.ModuleList([down, up]).double())
    last = copied(ours.head, nn.Sequential(*head(2, 3)).double())
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    half = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    torch.testing.assert_close(ours(x), last(up(down(x) + coarse(half))))


def test_each_enhancer_doubles_the_resolution_of_the_one_before():
    net = LocalEnhancer(1, 2, width=2, num_downs=1, num_blocks=1, num_enhancers=2, num_local_blocks=1)
    assert net.coarse.spec["width"] == 8 and [e.up[0].out_channels for e in net.enhancers] == [4, 2]
    assert net(torch.rand(1, 1, 16, 16)).shape == (1, 2, 16, 16)


def test_the_discriminators_are_patchgans_with_padding_of_two_on_a_pyramid():
    torch.manual_seed(0)
    ours = MultiscaleDiscriminator(6, width=2, num_layers=3, num_scales=2).double()
    found = ours.features(x := torch.rand(2, 6, 32, 40, dtype=torch.float64))
    for scale, layers in zip(ours.scales, found, strict=True):
        plain = [nn.Sequential(nn.Conv2d(6, 2, 4, stride=2, padding=2), nn.LeakyReLU(0.2))]
        for i, o, stride in ((2, 4, 2), (4, 8, 2), (8, 16, 1)):
            plain += [nn.Sequential(nn.Conv2d(i, o, 4, stride, padding=2), nn.InstanceNorm2d(o), nn.LeakyReLU(0.2))]
        y = x
        for ours_found, layer in zip(
            layers, copied(scale, nn.ModuleList([*plain, nn.Conv2d(16, 1, 4, padding=2)]).double()), strict=True
        ):
            y = layer(y)
            torch.testing.assert_close(ours_found, y)
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    assert [logits.shape for logits in ours(torch.rand(1, 6, 32, 40).double())] == [(1, 1, 7, 8), (1, 1, 5, 6)]


NETS = {
    "global": lambda: GlobalGenerator(3, 2, width=2, num_downs=2, num_blocks=1),
    "local": lambda: LocalEnhancer(3, 2, width=2, num_downs=1, num_blocks=1, num_local_blocks=1),
}


@pytest.mark.parametrize("size", [(1, 1), (5, 4), (7, 30), (17, 33)])
@pytest.mark.parametrize("name", NETS)
def test_any_size_in_gives_the_same_size_out(name, size):
    y = NETS[name]()(torch.rand(1, 3, *size) * 2 - 1)
    assert y.shape == (1, 2, *size) and y.isfinite().all() and y.abs().max() <= 1


@pytest.mark.parametrize("net", [NETS["global"](), NETS["local"](), MultiscaleDiscriminator(3, width=2, num_layers=1)])
def test_every_network_is_rebuilt_from_its_spec(net):
    twin = build_net(net.spec)
    twin.load_state_dict(net.state_dict())
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(twin(x), net(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: GlobalGenerator(3, 3, num_downs=0), "pix2pixHD's generator needs at least 1 downsampling, found 0"),
        (lambda: LocalEnhancer(3, 3, num_enhancers=0), "num_enhancers of at least 1, found 0"),
        (lambda: MultiscaleDiscriminator(3, num_scales=0), "found num_layers 3 and num_scales 0"),
    ],
)
def test_a_network_without_its_parts_is_refused(net, message):
    with pytest.raises(ConfigError, match=message):
        net()

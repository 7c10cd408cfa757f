import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import PatchGAN, ResNet, UNet, build_net, generator
from diptych.nets.blocks import BlurDown, BlurUp
from diptych.nets.resnet import ResidualBlock

BLUR = {"downsample": "blur", "upsample": "blur"}


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 3), (4, 4), (4, 40), (5, 4), (7, 9), (8, 8), (9, 17), (31, 18), (33, 64)])
@pytest.mark.parametrize(("norm", "how"), [("instance", {}), ("batch", {}), ("instance", BLUR)])
def test_any_size_in_gives_the_same_size_out(size, norm, how):
    y = ResNet(3, 2, width=2, num_blocks=1, norm=norm, **how)(torch.rand(1, 3, *size) * 2 - 1)
    assert y.shape == (1, 2, *size) and y.isfinite().all() and y.abs().max() <= 1


@pytest.mark.parametrize("upsample", ["transposed", "resize", "pixelshuffle", "blur"])
@pytest.mark.parametrize("downsample", ["strided", "blur"])
@pytest.mark.parametrize("dropout", [False, True])
def test_every_variant_is_rebuilt_from_its_spec(downsample, upsample, dropout):
    how = {"downsample": downsample, "upsample": upsample}
    net = ResNet(1, 4, width=2, num_blocks=2, norm="instance_affine", dropout=dropout, **how).eval()
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    x = torch.rand(2, 1, 12, 13)
    assert torch.equal(twin(x), net(x)) and net(x).shape == (2, 4, 12, 13)


@pytest.mark.parametrize("padding", ["reflect", "replicate", "zero"])
@pytest.mark.parametrize("place", ["padding", "edge_padding", "resize_padding"])
def test_the_border_is_padded_as_the_setting_says(padding, place):
    """Compared with F.pad before convolutions without padding of their own, in the part of the network that the setting names."""
    torch.manual_seed(0)
    net = ResNet(3, 3, width=2, num_blocks=1, norm="none", upsample="resize", **{place: padding})
    layers = {"padding": net.blocks[0].layers, "edge_padding": net.stem, "resize_padding": net.up}[place]
    x = torch.rand(1, {"padding": 8, "edge_padding": 3, "resize_padding": 8}[place], 8, 9)
    y = x
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            margin = layer.kernel_size[0] // 2
            mode = {"zero": "constant"}.get(padding, padding)
            y = F.conv2d(F.pad(y, [margin] * 4, mode=mode), layer.weight, layer.bias)
        elif isinstance(layer, torch.nn.ReLU | torch.nn.Upsample):
            y = layer(y)
    torch.testing.assert_close(layers(x), y, atol=1e-6, rtol=0)
    assert build_net(net.spec).spec == net.spec


def test_convolutions_have_biases_as_the_setting_says():
    for bias, norm, expected in (
        (None, "instance", True),
        (None, "batch", False),
        (False, "instance", False),
        (True, "batch", True),
    ):
        for net in (
            ResNet(3, 3, width=2, num_blocks=1, norm=norm, bias=bias).stem[1],
            UNet(3, 3, width=2, num_downs=3, norm=norm, bias=bias).downs[1][1],
            PatchGAN(3, width=2, norm=norm, bias=bias).layers[2],
        ):
            assert (net.bias is not None) == expected


def test_an_unknown_padding_is_refused():
    with pytest.raises(ConfigError, match="padding must be reflect, replicate or zero, found 'circular'"):
        ResNet(3, 3, width=2, padding="circular")


def test_the_blocks_add_to_their_input():
    net = ResNet(3, 3, width=2, num_blocks=3, norm="none")
    for parameter in net.blocks.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.rand(1, 8, 4, 4)
    assert torch.equal(net.blocks(x), x)


def test_images_leave_in_float32_under_bf16():
    with torch.autocast("cpu", torch.bfloat16):
        assert ResNet(3, 3, width=2, num_blocks=1)(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_gradients_reach_every_parameter():
    net = ResNet(3, 3, width=2, num_blocks=2, norm="instance_affine")
    net(torch.rand(2, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_generators_are_found_by_their_recipe_names():
    assert len(generator("resnet_6", 3, 3, width=2).blocks) == 6
    with pytest.raises(
        ConfigError,
        match=r"generator must be resnet_N, unet_N or encoder_decoder_N with a number N, found 'resnet_9blocks'; e.g. resnet_9",
    ):
        generator("resnet_9blocks", 3, 3)
    with pytest.raises(ConfigError, match=r"no network is called 'vit'; known: resnet, unet, .*patchgan"):
        build_net({"net": "vit"})


def test_the_anti_aliased_layers_stand_where_cut_published_them():
    net = ResNet(3, 3, width=2, num_blocks=9, **BLUR)
    layers = [*net.stem, *net.down, *net.blocks, *net.up, *net.head]
    kinds = {nn.Conv2d: "conv", BlurDown: "down", BlurUp: "up", ResidualBlock: "block"}
    found = {index: name for index, layer in enumerate(layers) for kind, name in kinds.items() if isinstance(layer, kind)}
    published = {1: "conv", 4: "conv", 7: "down", 8: "conv", 11: "down", 21: "up", 22: "conv", 25: "up", 26: "conv", 30: "conv"}
    assert found == published | {index: "block" for index in range(12, 21)}
    assert all(layers[index].stride == (1, 1) for index in (4, 8))

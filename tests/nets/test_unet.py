import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import UNet, build_net, generator


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 3), (8, 8), (7, 9), (16, 16), (31, 18), (33, 64)])
@pytest.mark.parametrize("options", [{"norm": "instance"}, {"norm": "batch"}, {"norm": "batch", "skips": False}])
def test_any_size_in_gives_the_same_size_out(size, options):
    y = UNet(3, 2, width=2, num_downs=4, **options)(torch.rand(1, 3, *size) * 2 - 1)
    assert y.shape == (1, 2, *size) and y.isfinite().all() and y.abs().max() <= 1


@pytest.mark.parametrize("num_downs", [2, 3, 5, 8])
def test_every_depth_halves_down_to_one_pixel(num_downs):
    net = UNet(3, 3, width=2, num_downs=num_downs).eval()
    sizes = []
    net.downs[-1].register_forward_hook(lambda *args: sizes.append(args[2].shape[-2:]))
    net(torch.rand(1, 3, 2**num_downs, 2**num_downs))
    assert sizes == [(1, 1)]


@pytest.mark.parametrize("upsample", ["transposed", "resize", "pixelshuffle"])
@pytest.mark.parametrize("skips", [True, False])
def test_every_variant_is_rebuilt_from_its_spec(upsample, skips):
    net = UNet(1, 4, width=2, num_downs=5, upsample=upsample, skips=skips, dropout=False).eval()
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    x = torch.rand(2, 1, 32, 33)
    assert torch.equal(twin(x), net(x)) and net(x).shape == (2, 4, 32, 33)


@pytest.mark.parametrize(("num_downs", "dropouts"), [(5, 0), (6, 1), (7, 2), (8, 3), (9, 4)])
def test_dropout_stands_in_the_inner_levels_of_full_width_only(num_downs, dropouts):
    with torch.device("meta"):
        net = UNet(3, 3, num_downs=num_downs)
    found = [any(isinstance(layer, nn.Dropout) for layer in up) for up in net.ups]
    assert found == [False] + [True] * dropouts + [False] * 3


def test_without_skips_nothing_goes_around_the_bottleneck():
    x = torch.rand(1, 3, 16, 16)
    for skips, passes in ((True, True), (False, False)):
        net = UNet(3, 3, width=2, num_downs=4, norm="none", skips=skips).eval()
        net.downs[-1].register_forward_hook(lambda *args: torch.zeros_like(args[2]))
        assert torch.equal(net(x), net(-x)) is not passes


def test_images_leave_in_float32_under_bf16():
    with torch.autocast("cpu", torch.bfloat16):
        assert UNet(3, 3, width=2, num_downs=3)(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_gradients_reach_every_parameter():
    net = UNet(3, 3, width=2, num_downs=4)
    net(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_unets_are_found_by_their_recipe_names_and_need_two_levels():
    assert generator("unet_3", 3, 3, width=2).skips and not generator("encoder_decoder_3", 3, 3, width=2).skips
    with pytest.raises(ConfigError, match="a U-Net needs at least 2 downsamplings, found 1"):
        generator("unet_1", 3, 3)

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import PatchGAN, ResNet, UNet, apply_each
from diptych.nets.blocks import (
    BlurDown,
    BlurUp,
    crop_centre,
    downsampling,
    full_precision,
    margins,
    norm_layer,
    pad_to_multiple,
    upsampling,
)


@pytest.mark.parametrize("multiple", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 5), (8, 8), (13, 40), (33, 31)])
def test_padding_then_cropping_is_the_identity(size, multiple):
    x = torch.rand(2, 3, *size)
    padded = pad_to_multiple(x, multiple)
    assert all(side % multiple == 0 and side - was < multiple for side, was in zip(padded.shape[-2:], size, strict=True))
    assert torch.equal(crop_centre(padded, *size), x)


def test_padding_mirrors_and_repeats_the_border_only_where_there_is_nothing_to_mirror():
    row = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]])
    assert pad_to_multiple(row.expand(1, 1, 8, 5), 8)[0, 0, 0].tolist() == [2, 1, 2, 3, 4, 5, 4, 3]
    assert pad_to_multiple(row[..., :1].expand(1, 1, 4, 1), 4)[0, 0, 0].tolist() == [1, 1, 1, 1]


def test_padding_reaches_the_smallest_size_and_leaves_larger_images_alone():
    assert pad_to_multiple(torch.rand(1, 1, 3, 13), 4, smallest=8).shape[-2:] == (8, 16)
    x = torch.rand(1, 1, 8, 12)
    assert pad_to_multiple(x, 4, smallest=8) is x


@pytest.mark.parametrize("kind", ["transposed", "resize", "pixelshuffle", "blur"])
@pytest.mark.parametrize("kernel_size", [3, 4])
@pytest.mark.parametrize("size", [(2, 2), (3, 7), (8, 5)])
def test_every_upsampling_doubles_height_and_width(kind, kernel_size, size):
    layers = nn.Sequential(*upsampling(kind, 4, 3, kernel_size=kernel_size, bias=True))
    assert layers(torch.rand(2, 4, *size)).shape == (2, 3, 2 * size[0], 2 * size[1])


def test_unknown_norm_and_upsampling_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users, whose words no type checker sees
    with pytest.raises(ConfigError, match="norm must be one of batch, instance, instance_affine, none, found 'layer'"):
        norm_layer("layer", 3)
    with pytest.raises(ConfigError, match="upsample must be one of transposed, resize, pixelshuffle, blur, found 'bilinear'"):
        upsampling("bilinear", 3, 3, kernel_size=3, bias=True)
    with pytest.raises(ConfigError, match="downsample must be one of strided, blur, found 'pool'"):
        downsampling("pool", lambda stride: nn.Conv2d(3, 3, 3, stride))


def test_the_norms_are_the_published_ones():
    batch, instance = norm_layer("batch", 5), norm_layer("instance", 5)
    assert (batch.eps, batch.momentum, batch.affine, batch.track_running_stats) == (1e-5, 0.1, True, True)
    assert (instance.eps, instance.affine, instance.track_running_stats) == (1e-5, False, False)
    assert not list(instance.state_dict()) and list(norm_layer("instance_affine", 5).state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("dtype", "out"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_full_precision_is_at_least_float32(dtype, out):
    assert full_precision(torch.zeros(1, dtype=dtype)).dtype == out


@pytest.mark.parametrize(
    "net",
    [ResNet(3, 3, width=4, num_blocks=2), PatchGAN(3, width=4, num_layers=2), UNet(3, 3, width=2, num_downs=3, norm="instance")],
)
def test_one_joined_call_is_bit_equal_to_separate_calls_without_batch_norm(net):
    calls = []
    net.register_forward_hook(lambda *_: calls.append(1))
    inputs = torch.rand(2, 3, 16, 16), torch.rand(4, 3, 16, 16), torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        joined = apply_each(net, *inputs)
        assert len(calls) == 1
        assert all(torch.equal(y, net(x)) for x, y in zip(inputs, joined, strict=True))


def test_single_images_in_one_joined_call_differ_by_the_rounding_of_the_kernels_only():
    net = ResNet(3, 3, width=4, num_blocks=2).double()
    inputs = torch.rand(1, 3, 16, 16).double(), torch.rand(1, 3, 16, 16).double()
    with torch.no_grad():
        joined = apply_each(net, *inputs)
        assert all(torch.allclose(y, net(x), rtol=0, atol=1e-12) for x, y in zip(inputs, joined, strict=True))


def test_batches_do_not_share_the_statistics_of_batch_norm():
    net = PatchGAN(3, width=4, num_layers=2, norm="batch").train()
    bright, dark = torch.rand(2, 3, 16, 16), -torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        joined = apply_each(net, bright, dark)
        assert all(torch.equal(y, net(x)) for x, y in zip((bright, dark), joined, strict=True))
        assert not torch.allclose(net(torch.cat([bright, dark])), torch.cat(joined), atol=1e-3)


@pytest.mark.parametrize(
    ("size", "multiple", "smallest", "expected"),
    [(8, 4, 8, (0, 0)), (9, 4, 8, (1, 2)), (11, 4, 8, (0, 1)), (3, 4, 8, (2, 3)), (1, 32, 0, (15, 16)), (64, 32, 0, (0, 0))],
)
def test_margins_reach_the_next_multiple_with_the_odd_pixel_at_the_end(size, multiple, smallest, expected):
    assert margins(size, multiple, smallest) == expected


def depthwise(row, channels, gain=1.0):
    """A kernel for each channel: the outer product of a row with itself, of sum ``gain``."""
    row = torch.tensor(row, dtype=torch.float64)
    kernel = row[:, None] * row
    return (gain * kernel / kernel.sum()).expand(channels, 1, len(row), len(row))


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (5, 8), (16, 9)])
def test_a_blur_down_is_the_published_convolution(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    published = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), depthwise([1, 2, 1], 3), stride=2, groups=3)
    assert torch.allclose(BlurDown()(x), published, rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", [(2, 3), (5, 8)])
def test_gradients_of_a_blur_down_are_those_of_small_differences(size):
    x = torch.rand(1, 2, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(BlurDown(), x)
    assert torch.autograd.gradgradcheck(BlurDown(), x)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 8), (16, 9)])
def test_a_blur_up_is_the_published_transposed_convolution(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    published = F.conv_transpose2d(padded, depthwise([1, 3, 3, 1], 3, 4.0), stride=2, padding=2, groups=3)[..., 1:-1, 1:-1]
    assert torch.allclose(BlurUp()(x), published, rtol=0, atol=1e-14)


@pytest.mark.parametrize("layer", [BlurDown(), BlurUp()])
def test_blurs_keep_precision_and_layout_under_bf16(layer):
    x = torch.rand(2, 8, 6, 6, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16 and y.is_contiguous(memory_format=torch.channels_last)

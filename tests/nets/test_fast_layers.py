"""Layers that take another way for speed compute the same function as PyTorch's own, in value and in every gradient."""

import pytest
import torch
from torch import nn

from diptych.nets import PatchGAN, ResNet, UNet
from diptych.nets import convolutions as fast
from diptych.nets.instance_norm import InstanceNorm, channels_innermost

INNERMOST = torch.channels_last


def compare(own, reference, x, *, second_order=True):
    """Equal output, input gradient, weight gradients and, as gradient penalties need them, gradients of gradients."""
    reference.load_state_dict(own.state_dict())
    answers = []
    for net in (own, reference):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = net(leaf)
        probe = torch.linspace(-1, 1, y.numel(), dtype=x.dtype).view_as(y)
        gradients = torch.autograd.grad((y * probe).sum(), [leaf, *net.parameters()], create_graph=second_order)
        answers.append([y, *gradients])
        if second_order:
            penalty = (gradients[0] * torch.cos(leaf)).square().sum()
            answers[-1] += torch.autograd.grad(penalty, [leaf, *net.parameters()], allow_unused=True)
    for ours, theirs in zip(*answers, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 4, 6), (3, 4, 7, 5), (2, 1, 3, 3), (2, 6, 1, 2)])
def test_instance_norm_is_the_same_function_in_both_layouts(shape, affine):
    x = torch.randn(shape, dtype=torch.float64)
    own, reference = InstanceNorm(shape[1], affine=affine).double(), nn.InstanceNorm2d(shape[1], affine=affine).double()
    for parameter in own.parameters():
        nn.init.uniform_(parameter)
    compare(own, reference, x)
    compare(own, reference, x.to(memory_format=INNERMOST))


def test_instance_norm_keeps_the_layout_that_it_is_given_also_in_the_backward_pass():
    norm, x = InstanceNorm(4), torch.randn(2, 4, 5, 6)
    for layout in (torch.contiguous_format, INNERMOST):
        leaf = x.to(memory_format=layout).detach().requires_grad_()
        y = norm(leaf)
        y.backward(torch.ones_like(y))
        assert y.is_contiguous(memory_format=layout) and leaf.grad.is_contiguous(memory_format=layout)
    assert channels_innermost(x.to(memory_format=INNERMOST)) and not channels_innermost(x)


def test_instance_norm_of_bf16_images_has_float32_statistics():
    x = (torch.randn(2, 3, 16, 16) + 100).to(torch.bfloat16)  # in bf16, the mean of these would be off by up to 0.25
    with torch.autocast("cpu", torch.bfloat16):
        y = InstanceNorm(3)(x.to(memory_format=INNERMOST))
    exact = nn.InstanceNorm2d(3)(x.float())
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).abs().max() < 0.02


def test_a_flat_map_of_one_position_is_refused_as_by_the_base_class():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        InstanceNorm(3).train()(torch.rand(2, 3, 1, 1).to(memory_format=INNERMOST))


def test_inside_a_network_bf16_stays_bf16():
    kinds = set()
    net = ResNet(3, 3, width=4, num_blocks=2)
    for layer in net.blocks.modules():
        layer.register_forward_hook(lambda layer, inputs, output: kinds.add(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        net(torch.rand(1, 3, 16, 16))
    assert kinds == {torch.bfloat16}


@pytest.mark.parametrize("layout", [torch.contiguous_format, INNERMOST])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (3, 1, 0), (4, 1, 1), (1, 1, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_as_one_product_is_the_same_function(monkeypatch, layout, kernel, stride, padding, bias):
    monkeypatch.setattr(fast, "MANY", 1)
    x = torch.randn(2, 3, 6, 9, dtype=torch.float64).to(memory_format=layout)
    arguments = (3, 5, kernel, stride, padding)
    compare(fast.Conv2d(*arguments, bias=bias).double(), nn.Conv2d(*arguments, bias=bias).double(), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, INNERMOST])
@pytest.mark.parametrize(("kernel", "stride", "padding", "more"), [(4, 2, 1, 0), (3, 2, 1, 1), (3, 1, 0, 0)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_convolution_as_one_product_is_the_same_function(monkeypatch, layout, kernel, stride, padding, more, bias):
    monkeypatch.setattr(fast, "MANY", 1)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=layout)
    arguments = (3, 5, kernel, stride, padding, more)
    compare(fast.ConvTranspose2d(*arguments, bias=bias).double(), nn.ConvTranspose2d(*arguments, bias=bias).double(), x)


def test_only_many_weights_on_few_positions_become_a_product(monkeypatch):
    def refuse(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(fast.F, "unfold", refuse)
    fast.Conv2d(256, 8, 4, 2, 1)(torch.rand(1, 256, 8, 8))  # few weights
    fast.Conv2d(256, 256, 4, 2, 1)(torch.rand(2, 256, 32, 32))  # 512 positions
    with pytest.raises(InterruptedError):
        fast.Conv2d(256, 256, 4, 2, 1)(torch.rand(1, 256, 32, 32))


@pytest.mark.parametrize(
    "net",
    [
        ResNet(3, 2, width=4, num_blocks=2),
        UNet(3, 2, width=4, num_downs=3, dropout=False),
        UNet(3, 2, width=4, num_downs=3, norm="instance", upsample="pixelshuffle", dropout=False),
        PatchGAN(3, width=4, num_layers=2),
    ],
    ids=["resnet", "unet", "unet-instance", "patchgan"],
)
def test_every_network_computes_the_same_from_images_with_channels_innermost(net):
    net, x = net.double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    answers = []
    for layout in (torch.contiguous_format, INNERMOST):
        y = net(x.to(memory_format=layout))
        answers.append([y, *torch.autograd.grad(y.square().sum(), list(net.parameters()))])
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, INNERMOST])
@pytest.mark.parametrize(("mean", "deviation"), [(10.0, 0.01), (1000.0, 1.0), (-50.0, 0.05), (0.0, 1.0)])
def test_instance_norm_does_not_cancel_where_the_mean_is_far_from_zero(layout, mean, deviation):
    x = mean + deviation * torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    exact = nn.InstanceNorm2d(4).double()(x.double())
    assert (InstanceNorm(4)(x.to(memory_format=layout)) - exact).abs().max() < 2e-4


@pytest.mark.parametrize("layout", [torch.contiguous_format, INNERMOST])
def test_the_expression_that_compilers_get_is_the_same_function(monkeypatch, layout):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    x = (5 + torch.randn(2, 3, 6, 5, dtype=torch.float64)).to(memory_format=layout)
    compare(InstanceNorm(3).double(), nn.InstanceNorm2d(3).double(), x)


@pytest.mark.parametrize("layer", [fast.Conv2d, fast.ConvTranspose2d])
def test_a_product_has_the_precision_of_the_convolution_and_takes_an_empty_batch(monkeypatch, layer):
    monkeypatch.setattr(fast, "MANY", 1)
    own, base = layer(3, 5, 4, 2, 1), layer.__mro__[1](3, 5, 4, 2, 1)
    base.load_state_dict(own.state_dict())
    for images in (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8, dtype=torch.bfloat16)):
        with torch.autocast("cpu", torch.bfloat16):
            y, expected = own(images), base(images)
        assert y.dtype == expected.dtype == torch.bfloat16
        torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)
    assert own(torch.randn(0, 3, 8, 8)).shape == base(torch.randn(0, 3, 8, 8)).shape


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "layouts", [(torch.contiguous_format, INNERMOST), (INNERMOST, torch.contiguous_format)], ids=["inner", "outer"]
)
def test_a_gradient_in_the_other_layout_is_understood(n, affine, layouts):
    of_x, of_gradient = layouts
    torch.manual_seed(0)
    x, w = torch.rand(n, 3, 4, 5, dtype=torch.float64), torch.rand(n, 3, 4, 5, dtype=torch.float64)
    by_formula, given = x.clone().requires_grad_(), x.contiguous(memory_format=of_x).requires_grad_()
    variance, mean = torch.var_mean(by_formula, (2, 3), correction=0, keepdim=True)
    ((by_formula - mean) / (variance + 1e-5).sqrt()).backward(w)
    InstanceNorm(3, affine=affine).double()(given).backward(w.contiguous(memory_format=of_gradient))
    assert torch.allclose(given.grad, by_formula.grad, rtol=1e-9, atol=1e-12)

"""The kernels for CUDA compute the functions that PyTorch's own do, in value and gradient, and give equal bits each time."""

import pytest
import torch
import torch.nn.functional as F

from diptych.nets import PatchGAN, ResNet, UNet, fused

pytestmark = pytest.mark.gpu
SHAPES = [(2, 3, 5, 7), (1, 40, 16, 20), (3, 64, 33, 24), (1, 256, 64, 64), (2, 64, 256, 256)]
ROUNDING = {torch.float32: 2e-5, torch.bfloat16: 0.05}


@pytest.fixture(autouse=True)
def triton(device):
    if device.type != "cuda":
        pytest.skip("these kernels are made for CUDA")
    assert fused.HAS_TRITON


def images(shape, dtype, device, mean=5.0):
    x = mean + torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("slope", [1.0, 0.0, 0.2])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("shape", SHAPES)
def test_instance_norm_and_rectifier(shape, dtype, slope, device):
    x = images(shape, dtype, device)
    exact = x.detach().double().requires_grad_()
    normalised = F.instance_norm(exact, eps=1e-5)
    expected = F.leaky_relu(normalised, slope)
    probe = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(device)
    probe *= normalised.abs() > ROUNDING[dtype]  # nearer to the kink rounding decides which of two gradients it is
    (expected_gradient,) = torch.autograd.grad(expected, exact, probe.double())
    twice = []
    for _ in range(2):
        y = fused.instance_norm(x, 1e-5, slope)
        (gradient,) = torch.autograd.grad(y, x, probe.to(dtype))
        twice.append((y, gradient))
        assert (y.double() - expected).abs().max() < ROUNDING[dtype]
        assert (gradient.double() - expected_gradient).abs().max() < ROUNDING[dtype] * 3
        assert fused.usable(y) and fused.usable(gradient)
    assert torch.equal(twice[0][0], twice[1][0]) and torch.equal(twice[0][1], twice[1][1])


@pytest.mark.parametrize(("mean", "deviation"), [(10.0, 0.01), (1000.0, 1.0)])
def test_instance_norm_does_not_cancel(mean, deviation, device):
    x = (mean + deviation * torch.randn(2, 8, 64, 64, device=device)).contiguous(memory_format=torch.channels_last)
    exact = F.instance_norm(x.double(), eps=1e-5)
    assert (fused.instance_norm(x, 1e-5).double() - exact).abs().max() < 2e-4


@pytest.mark.parametrize(("shape", "pad"), [((2, 3, 5, 7), 1), ((1, 40, 8, 6), 3), ((1, 2, 4, 4), 3), ((2, 256, 64, 64), 1)])
def test_mirroring(shape, pad, device):
    x = images(shape, torch.float32, device)
    y, expected = fused.mirror(x, pad), F.pad(x, [pad] * 4, mode="reflect")
    assert torch.equal(y, expected)
    probe = torch.randn_like(expected)
    gradients = [torch.autograd.grad(out, x, probe, retain_graph=True)[0] for out in (y, y, expected)]
    assert torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients(device):
    def penalty(function, x):
        return torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)[0].pow(2).sum()

    x = images((2, 3, 8, 8), torch.float32, device, mean=0.0)
    pairs = [
        (lambda z: fused.instance_norm(z, 1e-5, 0.2), lambda z: F.leaky_relu(F.instance_norm(z), 0.2)),
        (lambda z: fused.mirror(z, 2), lambda z: F.pad(z, [2] * 4, mode="reflect")),
    ]
    for own, reference in pairs:
        found, expected = (torch.autograd.grad(penalty(f, x), x)[0] for f in (own, reference))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "net",
    [
        ResNet(3, 2, width=8, num_blocks=2),
        ResNet(3, 2, width=8, num_blocks=1, norm="instance_affine"),
        ResNet(3, 2, width=8, num_blocks=1, norm="batch"),
        PatchGAN(3, width=8, num_layers=2, norm="batch"),
        PatchGAN(3, width=8, num_layers=2),
        UNet(3, 2, width=4, num_downs=3, norm="instance", dropout=False),
    ],
    ids=["resnet", "affine", "batch", "patchgan-batch", "patchgan", "unet"],
)
def test_networks_compute_the_same_with_them_as_without(net, device, monkeypatch):
    net, answers = net.to(device), []
    begun = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(2, 3, 24, 24, device=device).contiguous(memory_format=torch.channels_last)
    for usable in (fused.usable, lambda x: False):
        monkeypatch.setattr(fused, "usable", usable)
        net.load_state_dict(begun)
        net.zero_grad()
        y = net(x)
        y.square().sum().backward()
        gradients = {name: p.grad for name, p in net.named_parameters()}
        answers.append((y, gradients, {name: buffer.clone() for name, buffer in net.named_buffers()}))
    (found, gradients, buffers), (expected, expected_gradients, expected_buffers) = answers
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(buffers, expected_buffers, rtol=1e-4, atol=1e-5)
    without = [name for name, gradient in gradients.items() if gradient is None]
    assert all(name.endswith("bias") for name in without)
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
    for name, expected_gradient in expected_gradients.items():
        if name in without:  # an instance norm takes the bias away: nothing but rounding
            assert expected_gradient.abs().max() < 1e-4 * largest
        else:
            assert (gradients[name] - expected_gradient).abs().max() < 1e-3 * largest, name

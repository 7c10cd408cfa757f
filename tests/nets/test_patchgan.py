import pytest
import torch

from diptych.errors import ConfigError
from diptych.nets import PatchGAN, build_net

PATCHES = {"strided": [1, 16, 34, 70, 142, 286], "blur": [1, 18, 40, 84]}


@pytest.mark.parametrize(
    ("downsample", "num_layers", "patch"), [(how, n, patch) for how, sizes in PATCHES.items() for n, patch in enumerate(sizes)]
)
def test_one_logit_sees_exactly_the_patch_it_claims(downsample, num_layers, patch):
    net = PatchGAN(1, width=1, num_layers=num_layers, norm="none", downsample=downsample)
    for parameter in net.parameters():  # all positive, so that no path to a pixel cancels another
        torch.nn.init.constant_(parameter, 0.1)
    side = max(3 * patch, 8)
    x = torch.ones(1, 1, side, side, requires_grad=True)
    logits = net(x)
    centre = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, centre, centre], x)
    rows, columns = (gradient[0, 0] != 0).nonzero(as_tuple=True)
    assert net.receptive_field == patch
    assert len(rows) == patch * patch
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == patch


def test_the_papers_judge_gives_30_by_30_logits_for_256_pixels():
    assert PatchGAN(6, width=1)(torch.rand(1, 6, 256, 256)).shape == (1, 1, 30, 30)
    assert PatchGAN(6, width=1, num_layers=0)(torch.rand(1, 6, 256, 256)).shape == (1, 1, 256, 256)


@pytest.mark.parametrize("num_layers", range(6))
@pytest.mark.parametrize("norm", ["instance", "batch", "instance_affine", "none"])
@pytest.mark.parametrize("downsample", ["strided", "blur"])
def test_the_smallest_image_gives_a_logit_and_a_smaller_one_a_clear_error(num_layers, norm, downsample):
    net = PatchGAN(3, width=2, num_layers=num_layers, norm=norm, downsample=downsample)
    side = net.smallest
    assert net(torch.rand(1, 3, side, side)).numel() >= 1
    with pytest.raises(
        ConfigError,
        match=f"{num_layers} layers needs images of at least {side} pixels a side, found {side}x{side - 1}; use larger crops",
    ):
        net(torch.rand(1, 3, side - 1, side))


@pytest.mark.parametrize("num_layers", [0, 3])
@pytest.mark.parametrize("downsample", ["strided", "blur"])
def test_it_is_rebuilt_from_its_spec(num_layers, downsample):
    net = PatchGAN(4, width=2, num_layers=num_layers, norm="batch", downsample=downsample).eval()
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    x = torch.rand(2, 4, 32, 40)
    assert torch.equal(twin(x), net(x))


def test_logits_leave_in_float32_under_bf16():
    with torch.autocast("cpu", torch.bfloat16):
        assert PatchGAN(3, width=2, num_layers=1)(torch.rand(1, 3, 8, 8)).dtype == torch.float32


def test_a_negative_depth_is_named():
    with pytest.raises(ConfigError, match="a PatchGAN needs num_layers >= 0, found -1"):
        PatchGAN(3, num_layers=-1)

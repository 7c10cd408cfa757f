"""Every method trains on the device, in both precisions, and computes there what it computes on the CPU."""

import math

import pytest
import torch

from diptych.methods import METHODS
from tests.gpu.tiny import AGREE, STILL, assert_losses_agree, plain_step, recorded_step, train_for, trainee_of

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_finite_losses(method, precision, device):
    trainee = trainee_of(method, device, {"precision": precision, "ema": 0.9})
    losses = train_for(trainee, recorded_step(trainee), range(20))
    assert all(math.isfinite(value) for line in losses for value in line.values()) and len(losses) == 20
    assert all(bool(value.isfinite().all()) for value in trainee.method.parameters())


@pytest.mark.parametrize(
    ("dtype", "steps", "bound"), [(torch.float64, 4, AGREE), (torch.float32, 1, 1e-3)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("method", METHODS)
def test_the_device_computes_what_the_cpu_does(method, norm, dtype, steps, bound, device):
    """In float32 the first step alone: Adam's first update turns the rounding of gradients near zero into whole steps."""
    losses = []
    for where in (CPU, device):
        trainee = trainee_of(method, where, dtype=dtype, norm=norm, **STILL)
        losses.append(train_for(trainee, plain_step(trainee), range(steps)))
    assert_losses_agree(*losses, bound)


@pytest.mark.parametrize("method", METHODS)
def test_bf16_is_near_fp32(method, device):
    losses = []
    for precision in ("fp32", "bf16"):
        trainee = trainee_of(method, device, {"precision": precision}, **STILL)
        losses.append(train_for(trainee, plain_step(trainee), range(1)))
    assert losses[0] != losses[1]
    assert_losses_agree(*losses, 0.1)

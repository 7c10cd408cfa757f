"""NaN stays away from the weights under a recorded step as well, and is named soon."""

import pytest
import torch

from diptych.methods import METHODS, Batch
from diptych.training.health.nonfinite import MAX_STEPS_BEHIND
from tests.gpu.tiny import batch_of, differing, plain_step, recorded_step, trainee_of, weights_of

pytestmark = pytest.mark.gpu
BAD = 8


@pytest.mark.parametrize("make", [plain_step, recorded_step], ids=["plain", "recorded"])
@pytest.mark.parametrize("method", METHODS)
def test_a_batch_that_is_not_finite_changes_no_weight_and_is_named_at_most_two_steps_later(method, make, device):
    trainee = trainee_of(method, device, {"ema": 0.9}, norm="instance", pool_size=0)
    step = make(trainee)
    trainee.set_lr(1e-3)
    seen = {}
    for k in range(BAD + 2 * MAX_STEPS_BEHIND + 1):
        batch, before = batch_of(k, device), weights_of(trainee)
        if k == BAD:
            batch = Batch(batch.a * torch.nan, batch.b)
        step(batch)
        while trouble := trainee.guard.read(k, [(f"a{k}.png", f"b{k}.png")]):
            seen[k] = trouble
        assert bool(differing(before, weights_of(trainee))) == (k != BAD)
    ((when, trouble),) = seen.items()
    assert trouble.step == BAD and BAD <= when <= BAD + MAX_STEPS_BEHIND
    assert trouble.files == ((f"a{BAD}.png", f"b{BAD}.png"),)
    assert any(name.startswith("gradients of ") for name in trouble.names)
    assert all(bool(value.isfinite().all()) for value in trainee.method.parameters())

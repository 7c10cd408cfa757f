"""A step that is replayed as a CUDA graph is the step."""

import pytest
import torch

from diptych.methods import METHODS
from diptych.training.distributed import World
from diptych.trees import read_tree, write_tree
from tests.gpu.tiny import (
    AGREE,
    STILL,
    assert_losses_agree,
    assert_same_weights,
    averages_of,
    batch_of,
    differing,
    plain_step,
    recorded_step,
    train_for,
    trainee_of,
    weights_of,
)

pytestmark = pytest.mark.gpu
STEPS = range(20)
CASES = {  # settings of the training and of the method, and its numbers
    "as published": ({}, {}, torch.float64),
    "batch norm": ({}, {"norm": "batch"}, torch.float64),
    "in parts": ({"batch_size": 4, "accumulate": 2}, {}, torch.float64),
    "recomputed": ({"checkpoint": True}, {"dropout": False}, torch.float64),
    "recomputed with dropout": ({"checkpoint": True}, {}, torch.float64),
    "float32": ({}, {}, torch.float32),
    "bf16": ({"precision": "bf16"}, {}, torch.float32),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_twenty_recorded_steps_are_twenty_plain_ones(method, case, device):
    """To the bit in float32 and bf16; in float64 within what another order of sums would make."""
    train, settings, dtype = CASES[case]
    if device.type == "cpu" and train.get("checkpoint"):
        pytest.skip("what stands in for a CUDA graph on the CPU runs Python again")
    n, draws = train.get("batch_size", 2), settings.get("dropout", True)
    results = []
    for make in (plain_step, recorded_step):
        trainee = trainee_of(method, device, {"ema": 0.9} | train, dtype, **settings)
        assert any(isinstance(module, torch.nn.Dropout) for module in trainee.method.modules()) is draws
        step = make(trainee)
        torch.manual_seed(7)
        results.append((trainee, train_for(trainee, step, STEPS, n)))
    (plain, expected), (recorded, found) = results
    assert step.replay is not None, "the step was never recorded"
    exact = dtype == torch.float32
    assert_losses_agree(found, expected, 0.0 if exact else AGREE)
    assert_same_weights(weights_of(recorded), weights_of(plain), 0.0 if exact else AGREE)
    assert_same_weights(averages_of(recorded), averages_of(plain), 0.0 if exact else AGREE)


@pytest.mark.parametrize("method", METHODS)
def test_every_replay_moves_weights_and_the_average_and_has_losses_of_its_own(method, device):
    trainee = trainee_of(method, device, {"ema": 0.9})
    step = recorded_step(trainee)
    train_for(trainee, step, range(5))
    assert step.replay is not None
    losses = []
    for k in range(5, 9):
        before, average = weights_of(trainee), averages_of(trainee)
        losses += train_for(trainee, step, range(k, k + 1))
        unmoved = set(before) - set(differing(before, weights_of(trainee)))
        assert not {name for name in unmoved if before[name].ndim > 1}, "a replay left weights as they were"
        assert differing(average, averages_of(trainee))
    for name in losses[0]:
        assert len({line[name] for line in losses}) == len(losses), f"{name} repeats: {[line[name] for line in losses]}"


@pytest.mark.parametrize("method", METHODS)
def test_a_replay_computes_the_losses_of_its_own_batch(method, device):
    """Where nothing is drawn and nothing is learnt, losses depend on the batch alone."""
    trainee = trainee_of(method, device, {"ema": 0.9}, torch.float64, **STILL)
    step = recorded_step(trainee)
    train_for(trainee, step, range(5))
    trainee.set_lr(0.0)
    losses = []
    for seed in (1, 2, 1):
        step(batch_of(seed, device, dtype=torch.float64))
        losses.append(trainee.stats.read(World()))
    assert step.replay is not None
    assert_losses_agree(losses[:1], losses[2:], AGREE)
    assert all(value != losses[1][name] for name, value in losses[0].items())


@pytest.mark.parametrize("method", METHODS)
def test_a_learning_rate_of_zero_reaches_the_recording(method, device):
    trainee = trainee_of(method, device, {"ema": 0.9})
    step = recorded_step(trainee)
    train_for(trainee, step, range(5))
    before = weights_of(trainee)
    trainee.set_lr(0.0)
    step(batch_of(5, device))
    assert not differing(before, weights_of(trainee))
    trainee.set_lr(1e-3)
    step(batch_of(6, device))
    assert differing(before, weights_of(trainee))


@pytest.mark.parametrize("method", METHODS)
def test_after_a_restored_state_the_step_is_recorded_anew_and_goes_the_same_way(method, device, tmp_path):
    trainee = trainee_of(method, device, {"ema": 0.9}, torch.float64)
    step = recorded_step(trainee)
    train_for(trainee, step, range(6))
    first = step.replay
    write_tree(tmp_path / "state.safetensors", trainee.state())
    expected = train_for(trainee, step, range(6, 14))
    uninterrupted = weights_of(trainee)

    trainee.restore(read_tree(tmp_path / "state.safetensors"))
    found = train_for(trainee, step, range(6, 14))
    assert first is not None and step.replay is not None and step.replay is not first
    assert_losses_agree(found, expected, AGREE)
    assert_same_weights(weights_of(trainee), uninterrupted, AGREE)

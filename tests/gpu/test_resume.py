"""A training that stopped on a GPU goes on there to the bit, and one from the CPU goes on at all."""

import json
import signal

import pytest
import torch

from diptych.errors import Interrupted
from diptych.methods import METHODS
from diptych.run import Run
from diptych.training.loop import train
from diptych.trees import read_tree, write_tree
from tests.contract.test_methods import assert_equal_trees
from tests.gpu.tiny import (
    AGREE,
    STILL,
    assert_losses_agree,
    assert_same_weights,
    differing,
    pictures,
    plain_step,
    recipe_of,
    recorded_step,
    train_for,
    trainee_of,
    weights_of,
)

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("make", [plain_step, recorded_step], ids=["plain", "recorded"])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_training_is_equal_to_one_that_never_stopped(method, make, device, tmp_path):
    whole, begun, resumed = (trainee_of(method, device, {"ema": 0.9}) for _ in range(3))
    torch.manual_seed(5)
    expected = train_for(whole, make(whole), range(12))
    torch.manual_seed(5)
    train_for(begun, make(begun), range(6))
    write_tree(tmp_path / "state.safetensors", begun.state())
    torch.manual_seed(99)
    resumed.restore(read_tree(tmp_path / "state.safetensors"))
    assert not differing(weights_of(resumed), weights_of(begun))
    found = train_for(resumed, make(resumed), range(6, 12))
    assert_same_weights(weights_of(resumed), weights_of(whole))
    assert_equal_trees(resumed.state(), whole.state())
    assert found == expected[6:]


@pytest.mark.parametrize("method", METHODS)
def test_a_state_from_the_cpu_goes_on_on_the_device_and_the_other_way_round(method, device, tmp_path):
    cpu = torch.device("cpu")
    whole = trainee_of(method, cpu, {"ema": 0.9}, torch.float64, **STILL)
    expected = train_for(whole, plain_step(whole), range(9))
    losses, last = [], None
    for where, steps in ((cpu, range(2)), (device, range(2, 7)), (cpu, range(7, 9))):
        trainee = trainee_of(method, where, {"ema": 0.9}, torch.float64, **STILL)
        if last is not None:
            trainee.restore(read_tree(tmp_path / "state.safetensors"))
            assert not differing(weights_of(trainee), {name: value.to(where) for name, value in weights_of(last).items()})
            assert {p.device.type for p in trainee.ema.parameters()} == {where.type}
        step = recorded_step(trainee) if where is device and device.type == "cuda" else plain_step(trainee)
        losses += train_for(trainee, step, steps)
        write_tree(tmp_path / "state.safetensors", trainee.state())
        last = trainee
    assert_losses_agree(losses, expected, AGREE)


def outcome(out):
    """Newest state, snapshot and lines of statistics of a run, without its speed."""
    lines = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_s")
    return read_tree(Run(out).states()[0]), read_tree(out / "snapshot.safetensors"), lines


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """pix2pix with dropout on six pairs, 18 steps of two images at a falling learning rate."""
    data = {"source": [str(pictures(tmp_path_factory.mktemp("pairs")))], "load_size": 68, "crop_size": 64}
    return recipe_of("pix2pix", {"epochs": 2, "decay_epochs": 4, "batch_size": 2, "ema": 0.9, "seed": 3}, data)


def options(device, **changes):
    return {"device": str(device), "workers": 0, "log_every": 1, "num_previews": 2} | changes


def test_an_interrupted_run_ends_as_one_that_never_was(recipe, device, tmp_path):
    def interrupt(progress):
        if progress.task == "training" and progress.done == 8:
            signal.raise_signal(signal.SIGINT)

    train(recipe, tmp_path / "whole", **options(device))
    with pytest.raises(Interrupted, match="of 18 and saved"):
        train(recipe, tmp_path / "stopped", **options(device, watch=interrupt))
    assert Run(tmp_path / "stopped").states()[0].stem == "state-000000008"
    train(recipe, tmp_path / "stopped", **options(device))
    whole, stopped = outcome(tmp_path / "whole"), outcome(tmp_path / "stopped")
    assert stopped[2] == whole[2] and len(whole[2]) == 18
    for found, expected in zip(stopped[:2], whole[:2], strict=True):
        assert_equal_trees(found, expected)
    assert whole[2][3]["losses"] != whole[2][17]["losses"]


def test_images_kept_on_the_device_in_ram_or_read_by_processes_train_alike_to_the_bit(recipe, device, tmp_path):
    choices = {"off": {}, "ram": {}, "device": {}, "workers": {"cache": "ram", "workers": 2}}
    outcomes = {}
    for name, changes in choices.items():
        train(recipe, tmp_path / name, **options(device, **({"cache": name} | changes), num_previews=0))
        outcomes[name] = outcome(tmp_path / name)
    for name, found in outcomes.items():
        assert_equal_trees(found[0], outcomes["off"][0]), name
        assert found[2] == outcomes["off"][2], name


def test_the_published_cyclegan_trains_with_pools_and_reflection(device, tmp_path):
    pairs = pictures(tmp_path / "pairs")
    data = {"source": [str(pairs / "A"), str(pairs / "B")], "load_size": 68, "crop_size": 64}
    recipe = recipe_of("cyclegan", {"epochs": 2, "decay_epochs": 1}, data)
    train(recipe, tmp_path / "run", **options(device))
    lines = outcome(tmp_path / "run")[2]
    assert len(lines) == 18 and all(line["losses"] for line in lines)
    assert len({json.dumps(line["losses"]) for line in lines}) == 18

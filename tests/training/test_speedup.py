"""Several processes know what one alone would do, and compiled networks compute the same."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych.errors import ConfigError
from diptych.training.distributed import World
from diptych.training.execution import compiling
from diptych.training.execution.compiling import wants_compiling
from diptych.training.execution.speedup import Speedup, single_process_speed
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.contract.test_methods import assert_equal_trees
from tests.training.test_step import assert_equal_learning, batch_of, trainee_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def recipe_of(method):
    from tests.training.test_step import METHODS, Recipe

    return Recipe.create(method, {"method": METHODS[method], "train": {"precision": "fp32", "batch_size": 4}})


def test_measuring_one_process_alone_changes_nothing():
    trainee = trainee_of("cyclegan", {"batch_size": 4, "ema": 0.9})
    before, threads = trainee.state(), torch.get_num_threads()
    assert single_process_speed(trainee, batch_of(0)) > 0
    assert_equal_trees(trainee.state(), before)
    assert torch.get_num_threads() == threads


@pytest.fixture
def speedup(monkeypatch):
    """Two processes, of which one alone trains 10 images/s."""
    trainee = trainee_of("pix2pix")
    trainee.world = World(0, 2)
    monkeypatch.setattr("diptych.training.execution.speedup.single_process_speed", lambda *_: 10.0)
    monkeypatch.setattr("diptych.training.execution.speedup.broadcast", lambda value, world: value)
    return Speedup(trainee, batch_of(0))


def test_efficiency_is_the_speedup_for_each_process(speedup, caplog):
    with caplog.at_level(logging.WARNING):
        assert speedup.of(18.0) == {"speedup": 1.8, "efficiency": 0.9}
    assert not caplog.records


def test_processes_that_are_not_worth_it_are_named_once(speedup, caplog):
    with caplog.at_level(logging.WARNING):
        assert speedup.of(9.0) == {"speedup": 0.9, "efficiency": 0.45}
        speedup.of(9.0)
    (record,) = caplog.records
    assert record.getMessage() == "2 processes train 9 images/s and a single one 10: more processes are not worth it here"


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_only_who_asks_for_it_gets_compiled_networks(device):
    assert {choice: wants_compiling(choice, device) for choice in ("auto", "on", "off")} == {
        "auto": False,
        "on": True,
        "off": False,
    }


def test_compiling_is_refused_where_activations_are_recomputed():
    assert not wants_compiling("auto", CUDA, checkpoint=True)
    with pytest.raises(ConfigError, match=r"--compile on cannot be combined with train\.checkpoint"):
        wants_compiling("on", CUDA, checkpoint=True)


def test_compiling_for_a_cpu_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler for a CPU and found none; install g\\+\\+, or leave it off"):
        wants_compiling("on", CPU)


def test_compiled_networks_are_compiled_in_place_and_keep_their_names(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net, **options: compiled.append(net))
    plain = trainee_of("cyclegan")
    trainee = Trainee(plain.method, recipe_of("cyclegan"), CPU, World(), compiled=True)
    assert compiled == [net for nets in trainee.method.phases().values() for net in nets]
    assert set(plain.method.state_dict()) == set(trainee.method.state_dict())


def compare_a_compiled_step():
    """One step of each; runs in a process of its own, since torch cannot compile what conftest's hook wraps in type checks."""
    plain, other = trainee_of("cyclegan", {"batch_size": 2}), trainee_of("cyclegan", {"batch_size": 2})
    compiled = Trainee(other.method, recipe_of("cyclegan"), CPU, World(), compiled=True)
    for trainee in (plain, compiled):
        train_step(trainee, batch_of(0, 2))
    assert_equal_learning(plain, compiled, rtol=1e-6, atol=1e-8)
    print("equal, in", torch._dynamo.utils.counters["stats"]["unique_graphs"], "compiled graphs")


@pytest.mark.slow
def test_a_compiled_step_computes_what_the_plain_one_does():
    code = "from tests.training.test_speedup import compare_a_compiled_step; compare_a_compiled_step()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert re.fullmatch(r"equal, in [1-9]\d* compiled graphs\n", ended.stdout), ended.stderr

"""Several processes decide alike: they stop together, recover at the same step and end with the same error."""

import copy
import json
import os
import pickle
import signal
import socket
import time
from collections import deque

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.errors import ConfigError, Interrupted
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training.distributed import World, on_first
from diptych.training.health import nonfinite
from diptych.training.health.nonfinite import MAX_STEPS_BEHIND, NonFiniteGuard
from diptych.training.step import train_step
from diptych.trees import read_tree
from tests.contract.test_methods import assert_equal_trees
from tests.training.forks import CONTEXT, answer_to_a_signal, start, train_with_another
from tests.training.test_step import batch_of, trainee_of

SIZE = 16
METHOD = {"generator": "unet_3", "ngf": 4, "ndf": 4, "num_layers": 1}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for side in ("trainA", "trainB", "valA", "valB"):
        (root / side).mkdir()
        for k in range(8 if side.startswith("train") else 2):
            Image.fromarray(noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(root / side / f"{k}.png")
    return root


def recipe_of(images, **train):
    data = {"source": [str(images)], "load_size": SIZE, "crop_size": SIZE}
    train = {"epochs": 2, "decay_epochs": 0, "batch_size": 2, "precision": "fp32"} | train
    return Recipe.create("pix2pix", {"method": METHOD, "data": data, "train": train}).to_dict()


def train_both(recipe, out, signalled=None):
    """The exit codes of two processes that train a run together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [start(train_with_another, rank, port, recipe, str(out), signalled) for rank in range(2)]
    for process in ranks:
        process.join(60)
    codes = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    return codes


def outcome(out):
    lines = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    measured = ("images_s", "speedup", "efficiency")
    return read_tree(Run(out).states()[0]), [{k: v for k, v in line.items() if k not in measured} for line in lines]


@pytest.mark.parametrize(("waits", "code"), [(True, 128 + signal.SIGTERM), (False, 7)])
def test_a_process_that_waits_for_another_leaves_soon_after_a_signal_and_one_that_works_does_not(waits, code):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ready = CONTEXT.Event()
    ranks = [start(answer_to_a_signal, rank, port, waits, ready) for rank in range(2)]
    assert ready.wait(60)
    time.sleep(0.2)  # until it waits
    began = time.monotonic()
    os.kill(ranks[0].pid, signal.SIGTERM)
    ranks[0].join(50)
    took = time.monotonic() - began
    for process in ranks:
        process.kill()
        process.join()
    assert ranks[0].exitcode == code
    assert took < 30  # without the watch it would wait for as long as rank 1 sleeps


def test_a_signal_to_one_process_while_all_validate_stops_all_of_them_saved(images, tmp_path):
    recipe = recipe_of(images)
    stopped = 128 + signal.SIGTERM
    assert train_both(recipe, tmp_path / "run", signalled=(1, 8)) == [stopped, stopped]
    assert read_tree(Run(tmp_path / "run").states()[0])["images"] == 8
    for rank in range(2):
        assert "stopped at step 4 of 8 and saved" in (tmp_path / f"run-{rank}.log").read_text()
    assert train_both(recipe, tmp_path / "run") == train_both(recipe, tmp_path / "whole") == [0, 0]
    (state, lines), (whole_state, whole_lines) = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert lines == whole_lines and [line["images"] for line in lines if "validation" in line] == [4, 8, 12, 16]
    assert_equal_trees(state, whole_state)


def test_a_folder_that_the_first_process_cannot_use_ends_all_with_its_error(images, tmp_path):
    assert train_both(recipe_of(images), tmp_path / "run") == [0, 0]
    assert train_both(recipe_of(images, lr=0.5), tmp_path / "run") == [2, 2]
    for rank in range(2):
        assert "holds a run of another recipe (train.lr: 0.0002 -> 0.5)" in (tmp_path / f"run-{rank}.log").read_text()


def test_what_the_first_process_makes_is_its_own_and_its_error_is_everybodys(monkeypatch):
    sent = deque()
    monkeypatch.setattr("diptych.training.distributed.broadcast", lambda value, world: sent[0] if sent else value)
    assert on_first(lambda: 5, World(0, 2)) == 5
    assert on_first(lambda: 5, World(1, 2)) is None

    def refuse():
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        on_first(refuse, World(0, 2))
    sent.append(pickle.loads(pickle.dumps(Interrupted("stopped", signal.SIGTERM))))
    with pytest.raises(Interrupted, match="stopped") as caught:
        on_first(lambda: 5, World(1, 2))
    assert caught.value.exit_code == 143


class Arrival:
    """An event of a GPU that has happened already, or only when somebody waits for it."""

    def __init__(self, happened):
        self.happened = happened

    def query(self):
        return self.happened

    def synchronize(self):
        self.happened = True


def step_of_the_answer(world, quick, monkeypatch, wait_at=None):
    """The step at which a process learns that its second step was not finite."""
    monkeypatch.setattr(nonfinite, "send_to_host", lambda flags: (flags, Arrival(quick)))
    guard = NonFiniteGuard(world)
    for step in range(1, 9):
        guard.add_flags((["G/l1"], [torch.tensor([float(step == 2)])]))
        problem = guard.read(step, [("a", "b")], wait=step == wait_at)
        if problem:
            assert (problem.step, problem.names) == (2, ("G/l1",))
            return step
    return None


@pytest.mark.parametrize("wait_at", [None, 2, 3])
def test_processes_learn_of_a_bad_step_at_the_same_step_however_quick_their_gpus_are(wait_at, monkeypatch):
    expected = wait_at or 2 + MAX_STEPS_BEHIND
    for quick in (False, True):
        assert step_of_the_answer(World(0, 2), quick, monkeypatch, wait_at) == expected
    assert step_of_the_answer(World(), True, monkeypatch) == 2  # alone, nothing has to be awaited


def test_a_state_of_an_older_version_gives_every_process_the_losses_of_the_first():
    trainee = trainee_of("pix2pix")
    train_step(trainee, batch_of(0))
    state = copy.deepcopy(trainee.state())  # reading the losses sets them to zero
    older = state | {"ranks": [{name: value for name, value in state["ranks"][0].items() if name != "sums"}]}
    older["stats"] = {"sums": state["ranks"][0]["sums"], "steps": 1}
    expected = trainee.stats.read(World())
    resumed = trainee_of("pix2pix")
    resumed.restore(older)
    assert resumed.stats.read(World()) == expected and len(expected) == 4

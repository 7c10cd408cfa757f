"""A training that is killed, stopped or interrupted at any instant ends bit-equal to one that never was."""

import contextlib
import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diptych.errors import SnapshotError
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.trees import read_tree
from tests.contract.small import small
from tests.contract.test_methods import assert_equal_trees, tensors
from tests.training.forks import start, train_quietly

SIZE, STEPS = 32, 30
METHODS = {name: small(name) for name in ("pix2pix", "cyclegan", "uvcgan2")}
METHODS["pix2pix"] |= {"generator": "unet_6", "dropout": True}
METHODS["cyclegan"] |= {"pool_size": 5}
CONFIGURATIONS = {  # method, train settings, workers
    "pix2pix": ("pix2pix", {"batch_size": 2}, 0),
    "pix2pix, 2 workers, EMA": ("pix2pix", {"batch_size": 2, "ema": 0.9}, 2),
    "cyclegan": ("cyclegan", {}, 0),
    "cyclegan, 2 workers, EMA": ("cyclegan", {"batch_size": 2, "ema": 0.9}, 2),
    "uvcgan2": ("uvcgan2", {}, 0),  # with queues of features
}
"""That every other method resumes exactly is proven step by step in tests/contract; what kills interrupt is the same for all."""
KILLED = ("pix2pix", "cyclegan, 2 workers, EMA", "uvcgan2")
SEED = 20261122


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A few noisy pictures on both sides, larger than the crops."""
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for side in ("trainA", "trainB", "testA", "testB"):
        (root / side).mkdir()
        for k in range(6):
            Image.fromarray(noise.integers(0, 256, (44, 40, 3), dtype=np.uint8)).save(root / side / f"{k}.png")
    return root


def recipe(images, configuration, **train):
    method, settings, _ = CONFIGURATIONS[configuration]
    steps = {"epochs": 2, "decay_epochs": STEPS * settings.get("batch_size", 1) // 6 - 2, "precision": "fp32", "seed": 3}
    data = {"source": [str(images)], "load_size": 36, "crop_size": SIZE}
    values = {"method": METHODS[method], "data": data, "train": steps | settings | train}
    return Recipe.create(method, values).to_dict()


def options(configuration, **changes):
    workers = CONFIGURATIONS[configuration][2]
    return {"workers": workers, "log_every": 4, "save_every": 0.0, "num_previews": 3} | changes


def run_once(values, out, **settings):
    """Start a training; everything it says goes into a file beside its folder."""
    return start(train_quietly, values, str(out), f"{out}.log", settings)


def outcome(out):
    """All that a finished run holds, without its speed."""
    stats = [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]
    for line in stats:
        del line["images_s"]
    newest = Run(out).states()[0]
    assert newest.stem == f"state-{STEPS:09d}"
    pictures = {path.name: path.read_bytes() for path in sorted(out.glob("preview-*.png"))}
    return read_tree(newest), read_tree(out / "snapshot.safetensors"), stats, pictures


def assert_same_outcome(found, expected):
    state, snapshot, stats, pictures = found
    assert_equal_trees(state, expected[0])
    assert_equal_trees(snapshot, expected[1])
    assert stats == expected[2]
    assert pictures == expected[3]


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    """The outcome, the duration and the run of each configuration when nothing happens, trained when first asked for."""
    known = {}

    def of(configuration):
        if not known:  # the server of processes imports torch when it starts, which is no part of the duration
            start(time.sleep, 0).join(60)
        if configuration not in known:
            out = tmp_path_factory.mktemp("whole") / "run"
            began = time.monotonic()
            process = run_once(recipe(images, configuration), out, **options(configuration))
            process.join(120)
            assert process.exitcode == 0, out.with_suffix(".log").read_text()
            known[configuration] = outcome(out), time.monotonic() - began, out
        return known[configuration]

    return of


@pytest.fixture
def finished(uninterrupted, tmp_path):
    """The outcome of a configuration, and a copy of its finished run to change and to go on with."""

    def of(configuration):
        expected, _, run = uninterrupted(configuration)
        return expected, shutil.copytree(run, tmp_path / "run")

    return of


def go_on(images, configuration, out, **changes):
    """Train to the end in a process of its own; returns what it said."""
    process = run_once(recipe(images, configuration), out, **options(configuration, **changes))
    process.join(120)
    assert process.exitcode == 0, log_of(out)
    return log_of(out)


def test_pix2pix_drops_out_so_that_its_random_state_matters():
    method = Recipe.create("pix2pix", {"method": METHODS["pix2pix"]}).method.build(Domain(), Domain(), SIZE)
    assert any(isinstance(module, nn.Dropout) for module in method.modules())


def log_of(out):
    return out.with_name(f"{out.name}.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("configuration", KILLED)
def test_killed_at_random_until_done_it_ends_bit_equal(configuration, images, uninterrupted, tmp_path):
    expected, duration, _ = uninterrupted(configuration)
    chance = random.Random(f"{SEED} {configuration}")
    kills, trials = 0, 0
    while trials < 2 or kills < 8:
        assert trials < 60, f"only {kills} of the processes could be killed before they were done"
        out = tmp_path / f"run-{trials}"
        before = kills
        for _ in range(6):
            process = run_once(recipe(images, configuration), out, **options(configuration))
            process.join(chance.uniform(0.1, 0.7) * duration)
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills += process.exitcode == -signal.SIGKILL
        assert "damaged" not in go_on(images, configuration, out)
        assert_same_outcome(outcome(out), expected)
        shutil.rmtree(out)
        trials += 1
        duration *= 1.0 if kills - before >= 2 else 0.8  # the machine became faster: kill sooner
    print(f"{configuration}: seed {SEED}, {trials} trials, {kills} kills, all bit-equal")
    assert kills >= 8


@pytest.mark.parametrize("configuration", ["pix2pix", "cyclegan"])
def test_killed_between_the_two_files_of_the_last_save_it_still_ends_whole(configuration, images, finished):
    """The snapshot is written first, so that a run which has nothing left to do has it."""
    expected, out = finished(configuration)
    last = Run(out).states()[0]
    assert (out / "snapshot.safetensors").stat().st_mtime_ns <= last.stat().st_mtime_ns
    last.unlink()
    go_on(images, configuration, out)
    assert_same_outcome(outcome(out), expected)


def test_a_finished_run_is_left_as_it_is(images, finished):
    expected, out = finished("pix2pix")
    go_on(images, "pix2pix", out)
    assert_same_outcome(outcome(out), expected)


def test_a_damaged_newest_state_costs_one_save_and_is_said(images, finished):
    expected, out = finished("cyclegan")
    newest = Run(out).states()[0]
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")
    said = go_on(images, "cyclegan", out)
    assert f"{newest}: damaged: expected SHA-256" in said and "using the state before it" in said
    assert f"resumed at {STEPS - 1} images" in said
    assert_same_outcome(outcome(out), expected)


def test_the_number_of_workers_does_not_change_the_outcome(images, uninterrupted, tmp_path):
    expected, *_ = uninterrupted("pix2pix")
    go_on(images, "pix2pix", tmp_path / "run", workers=2, save_every=1e9)
    assert_same_outcome(outcome(tmp_path / "run"), expected)


# --- asked to stop ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "configuration"),
    [(signal.SIGTERM, "cyclegan"), (signal.SIGINT, "pix2pix, 2 workers, EMA"), (signal.SIGHUP, "pix2pix, 2 workers, EMA")],
)
def test_asked_to_stop_it_saves_and_goes_on_bit_equal(signum, configuration, images, uninterrupted, tmp_path):
    expected, *_ = uninterrupted(configuration)
    chance, out, stops = random.Random(f"{SEED} {signum}"), tmp_path / "run", 0
    settings = options(configuration, save_every=1e9)  # so that only the signal saves
    for _ in range(3):
        process = run_once(recipe(images, configuration), out, **settings)
        deadline = time.monotonic() + 60
        while not (begun(out, process) or process.exitcode is not None) and time.monotonic() < deadline:
            time.sleep(0.005)  # before, there is nothing to save and the signal ends the process as it would any
        lines = chance.randrange(STEPS // 4)  # wait for progress rather than for time, which a busy machine stretches
        while process.exitcode is None and len(Run(out).lines()) < lines and time.monotonic() < deadline:
            time.sleep(0.002)
        before = {path.name for path in Run(out).states()}
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)
        process.join(30)
        took = time.monotonic() - began
        if process.exitcode == 0 or process.exitcode == -signum:  # done already; or not yet listening
            continue
        assert process.exitcode == 128 + signum, log_of(out)
        assert took < 10
        if {path.name for path in Run(out).states()} - before:
            assert "stopped at step" in log_of(out) and "run the same command to go on" in log_of(out)
            stops += 1
        else:
            assert "stopped before any new step was taken; run the same command again" in log_of(out), "nothing was saved"
    go_on(images, configuration, out, save_every=1e9)
    print(f"{configuration}, signal {signum}: seed {SEED}, {stops} stops")
    assert stops >= 1
    assert_same_outcome(outcome(out), expected)


def begun(out, process):
    """Whether this very process holds the run folder, and so listens to signals, and the images are known."""
    lock = out / ".lock"
    return lock.exists() and f"pid {process.pid} on" in lock.read_text() and (out / "census.json").exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once_without_damage(signum, images, uninterrupted, tmp_path):
    expected, *_ = uninterrupted("cyclegan")
    out = tmp_path / "run"
    process = run_once(recipe(images, "cyclegan"), out, **options("cyclegan"))
    while not Run(out).states() and process.exitcode is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGSTOP)  # both arrive before a step can end
    os.kill(process.pid, signum)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(0.001)
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signum)
    process.join(10)
    assert process.exitcode in (-signum, 128 + signum) and time.monotonic() - began < 5
    go_on(images, "cyclegan", out)
    assert_same_outcome(outcome(out), expected)


# --- refused ---


def test_a_second_training_in_the_folder_exits_4_and_a_changed_recipe_2(images, tmp_path):
    out = tmp_path / "run"
    owner = run_once(recipe(images, "cyclegan"), out, **options("cyclegan"))
    while not Run(out).states() and owner.exitcode is None:
        time.sleep(0.005)
    other = run_once(recipe(images, "cyclegan"), out, **options("cyclegan"))
    other.join(60)
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    assert other.exitcode == 4 and f"pid {owner.pid} on " in log_of(out)
    changed = run_once(recipe(images, "cyclegan", lr=0.5), out, **options("cyclegan"))
    changed.join(60)
    assert changed.exitcode == 2 and "train.lr: 0.0002 -> 0.5" in log_of(out)


def test_states_of_which_none_is_whole_exit_6_and_are_left_alone(images, finished):
    _, out = finished("cyclegan")
    for path in Run(out).states():
        path.write_bytes(path.read_bytes()[:-7])
    kept = {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}
    process = run_once(recipe(images, "cyclegan"), out, **options("cyclegan"))
    process.join(120)
    assert process.exitcode == 6 and "no training state is whole" in log_of(out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"} == kept
    with pytest.raises(SnapshotError):
        Run(out).load_state()


def test_weights_that_are_no_longer_finite_are_never_saved(images, tmp_path):
    out = tmp_path / "run"
    process = run_once(recipe(images, "pix2pix", lr=1e30), out, **options("pix2pix", log_every=1000, num_previews=0))
    process.join(120)
    assert process.exitcode == 3, log_of(out)
    assert "G/gan, gradients of G became NaN or infinite, batch " in log_of(out)
    assert "this update was left out and the state before it is kept" in log_of(out)
    for path in [*Run(out).states(), *out.glob("snapshot*")]:
        assert all(value.isfinite().all() for value in tensors(read_tree(path)).values() if isinstance(value, torch.Tensor)), path


def test_the_seed_matters_so_that_bit_equality_says_something(images, uninterrupted, tmp_path):
    expected, *_ = uninterrupted("pix2pix")
    process = run_once(recipe(images, "pix2pix", seed=4), tmp_path / "run", **options("pix2pix"))
    process.join(120)
    found = outcome(tmp_path / "run")
    assert not torch.equal(*(next(iter(tree["method"].values())) for tree in (found[0], expected[0])))
    assert found[2] != expected[2]

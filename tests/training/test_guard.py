"""An update that is not finite is seen in its step, never reaches a weight, and is answered as asked."""

import copy
import json
import logging
import re
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.census import Census
from diptych.data.folders import Split
from diptych.errors import TrainingError
from diptych.losses import l1
from diptych.methods import Batch
from diptych.methods.pix2pix import Pix2Pix
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training.distributed import World
from diptych.training.health import nonfinite
from diptych.training.health.nonfinite import NonFinite
from diptych.training.job import Job
from diptych.training.loop import train
from diptych.training.states import recover, save
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from diptych.trees import read_tree
from tests.contract.small import NAMES, small
from tests.training.test_processes import Arrival

SIZE = 16
METHODS = {name: small(name) for name in NAMES}
FILES = (("cat", "dog"),)


def trainee_of(name, precision="fp32"):
    torch.manual_seed(1)
    recipe = Recipe.create(name, {"method": METHODS[name], "train": {"precision": precision}})
    return Trainee(recipe.method.build(Domain(), Domain(), SIZE), recipe, torch.device("cpu"), World())


def batch_of(seed):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(2, 3, SIZE, SIZE, generator=random) * 2 - 1 for _ in range(2)))


@contextmanager
def spoilt(place, trainee, batch):
    """Inside the block something of a step is NaN or infinite; a weight stays so."""
    if place == "input":
        batch.a[0, 0, 3, 3] = torch.nan
        yield
    elif place == "gradient":
        hook = trainee.method.G_ab.parameters().__next__().register_hook(lambda gradient: gradient * torch.inf)
        yield
        hook.remove()
    elif place == "weight":
        with torch.no_grad():
            next(trainee.method.G_ab.parameters()).view(-1)[0] = torch.inf
        yield
    else:
        healthy = trainee.method.losses
        trainee.method.losses = lambda batch: with_nan(healthy(batch), place[0])
        yield
        trainee.method.losses = healthy


def with_nan(losses, phase):
    """The first term of a phase is NaN, though its gradient is not."""
    for name, terms in losses:
        first = next(iter(terms))
        yield name, (terms | {first: terms[first] + torch.nan}) if name == phase else terms


def weights(trainee):
    return copy.deepcopy(dict(trainee.method.named_parameters()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_not_finite_is_seen_in_the_same_step_and_keeps_away_from_the_weights(name, precision):
    """After each such step the next one begins as if it had not been; that with an infinite weight is the last."""
    trainee, places = trainee_of(name, precision), ["input", "G loss", "D loss", "gradient", "weight"]
    for step in (1, 2):
        train_step(trainee, batch_of(step))
        assert trainee.guard.read(step, FILES) is None
    for step, place in enumerate(places, 3):
        if place == "D loss" and "D" not in trainee.method.phases():
            continue
        batch = batch_of(step)
        with spoilt(place, trainee, batch):
            before = weights(trainee)
            train_step(trainee, batch)
        trouble = trainee.guard.read(step, FILES)
        assert trouble is not None and str(trouble).startswith(f"step {step}: "), place
        assert re.search(r"[GD]", trouble.names[0]) and str(trouble).endswith("became NaN or infinite, batch cat + dog"), place
        broken = {"D loss": "D", "G loss": "G", "gradient": "G", "weight": "G"}.get(place)
        for key, value in weights(trainee).items():
            if place != "weight":
                assert value.isfinite().all(), (place, key)
            if broken is None or key.startswith(broken):  # D may still learn from older fakes of its pool
                assert torch.equal(value, before[key]), f"{key} was updated with {place}"


def test_an_optimizer_that_does_not_listen_is_not_called_where_the_host_is_asked():
    """As on Apple's GPUs, whose fused Adam ignored found_inf: RMSprop, which never knew it, stands in for it."""
    batch = batch_of(0)
    batch.b[0] = torch.nan
    kept = {}
    for asks_host in (True, False):
        trainee = trainee_of("pix2pix")
        trainee.asks_host = asks_host
        for phase, optimizer in trainee.optimizers.items():
            trainee.optimizers[phase] = torch.optim.RMSprop(optimizer.param_groups[0]["params"], 2e-4)
        before = weights(trainee)
        train_step(trainee, batch)
        kept[asks_host] = all(torch.equal(value, before[key]) for key, value in weights(trainee).items())
    assert kept == {True: True, False: False}  # not asked, it writes NaN into the weights


def test_after_a_skipped_update_the_optimizer_counts_only_those_that_were_made():
    trainee = trainee_of("pix2pix")
    batch = batch_of(0)
    batch.b[0] = torch.nan
    train_step(trainee, batch)
    assert trainee.guard.read(1, FILES)
    train_step(trainee, batch_of(1))
    assert trainee.guard.read(2, FILES) is None
    steps = {float(state["step"]) for optimizer in trainee.optimizers.values() for state in optimizer.state.values()}
    assert steps == {1.0}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for side in ("trainA", "trainB"):
        (root / side).mkdir()
        for k in range(6):
            Image.fromarray(noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(root / side / f"{k}.png")
    return root


@pytest.fixture
def bad_steps(monkeypatch):
    """Makes pix2pix's L1 infinite in chosen steps of a whole training."""
    chosen, seen = set(), []

    def losses(self, batch):
        seen.append(len(seen) + 1)
        scale = torch.inf if seen[-1] in chosen else 1.0
        yield "G", {"l1": scale * l1(self.G_ab(batch.a), batch.b)}

    monkeypatch.setattr(Pix2Pix, "losses", losses)
    return chosen


def run_of(images, out, **options):
    method = METHODS["pix2pix"] | {"lambda_gan": 0.0}
    data = {"source": [str(images)], "load_size": SIZE, "crop_size": SIZE}
    train_settings = {"epochs": 3, "decay_epochs": 0, "precision": "fp32"}
    recipe = Recipe.create("pix2pix", {"method": method, "data": data, "train": train_settings})
    return train(recipe, out, device="cpu", workers=0, num_previews=0, save_every=0.0, **{"log_every": 1} | options)


def test_stop_names_step_term_files_and_cures(images, tmp_path, bad_steps):
    bad_steps.add(5)
    with pytest.raises(
        TrainingError, match=r"^step 5: G/l1, gradients of G became NaN or infinite, batch (\d) \+ \1; .*lower train\.lr"
    ):
        run_of(images, tmp_path / "run")
    assert Run(tmp_path / "run").states()[0].stem == "state-000000004"


def test_skip_goes_on_without_that_update(images, tmp_path, bad_steps, caplog):
    bad_steps |= {5, 6, 11}
    with caplog.at_level(logging.WARNING, "diptych"):
        run_of(images, tmp_path / "run", on_nan="skip")
    assert [record.getMessage()[:8] for record in caplog.records if "left out" in record.getMessage()] == [
        "step 5: ",
        "step 6: ",
        "step 11:",
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if not line["losses"]] == [5, 6, 11] and len(lines) == 18
    assert all(np.isfinite(value) for line in lines for value in line["losses"].values())


def test_rollback_takes_the_newest_state_and_goes_on_with_the_next_batch(images, tmp_path, bad_steps, caplog):
    bad_steps.add(7)
    with caplog.at_level(logging.WARNING, "diptych"):
        run_of(images, tmp_path / "run", on_nan="rollback")
    assert any("went back to the weights of 6 images and on with the next batch" in r.getMessage() for r in caplog.records)
    state = read_tree(Run(tmp_path / "run").states()[0])
    assert state["images"] == 18 and {float(kept["step"]) for kept in state["optimizers"]["G"]} == {17.0}


def test_rollback_before_anything_was_saved_stops(images, tmp_path, bad_steps):
    bad_steps.add(1)
    with pytest.raises(TrainingError, match="no state was saved yet to go back to"):
        run_of(images, tmp_path / "run", on_nan="rollback")


def test_after_a_rollback_no_step_is_counted_in_two_lines(tmp_path):
    trainee, run = trainee_of("pix2pix"), Run(tmp_path)

    def count(loss):
        trainee.stats.add("G", {"l1": torch.tensor(loss)})
        trainee.stats.steps += 1

    count(1.0)
    run.save_state(1, trainee.state())
    assert trainee.stats.read(World()) == {"G/l1": 1.0}
    recover(trainee, run, NonFinite(2, ("G/l1",), FILES), "rollback")
    count(5.0)
    assert trainee.stats.read(World()) == {"G/l1": 5.0}


def test_when_buffers_of_another_process_are_spoilt_this_one_rolls_back_as_well(tmp_path, monkeypatch, caplog):
    trainee, run = trainee_of("pix2pix"), Run(tmp_path)
    run.save_state(1, trainee.state())
    monkeypatch.setattr("diptych.training.states.highest_flag", lambda flag, world, device: max(flag, 1))
    with caplog.at_level(logging.WARNING, "diptych"):
        recover(trainee, run, NonFinite(2, ("G/l1",), FILES), "skip")
    assert "went back to the weights of 0 images" in caplog.text


def test_a_batchnorm_statistic_that_is_not_finite_is_never_saved(tmp_path):
    trainee, run = trainee_of("pix2pix"), Run(tmp_path)
    recipe = trainee.recipe
    name, variance = next((n, b) for n, b in trainee.method.named_buffers() if n.endswith("running_var"))
    variance[0] = torch.nan
    job = Job(recipe, Census(Split((), (), True), Domain(), Domain()), torch.device("cpu"), World(), run)
    with pytest.raises(TrainingError, match=rf"^step 3: {re.escape(name)} became NaN or infinite; the state before it is kept"):
        save(trainee, job, 3)
    assert not run.states() and not run.snapshot.exists()


def test_nothing_is_saved_before_a_late_gpu_has_answered(images, tmp_path, bad_steps, monkeypatch):
    monkeypatch.setattr(nonfinite, "send_to_host", lambda flags: (flags, Arrival(False)))
    bad_steps.add(5)
    with pytest.raises(TrainingError, match=r"^step 5: "):
        run_of(images, tmp_path / "run", log_every=100)
    assert Run(tmp_path / "run").states()[0].stem == "state-000000004"


def test_trouble_that_does_not_end_stops_whatever_was_asked(images, tmp_path, bad_steps):
    bad_steps |= set(range(4, 99))
    with pytest.raises(TrainingError, match=r"^step 14: .* so did 10 steps in a row before it"):
        run_of(images, tmp_path / "run", on_nan="skip")

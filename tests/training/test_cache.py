"""A training ends bit-equal wherever its images are kept, also one that is stopped, and leaves nothing of them behind."""

import logging

import pytest
import torch

from diptych.errors import ConfigError, Interrupted, StorageError
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training.distributed import World, once_per_machine
from diptych.training.loop import train
from tests.contract.test_methods import assert_equal_trees
from tests.data.pictures import two_sides
from tests.training.stopping import ask_to_stop

METHOD = {"generator": "resnet_1", "ngf": 4, "ndf": 4, "num_layers": 1, "pool_size": 5}


@pytest.fixture
def recipe(tmp_path):
    two_sides(tmp_path / "data", paired=False, counts=(6, 4))
    data = {"source": [str(tmp_path / "data")], "resize": "aspect", "load_size": 36, "crop_size": 32}
    return Recipe.create(
        "cyclegan", {"method": METHOD, "data": data, "train": {"epochs": 1, "decay_epochs": 1, "precision": "fp32"}}
    )


def outcome(recipe, out, **options):
    train(recipe, out, device="cpu", save_every=1e9, num_previews=0, **options)
    return Run(out).load_state()[0]


def test_the_outcome_is_bit_equal_with_every_choice_and_over_a_stop(recipe, tmp_path):
    expected = outcome(recipe, tmp_path / "off", cache="off")
    for cache, workers in (("ram", 0), ("disk", 0), ("device", 0), ("disk", 2), ("auto", 2)):
        out = tmp_path / f"{cache}-{workers}"

        told: list[int] = []  # a step may be told twice, and a second signal ends a process at once

        def stop(progress, folder=out / "cache", kept=cache == "disk", told=told):
            assert not kept or progress.task != "training" or list(folder.glob("*.pixels"))
            if progress.task == "training" and progress.done == 5 and not told:
                told.append(progress.done)
                ask_to_stop()

        with pytest.raises(Interrupted):
            outcome(recipe, out, cache=cache, workers=workers, log_every=5, watch=stop)
        assert (out / "cache").exists() == (cache == "disk")
        assert_equal_trees(outcome(recipe, out, cache=cache, workers=workers), expected)
        assert not (out / "cache").exists()


def test_a_finished_run_keeps_no_images_again(recipe, tmp_path, caplog):
    outcome(recipe, tmp_path / "run")
    caplog.clear()
    with caplog.at_level(logging.INFO, "diptych"):
        outcome(recipe, tmp_path / "run", cache="disk")
    assert not [message for message in caplog.messages if "once decoded" in message]


def test_an_unknown_choice_ends_before_the_first_step(recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"^cache 'tape': no such choice"):
        train(recipe, tmp_path / "run", device="cpu", cache="tape")
    assert not Run(tmp_path / "run").states()


def test_processes_of_one_machine_get_what_its_first_one_made_or_its_error(monkeypatch):
    values = []
    monkeypatch.setattr("diptych.training.distributed.gather", lambda value, world: values.append(value) or gathered)
    monkeypatch.setenv("LOCAL_RANK", "1")
    gathered = ["x", None, "y", None]
    assert once_per_machine(lambda: pytest.fail("only the first makes it"), World(3, 4)) == "y" and values == [None]
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert once_per_machine(lambda: "made", World(2, 4)) == "y" and values == [None, "made"]

    def full():
        raise StorageError("full")

    error = StorageError("full")
    gathered = [error, None]
    for local, make in (("0", full), ("1", lambda: "never")):
        monkeypatch.setenv("LOCAL_RANK", local)
        with pytest.raises(StorageError, match="full"):
            once_per_machine(make, World(int(local), 2))
    assert torch.distributed.is_initialized() is False
    assert once_per_machine(lambda: 5, World()) == 5

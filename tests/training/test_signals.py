"""A signal ends at once what has nothing to save, whatever it waits for."""

import os
import signal
import time

import pytest

from diptych.cli.tables import watched
from diptych.errors import DataError, Interrupted
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.training import loop, preparation
from diptych.training.signals import catch_interrupts
from tests.cli.pictures import picture
from tests.contract.small import small

HANGS = 20.0
PLACES = [(preparation, "take_census"), (loop, "begin"), (loop, "kept"), (loop, "batches"), (loop, "train_step")]


def hang(*args, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(HANGS)


@pytest.mark.parametrize(("module", "name"), PLACES, ids=[name for _, name in PLACES])
def test_a_signal_before_the_first_step_ends_a_training_that_hangs(module, name, tmp_path, monkeypatch):
    for index in range(4):
        picture(tmp_path / "a" / f"{index}.png", index, 16, 16)
        picture(tmp_path / "b" / f"{index}.png", index + 9, 16, 16)
    data = {"source": [str(tmp_path / "a"), str(tmp_path / "b")], "resize": "none", "crop_size": 16, "holdout": 0.0}
    recipe = Recipe.create("cyclegan", {"method": small("cyclegan"), "data": data, "train": {"epochs": 1, "decay_epochs": 0}})
    began = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(module, name, hang)
        with pytest.raises(Interrupted, match="stopped before any new step was taken") as caught:
            loop.train(recipe, tmp_path / "run", device="cpu", workers=0, num_previews=0)
    assert caught.value.exit_code == 128 + signal.SIGTERM and time.monotonic() - began < HANGS
    assert not Run(tmp_path / "run").states()
    loop.train(recipe, tmp_path / "run", device="cpu", workers=0, num_previews=0)
    assert Run(tmp_path / "run").states()


def test_a_signal_ends_an_evaluation_that_hangs(capsys):
    began = time.monotonic()
    with pytest.raises(Interrupted, match="no result was written"), watched():
        hang()
    assert time.monotonic() - began < HANGS


def at_once(work, before=lambda: None):
    with catch_interrupts() as interrupts:
        before()
        with interrupts.at_once("over"):
            work()


def import_that_hangs():
    try:
        hang()
    except KeyboardInterrupt as error:
        raise ImportError from error


def damaged():
    raise DataError("damaged")


def test_an_error_that_a_library_makes_of_a_signal_is_told_as_the_signal_and_others_are_left():
    with pytest.raises(Interrupted, match="over"):
        at_once(import_that_hangs)
    with pytest.raises(DataError, match="damaged"):
        at_once(damaged)


def test_a_signal_that_came_before_the_block_ends_it_too():
    with pytest.raises(Interrupted, match="over"):
        at_once(lambda: time.sleep(HANGS), before=lambda: os.kill(os.getpid(), signal.SIGTERM))

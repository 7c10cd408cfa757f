"""The speed in a line of statistics, by a clock that the test sets: images since the last line, without what is not training."""

import json
from dataclasses import replace

import pytest
import torch

from diptych.training.distributed import World
from diptych.training.progress import Progress
from diptych.training.records import observer as module
from tests.training.test_observer import observer_of


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def observe(observer, images, step):
    observer.trainee.images = images
    observer.trainee.stats.add("G", {"gan_ab": torch.tensor(0.5)})
    observer.trainee.stats.steps += 1
    observer.observe(step)
    return json.loads(observer.job.run.stats.read_text().splitlines()[-1])


def test_a_line_has_the_images_per_second_since_the_last_one(tmp_path, monkeypatch, clock):
    observer, seen = observer_of(tmp_path, monkeypatch), []
    observer.watch = seen.append
    clock[0] += 8.0
    assert observe(observer, 30, 30)["images_s"] == 3.75
    clock[0] += 3.0
    line = observe(observer, 60, 60)
    assert line == {"step": 60, "images": 60, "epoch": 2, "lr": 2e-4, "losses": {"G/gan_ab": 0.5}, "images_s": 10.0}
    assert seen[1] == Progress("training", 60, 400, 2, 10.0, {"G/gan_ab": 0.5}) and len(seen) == 2


def test_a_line_has_epoch_and_rate_of_the_images_before_its_step(tmp_path, monkeypatch, clock):
    observer = observer_of(tmp_path, monkeypatch)
    found = []
    for images in (50, 51, 250, 251):  # of 50 images an epoch; the last 4 of 8 epochs decay
        clock[0] += 3.0
        found.append(observe(observer, images, images))
    assert [line["epoch"] for line in found] == [1, 2, 5, 6]
    assert [line["lr"] for line in found] == pytest.approx([2e-4, 2e-4, 2e-4 * 0.8, 2e-4 * 0.6])
    assert found[0]["images_s"] == round(50 / 3, 3) == 16.667


def test_several_processes_measure_once_what_one_alone_would_do_and_that_time_is_no_training(tmp_path, monkeypatch, clock):
    measured = []

    class Measured:
        def __init__(self, trainee, batch):
            measured.append((trainee, batch))
            clock[0] += 100.0

        def of(self, speed):
            return {"speedup": speed / 2}

    monkeypatch.setattr(module, "Speedup", Measured)
    observer = observer_of(tmp_path, monkeypatch)
    observer.measure_speedup("a batch")
    assert not measured  # there is one process
    alone = observer.job
    observer.job = replace(alone, world=World(0, 2))
    observer.trainee.images = 4
    for _ in range(2):
        observer.measure_speedup("a batch")
    assert measured == [(observer.trainee, "a batch")]
    observer.job = alone
    clock[0] += 2.0
    line = observe(observer, 30, 30)
    assert (line["images_s"], line["speedup"]) == (13.0, 6.5)

"""What stands in a line of statistics, what is said once, and what is kept beside it."""

import json
import logging

import pytest
import torch

from diptych.data.census import Census
from diptych.data.folders import Ref, Split
from diptych.errors import Interrupted
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training.distributed import World
from diptych.training.job import Job, Schedule
from diptych.training.records import observer as module
from diptych.training.records.best import Validation
from diptych.training.records.observer import Observer
from diptych.training.signals import Interrupts
from diptych.training.trainee import Trainee

SMALL = {"generator": "resnet_1", "ngf": 4, "ndf": 4, "num_layers": 1, "pool_size": 0}
DATA, TRAIN = {"load_size": 16, "crop_size": 16}, {"epochs": 4, "decay_epochs": 4, "precision": "fp32"}
RECIPE = Recipe.create("cyclegan", {"method": SMALL, "data": DATA, "train": TRAIN})
REAL = {"a2b/spread": 1.0, "a2b/saturated_real": 0.125}
HEALTHY, SATURATED = REAL | {"a2b/saturated": 0.25}, REAL | {"a2b/saturated": 0.875}  # 0.75 beyond real images; 0.5 is too much
FOUND = "a2b: saturated output: saturated 0.75 is above 0.5 since step 100 "


def observer_of(folder, monkeypatch, looks=(), score=None, higher=False, num_validations=8, interrupts=None):
    """An observer of 8 epochs of 50 images, validated every 50 steps; its doctor finds these numbers at every hundredth."""

    class Looks:
        def __init__(self, *_):
            self.numbers = list(looks)

        def due(self, step):
            return step % 100 == 0

        def look(self):
            return self.numbers.pop(0)

    monkeypatch.setattr(module, "Doctor", Looks)
    torch.manual_seed(0)
    trainee = Trainee(RECIPE.method.build(Domain(), Domain(), 16), RECIPE, torch.device("cpu"), World())
    refs = (Ref(folder / "0.png"),)
    census = Census(Split((), (), False), Domain(), Domain(), val=Split(refs, refs, False))
    job = Job(RECIPE, census, torch.device("cpu"), World(), Run(folder))
    validation = Validation(score, "lpips", higher) if score else None
    options = {"validation": validation, "num_validations": num_validations, "log_every": 30, "watch": lambda progress: None}
    return Observer(job, trainee, Schedule(RECIPE.train, 50), interrupts or Interrupts(), **options)


def observed(observer, *steps):
    """The lines of statistics after some steps with a loss of 0.5 have been observed."""
    for step in steps:
        observer.trainee.images = step
        observer.trainee.stats.add("G", {"gan_ab": torch.tensor(0.5)})
        observer.trainee.stats.steps += 1
        observer.observe(step)
    return [json.loads(line) for line in observer.job.run.stats.read_text().splitlines()]


def test_the_losses_of_the_last_step_are_told_once(tmp_path, monkeypatch):
    observer, told = observer_of(tmp_path, monkeypatch, [HEALTHY] * 4), []
    observer.watch = lambda progress: told.append((progress.done, progress.losses is not None))
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    for step in (398, 399, 400):
        now[0] += module.GLANCE + 1
        observer.trainee.images = step
        observer.trainee.stats.add("G", {"gan_ab": torch.tensor(0.5)})
        observer.trainee.stats.steps += 1
        observer.tick(step)
    observer.observe(400)
    assert told == [(398, False), (399, True), (400, False), (400, True)]


def test_a_look_writes_its_numbers_and_its_verdicts_into_the_line_of_its_step(tmp_path, monkeypatch):
    lines = observed(observer_of(tmp_path, monkeypatch, [SATURATED, SATURATED, HEALTHY]), 100, 150, 200, 300)
    assert [(line["step"], line["epoch"], line["losses"]) for line in lines] == [
        (100, 2, {"G/gan_ab": 0.5}),
        (150, 3, {"G/gan_ab": 0.5}),
        (200, 4, {"G/gan_ab": 0.5}),
        (300, 6, {"G/gan_ab": 0.5}),
    ]
    assert [line.get("health") for line in lines] == [SATURATED, None, SATURATED, HEALTHY]
    young, between, ill, healed = (line.get("verdicts") for line in lines)
    assert (young, between, healed) == ([], None, [])  # two looks in a row are needed, and the third found it healed
    (verdict,) = ill
    assert verdict.startswith(FOUND) and "start again with a lower --train.lr (now 0.0002)" in verdict


def test_a_verdict_is_a_warning_once(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        lines = observed(observer_of(tmp_path, monkeypatch, [SATURATED] * 4), 100, 200, 300, 400)
    assert [len(line["verdicts"]) for line in lines] == [0, 1, 1, 1]
    (record,) = caplog.records
    assert record.getMessage().startswith(FOUND)


def test_a_verdict_that_comes_back_is_no_new_warning(tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        looks = [SATURATED, SATURATED, HEALTHY, SATURATED, SATURATED]
        lines = observed(observer_of(tmp_path, monkeypatch, looks), 100, 200, 300, 400, 500)
    assert [len(line["verdicts"]) for line in lines] == [0, 1, 0, 0, 1]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("higher", "best", "rule"), [(False, 150, "lowest lpips"), (True, 50, "highest lpips")])
def test_the_snapshot_with_the_best_score_is_kept_with_the_rule_that_chose_it(higher, best, rule, tmp_path, monkeypatch):
    scores, asked = {50: 0.5, 150: 0.25, 250: 0.375}, []

    def score(snapshot, census, poll):
        poll()  # nobody asked to stop
        asked.append((snapshot.about["selection"], torch.rand(()).item()))
        return {"lpips": scores[snapshot.about["images"]]}

    observer = observer_of(tmp_path, monkeypatch, score=score, higher=higher)
    before = torch.get_rng_state()
    lines = observed(observer, 50, 130, 150, 250)
    assert torch.equal(torch.get_rng_state(), before)
    assert [line.get("validation") for line in lines] == [{"lpips": 0.5}, None, {"lpips": 0.25}, {"lpips": 0.375}]
    assert [name for name, _ in asked] == ["a candidate"] * 3
    kept = Snapshot.load(Run(tmp_path).best)
    assert kept.about["images"] == best
    assert kept.about["selection"] == f"{rule} on the validation split, {0.5 if higher else 0.25}"


def test_a_step_is_due_every_log_every_steps_where_it_is_validated_where_the_doctor_looks_and_at_the_end(tmp_path, monkeypatch):
    for score, expected in ((lambda *_: {}, [30, 50, 60, 100, 400]), (None, [30, 60, 100, 400])):
        observer = observer_of(tmp_path, monkeypatch, score=score)
        assert [step for step in (1, 30, 50, 60, 99, 100, 399, 400) if observer.due(step)] == expected


def test_a_step_needs_no_line_where_one_is_on_record_or_nothing_was_trained_yet(tmp_path, monkeypatch):
    observer = observer_of(tmp_path, monkeypatch)
    assert [observer.has_line(step) for step in (0, 1)] == [True, False]
    observed(observer, 7)
    for each in (observer, observer_of(tmp_path, monkeypatch)):
        assert [each.has_line(step) for step in (0, 6, 7, 8)] == [True, True, True, False]


def test_whoever_asks_to_stop_ends_a_validation_without_a_line(tmp_path, monkeypatch):
    interrupts = Interrupts()
    observer = observer_of(tmp_path, monkeypatch, score=lambda snapshot, census, poll: poll(), interrupts=interrupts)
    interrupts.signum = 15
    with pytest.raises(Interrupted, match="stopped while validating; run the same command to go on") as caught:
        observed(observer, 50)
    assert caught.value.exit_code == 128 + 15 and not observer.lines

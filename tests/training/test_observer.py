"""What stands in a line of statistics, what is said once, and what is kept beside it."""

import json
import logging
from dataclasses import replace

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
from diptych.training.observer import Observer
from diptych.training.signals import Interrupts
from diptych.training.trainee import Trainee
from diptych.training.validation import Validation

SMALL = {"generator": "resnet_1", "ngf": 4, "ndf": 4, "num_layers": 1, "pool_size": 0}
RECIPE = Recipe.create("cyclegan", {"method": SMALL, "data": {"load_size": 16, "crop_size": 16}})
CENSUS = Census(Split((), (), False), Domain(), Domain())
REAL = {"a2b/spread": 1.0, "a2b/saturated_real": 0.125}
HEALTHY, SATURATED = REAL | {"a2b/saturated": 0.25}, REAL | {"a2b/saturated": 0.875}  # 0.75 beyond real images; 0.5 is too much
FOUND = "a2b: saturated output: saturated 0.75 is above 0.5 since step 100 "


class Looks:
    """A doctor that finds what it is told to, at every hundredth step."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def due(self, step):
        return step % 100 == 0

    def look(self):
        return self.numbers.pop(0)


def trainee_of():
    torch.manual_seed(0)
    return Trainee(RECIPE.method.build(Domain(), Domain(), 16), RECIPE, torch.device("cpu"), World())


def observed(folder, doctor, steps, validation=None):
    """The lines of statistics after some steps have been noted; validated ones with the score given for the step."""
    trainee = trainee_of()
    folder.mkdir(exist_ok=True)
    run = Run(folder)
    observer = Observer(RECIPE, CENSUS, run, validation, (), doctor, Interrupts())
    for step, score in steps.items():
        trainee.images = step
        scores = {} if score is None else {"validation": {"lpips": score}}
        observer.note(trainee, {"step": step, "epoch": 2, "losses": {"G/gan_ab": 0.5}} | scores)
    return [json.loads(line) for line in run.stats.read_text().splitlines()]


def test_a_look_writes_its_numbers_and_its_verdicts_into_the_line_of_its_step(tmp_path):
    lines = observed(tmp_path, Looks(SATURATED, SATURATED, HEALTHY), dict.fromkeys([100, 150, 200, 300]))
    assert [line["step"] for line in lines] == [100, 150, 200, 300]
    assert [line.get("health") for line in lines] == [SATURATED, None, SATURATED, HEALTHY]
    young, between, ill, healed = (line.get("verdicts") for line in lines)
    assert (young, between, healed) == ([], None, [])  # two looks in a row are needed, and the third found it healed
    (verdict,) = ill
    assert verdict.startswith(FOUND) and "--method.init_gain" in verdict


def test_a_verdict_is_a_warning_once(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        lines = observed(tmp_path, Looks(*[SATURATED] * 4), dict.fromkeys([100, 200, 300, 400]))
    assert [len(line["verdicts"]) for line in lines] == [0, 1, 1, 1]
    (record,) = caplog.records
    assert record.getMessage().startswith(FOUND)


@pytest.mark.parametrize(("higher", "best", "rule"), [(False, 20, "lowest lpips"), (True, 10, "highest lpips")])
def test_the_snapshot_with_the_best_score_is_kept_with_the_rule_that_chose_it(higher, best, rule, tmp_path):
    validation = Validation(lambda *_: {}, "lpips", higher)
    observed(tmp_path, Looks(), {10: 0.5, 20: 0.25, 30: 0.375, 40: None}, validation)
    kept = Snapshot.load(Run(tmp_path).best)
    assert kept.about["images"] == best
    assert kept.about["selection"] == f"{rule} on the validation split, {0.5 if higher else 0.25}"


def test_a_step_is_due_where_it_is_validated_or_the_doctor_looks(tmp_path):
    validation = Validation(lambda *_: {}, "lpips", False)
    for wanted, expected in ((validation, [50, 100, 200]), (None, [100, 200])):
        observer = Observer(RECIPE, CENSUS, Run(tmp_path), wanted, {50, 100}, Looks(), Interrupts())
        assert [step for step in (1, 50, 99, 100, 200) if observer.due(step)] == expected


def test_a_step_needs_no_line_where_one_is_on_record_or_nothing_was_trained_yet(tmp_path):
    observer = Observer(RECIPE, CENSUS, Run(tmp_path), None, (), Looks(), Interrupts())
    assert [observer.noted(step) for step in (0, 1)] == [True, False]
    observer.note(trainee_of(), {"step": 7, "epoch": 1, "losses": {}})
    resumed = Observer(RECIPE, CENSUS, Run(tmp_path), None, (), Looks(), Interrupts())
    for each in (observer, resumed):
        assert [each.noted(step) for step in (0, 6, 7, 8)] == [True, True, True, False]


def test_a_validation_scores_the_trained_networks_at_its_steps_and_draws_nothing(tmp_path):
    seen, trainee = [], trainee_of()
    trainee.images = 12
    refs = (Ref(tmp_path / "0.png"),)
    census = replace(CENSUS, val=Split(refs, refs, False))

    def score(snapshot, census, poll):
        poll()  # nobody asked to stop
        seen.append((snapshot, census.val, torch.rand(()).item()))
        return {"lpips": 0.5}

    observer = Observer(RECIPE, census, None, Validation(score, "lpips", False), {3}, Looks(), Interrupts())
    before = torch.get_rng_state()
    assert [observer.scores(trainee, step) for step in (1, 2, 3)] == [{}, {}, {"validation": {"lpips": 0.5}}]
    assert torch.equal(torch.get_rng_state(), before)
    ((snapshot, val, _),) = seen
    assert val == census.val and snapshot.generators.keys() == {"a2b", "b2a"} and snapshot.about["images"] == 12
    assert snapshot.about["selection"] == "a candidate"
    weights = zip(snapshot.generators["b2a"].parameters(), trainee.method.G_ba.parameters(), strict=True)
    assert all(torch.equal(kept, trained) for kept, trained in weights)


def test_whoever_asks_to_stop_ends_a_validation(tmp_path):
    interrupts = Interrupts()
    refs = (Ref(tmp_path / "0.png"),)
    census = replace(CENSUS, val=Split(refs, refs, False))
    observer = Observer(RECIPE, census, None, Validation(lambda *of: of[2](), "lpips", False), {3}, Looks(), interrupts)
    interrupts.signum = 15
    with pytest.raises(Interrupted, match="stopped while validating; run the same command to go on") as caught:
        observer.scores(trainee_of(), 3)
    assert caught.value.exit_code == 128 + 15


def test_only_the_process_that_has_the_run_folder_looks_and_writes():
    observer = Observer(RECIPE, CENSUS, None, None, (), Looks(), Interrupts())  # a look would find no numbers
    observer.note(trainee_of(), {"step": 100, "epoch": 1, "losses": {}})
    assert observer.lines == []

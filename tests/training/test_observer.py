"""What stands in a line of statistics, what is said once, and what is kept beside it."""

import json
import logging

import pytest
import torch

from diptych.data.census import Census
from diptych.data.folders import Split
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


def observed(folder, doctor, steps, validation=None):
    """The lines of statistics after some steps have been noted; validated ones with the score given for the step."""
    torch.manual_seed(0)
    trainee = Trainee(RECIPE.method.build(Domain(), Domain(), 16), RECIPE, torch.device("cpu"), World())
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

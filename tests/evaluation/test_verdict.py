"""The sentence after a training says whether the translator is better than doing nothing."""

from dataclasses import replace

import pytest

from diptych.evaluation.results import Evaluation, Result
from diptych.evaluation.verdict import verdict
from diptych.metrics.estimate import Estimate


def scored(metric, **numbers):
    better = "higher" if metric == "psnr" else "lower"
    rows = [Result(metric, "a2b", of, Estimate(v, v - h, v + h, 60), "", better, "p") for of, (v, h) in numbers.items()]
    return Evaluation(tuple(rows), {})


@pytest.mark.parametrize(
    ("found", "start"),
    [
        (
            scored("kid", model=(0.02, 0.01), copy=(0.11, 0.02)),
            "a2b is better than the unchanged input (KID 0.0200 against 0.1100): ",
        ),
        (
            scored("kid", model=(0.2, 0.01), copy=(0.11, 0.02)),
            "a2b is worse than the unchanged input (KID 0.2000 against 0.1100): ",
        ),
        (
            scored("kid", model=(0.1, 0.01), copy=(0.11, 0.02)),
            "a2b looks better than the unchanged input (KID 0.1000 against 0.1100), but",
        ),
        (
            scored("psnr", model=(14, 0.5), copy=(8, 0.5), mean=(16, 0.5)),
            "a2b is worse than one flat colour (PSNR 14.00 against 16.00): ",
        ),
        (scored("kid", model=(0.2, 0.01)), "a2b: there is no baseline to judge by"),
    ],
)
def test_a_translator_is_judged_by_the_best_baseline(found, start):
    assert verdict(found, "a2b", "runs/x").startswith(start)


def test_images_that_agree_decide_although_intervals_overlap():
    found = scored("psnr", model=(14, 0.7), mean=(13.4, 0.7))
    surely = Evaluation(tuple(replace(r, p=0.001 if r.of == "mean" else None) for r in found.results), {})
    assert verdict(found, "a2b", "r").startswith("a2b looks better than one flat colour (PSNR 14.00 against")
    assert verdict(surely, "a2b", "r").startswith("a2b is better than one flat colour (PSNR 14.00 against 13.40)")


def test_intervals_that_lie_apart_decide_where_images_are_too_few_for_a_test():
    few = scored("psnr", model=(9.3, 0.03), copy=(34.44, 0.2))  # with three images no p by permutation is below 0.25
    undecided = Evaluation(tuple(replace(r, p=0.25 if r.of == "copy" else None) for r in few.results), {})
    assert verdict(undecided, "a2b", "r").startswith("a2b is worse than the unchanged input (PSNR 9.30 against 34.44")


def test_a_number_far_from_the_baseline_is_said_to_lie_on_its_side_although_few_images_leave_it_open():
    found = scored("kid", model=(0.66, 0.9), copy=(0.03, 0.02))
    assert verdict(found, "a2b", "r").startswith("a2b looks no better than the unchanged input (KID 0.6600 against 0.0300), but")


def test_what_comes_next_is_said():
    assert "`diptych doctor runs/x`" in verdict(scored("kid", model=(0.2, 0.01), copy=(0.11, 0.02)), "a2b", "runs/x")
    near = scored("kid", model=(0.02, 0.01), copy=(0.11, 0.02), truth=(0.015, 0.01))
    assert "about as near as other real images" in verdict(near, "a2b", "runs/x")

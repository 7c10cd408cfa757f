"""From lines of statistics to verdicts: every rule finds its own problem, and nothing else."""

import math
import re

import pytest

from diptych.recipe import Recipe, flat
from diptych.training.health.advice import NOTHING_LEFT
from diptych.training.health.diagnosis import MEANING, MIN_LOOKS, RULES, diagnose, num_looks

PIX2PIX, CYCLEGAN = (Recipe.create(name).to_dict() for name in ("pix2pix", "cyclegan"))
HEALTHY = {"spread": 0.8, "detail": 0.9, "saturated": 0.01, "saturated_real": 0.02, "checker": 0.01, "checker_real": 0.01}
HEALTHY |= {"luma": 0.5, "copy": 0.9, "dead": 0.1, "cycle": 0.4, "noised": 0.4}
LOSSES = {"D/real_b": 0.1, "D/fake_b": 0.08, "G/gan_ab": 0.3, "G/cycle_a": 2.0}


def line(step, losses=LOSSES, epoch=2, **health):
    """A line of a CycleGAN with a look; health by name of a2b, or by full name with __ for a slash."""
    named = {f"a2b/{name}": value for name, value in HEALTHY.items()} | {"weights/G": 0.02 + 1e-6 * step}
    for name, value in health.items():
        named[name.replace("__", "/") if "__" in name else f"a2b/{name}"] = value
    return {"step": step, "images": step, "epoch": epoch, "losses": dict(losses), "health": named}


def course(looks=8, losses=LOSSES, **health):
    return [line(100 * (k + 1), losses, **health) for k in range(looks)]


def problems(lines, recipe=CYCLEGAN):
    return {verdict.problem for verdict in diagnose(lines, recipe)}


def test_healthy_lines_give_no_verdict():
    assert problems(course()) == set()
    assert problems([]) == set()
    assert problems([{"step": 50, "images": 50, "epoch": 1, "losses": LOSSES}]) == set()


CASES = {
    "one output for all inputs": {"spread": 0.01},
    "flat output": {"detail": 0.01},
    "output = input": {"copy": 0.02},
    "colours inverted": {"luma": -0.8},
    "dead ReLU": {"dead": 1.0},
    "saturated output": {"saturated": 0.9},
    "checkerboard": {"checker": 0.06},
    "pairs do not belong together": {"match": 0.5},
    "the cycle does not return": {"cycle": 1.3, "noised": 1.3},
    "the cycle hides information": {"noised": 0.9},
    "discriminator wins": {"losses": LOSSES | {"D/real_b": 0.004, "D/fake_b": 0.001}},
    "discriminator diverges": {"losses": LOSSES | {"D/real_b": 3.0, "D/fake_b": 2.0}},
    "discriminator over-fits": {"train__D/real_b": 0.01, "held_out__D/real_b": 0.6},
    "networks do not learn": {"weights__G": 0.02},
}


@pytest.mark.parametrize("problem", CASES)
def test_a_number_beyond_its_limit_is_one_verdict_with_number_limit_step_and_advice(problem):
    (verdict,) = diagnose(course(**CASES[problem]), CYCLEGAN)
    (rule,) = [rule for rule in RULES if rule.problem == problem]
    assert (verdict.problem, verdict.threshold) == (problem, rule.limit)
    assert verdict.since_step == (200 if rule.number == "moved" else 100)
    text = str(verdict)
    assert f"{rule.number} {verdict.number:.3g} is {rule.sense} {rule.limit:g} since step {verdict.since_step}" in text
    assert MEANING[rule.number] in text


def test_weights_that_grow_too_fast_run_away():
    lines = [line(100 * k, weights__G=0.02 + 0.06 * k) for k in range(1, 4)]
    (verdict,) = diagnose(lines, CYCLEGAN)
    assert verdict.problem == "weights run away" and verdict.where == "phase G"
    assert verdict.number == pytest.approx(math.sqrt((0.2**2 - 0.14**2) / 100))


def test_a_loss_that_climbs_far_above_its_lowest_diverges():
    lines = course(4) + [line(100 * k, LOSSES | {"G/cycle_a": 9.0, "G/gan_ab": 9.0}) for k in (5, 6)]
    (verdict,) = diagnose(lines, CYCLEGAN)  # the adversarial loss may climb
    assert (verdict.problem, verdict.where, verdict.number, verdict.since_step) == ("loss diverges", "G/cycle_a", 4.5, 500)


def test_a_loss_that_became_negligible_may_vary_by_any_factor():
    small = [line(100 * k, LOSSES | {"G/idt_a": 1e-5}) for k in range(1, 5)]
    assert problems(small + [line(100 * k, LOSSES | {"G/idt_a": 5e-5}) for k in (5, 6)]) == set()  # of 2.3 in all
    fallen = [line(100 * k, {"G/l1": value}) for k, value in enumerate((1.0, 0.1, 0.01, 0.05, 0.05), start=1)]
    assert problems(fallen) == set()  # it began at 1
    risen = [line(100 * k, {"G/l1": value}) for k, value in enumerate((1.0, 0.2, 0.7, 0.7), start=1)]
    (verdict,) = diagnose(risen, PIX2PIX)
    assert (verdict.problem, verdict.where, verdict.number) == ("loss diverges", "G/l1", pytest.approx(3.5))


def test_a_line_whose_updates_were_all_skipped_hides_no_later_divergence():
    skipped = {"step": 420, "images": 420, "epoch": 2, "losses": {}}
    lines = [*course(4), skipped, line(500), *(line(100 * k, LOSSES | {"G/cycle_a": 9.0}) for k in (6, 7))]
    (verdict,) = diagnose(lines, CYCLEGAN)
    assert (verdict.problem, verdict.where, verdict.number) == ("loss diverges", "G/cycle_a", 4.5)


def test_without_a_cycle_loss_a_cycle_that_does_not_return_is_said_at_once():
    recipe = Recipe.create("cyclegan", {"method": {"lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0}}).to_dict()
    (verdict,) = diagnose(course(2, cycle=1.5, noised=1.5), recipe)
    assert verdict.problem == "no cycle"
    assert "--method.lambda_cycle_a 10 (now 0.0)" in str(verdict)


def test_what_is_not_finite_is_said_at_once_and_forgotten_when_it_is_long_past():
    bad = {"step": 7, "images": 7, "epoch": 1, "losses": {"G/l1": math.nan, "D/real": 1.0}}
    (verdict,) = diagnose([bad], PIX2PIX)
    assert (verdict.problem, verdict.where, verdict.since_step) == ("not finite", "G/l1", 7)
    assert str(verdict).startswith("G/l1: not finite: loss nan ") and "--train.lr (now 0.0002)" in str(verdict)
    assert problems([bad, *course(10)]) == set()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.looks > 1], ids=lambda rule: rule.problem)
def test_one_look_fewer_than_a_rule_asks_for_is_not_enough(rule):
    settings = {"lambda_cycle_a": 0.0} if rule.problem == "no cycle" else {}
    recipe = Recipe.create("cyclegan", {"method": settings}).to_dict()
    bad = CASES.get(rule.problem, {"cycle": 1.5, "noised": 1.5})
    if rule.problem == "loss diverges":
        bad = {"losses": LOSSES | {"G/cycle_a": 99.0}}
    good = course(3)
    later = [line(1000 + k, **bad) for k in range(rule.looks)]
    before = {} if rule.problem == "no cycle" else problems(good, recipe)
    assert rule.problem not in problems(good + later[:-1], recipe) and rule.problem not in before
    assert rule.problem in problems(good + later, recipe)


def test_what_healed_is_not_reported():
    assert problems([*course(4, spread=0.01), line(900)]) == set()


def test_true_negatives_are_not_inverted_by_mistake():
    assert problems(course(luma=-0.9, luma_real=-0.8)) == set()
    assert problems(course(luma=-0.9, luma_real=0.8)) == {"colours inverted"}


def test_black_and_white_targets_may_be_met_with_black_and_white():
    assert problems(course(saturated=0.95, saturated_real=0.9)) == set()


def test_targets_with_a_pattern_of_their_own_may_be_met_with_it():
    assert problems(course(checker=0.06, checker_real=0.06)) == set()


def test_one_image_for_all_does_not_accuse_the_pairs():
    assert problems(course(match=0.5, spread=0.01)) == {"one output for all inputs"}


def test_a_wgan_critic_has_no_coin_to_be_compared_with():
    recipe = Recipe.create("cyclegan", {"method": {"gan": "wgan"}}).to_dict()
    assert problems(course(losses=LOSSES | {"D/real_b": -9.0, "D/fake_b": 3.0}), recipe) == set()


def test_an_undecided_discriminator_of_every_kind_is_neither_winning_nor_diverging():
    for gan, half in {"vanilla": math.log(2) / 2, "lsgan": 0.125, "hinge": 0.5}.items():
        recipe = Recipe.create("pix2pix", {"method": {"gan": gan}}).to_dict()
        assert problems(course(losses={"D/real": half, "D/fake": half}), recipe) == set()


def test_young_networks_are_not_judged():
    young = [line(step, epoch=1, spread=0.0) for step in (10, 20, 30, 40)]
    assert problems(young) == set() and num_looks(young) == 0
    assert num_looks([*young, line(60), line(120)]) == MIN_LOOKS == min(rule.looks for rule in RULES if rule.number != "moved")


def test_advice_names_settings_that_exist_and_their_values():
    known = flat(PIX2PIX) | flat(CYCLEGAN)
    texts = [" ".join([*rule.advice.clauses, rule.advice.lead, rule.advice.last]) for rule in RULES]
    named = [name for text in texts for name in re.findall(r"--(\w+\.\w+)", text)]
    assert len(named) > 20 and set(named) <= known.keys()
    (verdict,) = diagnose(course(dead=1.0), PIX2PIX)
    assert "--method.norm instance (now batch)" in str(verdict)


def test_a_method_of_ones_own_is_not_advised_to_set_what_it_lacks():
    recipe = {"method": {"name": "mine:Config"}, "train": {"lr": 0.1}}
    (verdict,) = diagnose(course(dead=1.0), recipe)
    assert str(verdict).endswith("; start again with a lower --train.lr (now 0.1)")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "start again with --train.lr 1e-4 (now 0.0002) and --method.norm instance (now batch)"),  # init_gain is 0.02
        ({"train.lr": 1e-4}, "start again with --method.norm instance (now batch)"),
        (
            {"method.init_gain": 0.1, "method.norm": "instance", "train.lr": 0.0001},
            "start again with --method.init_gain 0.02 (now 0.1)",
        ),
        ({"method.norm": "instance", "train.lr": 0.0001}, NOTHING_LEFT),
    ],
)
def test_advice_that_would_change_nothing_is_left_out(changes, said):
    (verdict,) = diagnose(course(detail=0.0), Recipe.create("pix2pix").replace(**changes).to_dict())
    assert str(verdict).endswith(f"; {said}")


def test_a_weight_of_0_is_not_to_be_lowered():
    recipe = Recipe.create("cyclegan", {"method": {"lambda_identity": 0.0}}).to_dict()
    (verdict,) = diagnose(course(copy=0.0), recipe)
    assert str(verdict).endswith("; if a and b hardly differ there is little to learn: see them with `diptych check`")


def test_every_rule_has_a_meaning():
    assert {rule.number for rule in RULES} <= MEANING.keys()

"""The numbers of a study, against ones worked out by hand, other programs, and participants whose ability is known."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from diptych.errors import DataError
from diptych.study.export import answers_csv, safe
from diptych.study.folder import Picture, Study
from diptych.study.intervals import Comparison, compare_groups, compare_within, holm, interval, published_error, student
from diptych.study.page import page
from diptych.study.protocol import Protocol, Trial, trials_of
from diptych.study.ranking import bradley_terry, strengths_of
from diptych.study.results import exclusion, marks, results_of
from diptych.study.store import Answer, Participant


def made_up(protocol: Protocol, tmp_path, methods=("m", "n")) -> Study:
    pictures = {f"{source}-{i}": Picture(source, f"{i}") for source in ("real", "catch", *methods) for i in range(60)}
    return Study(tmp_path, "T", protocol, tuple(methods), pictures, {"en": "ok?"}, False, 8, 8)


def person(study: Study, number: int, method: str, wrong, rng=None, **changed) -> Participant:
    """A participant who is wrong where ``wrong``, a function of the trial and its number, says so."""
    methods = study.methods if study.protocol.kind == "compare" else [method]
    plan = trials_of(study.protocol, study.cards(), methods, rng or random.Random(number))
    first, second = study.protocol.answers
    other = {first: second, second: first}
    answers = tuple(
        Answer(i, other[t.truth] if wrong(t, i) else t.truth, f"key-{i:04}", (1000.0,) * len(t.pictures), 16.7, 500.0)
        for i, t in enumerate(plan)
    )
    return replace(Participant(number, f"id{number}", method, tuple(plan), "en", "v", False, 0.0, answers), **changed)


def test_the_table_is_the_one_worked_out_by_hand(tmp_path):
    study = made_up(Protocol(), tmp_path)
    # Wrong in 10, 20 and 30 of 40 trials; practice never counts.
    people = [
        person(study, i, "m", lambda t, k, w=w: t.part == "practice" or 10 <= k < 10 + w) for i, w in enumerate((10, 20, 30))
    ]
    people += [person(study, 3, "n", lambda t, k: False)]
    results = results_of(study, people, width=0.05)
    m, n = results.methods
    assert (m.method, m.participants, m.trials, m.fooled.value) == ("m", 3, 120, 0.5) and m.doubted is None
    assert m.more == math.ceil((1.959964 * 0.25 / 0.05) ** 2) - 3 == 94  # the standard deviation of .25, .5, .75 is .25
    assert (m.fooled.low, m.fooled.high) == (0.25, 0.75)  # all three draws equal: 2 in 27 draws
    assert n.fooled.value == 0 and n.participants == 1 and n.more is None and math.isnan(n.error) and math.isnan(n.fooled.low)
    assert sum(number for *_, number in m.images) == 120 and m.images[0][1] >= m.images[-1][1]
    assert json.loads(json.dumps(results.to_json(), allow_nan=False))["methods"][1]["error"] is None


def test_the_share_of_an_image_is_that_of_its_own_trials(tmp_path):
    study = made_up(Protocol(practice=0, same_input=True), tmp_path)
    bad = {"7", "31"}
    people = [person(study, i, "m", lambda t, k: study.pictures[t.pictures[0]].name in bad) for i in range(8)]
    (m,) = results_of(study, people).methods
    assert {name for name, share, _ in m.images if share == 1} == bad and {share for _, share, _ in m.images} == {0.0, 1.0}


def test_singly_shown_real_pictures_have_a_number_of_their_own(tmp_path):
    study = made_up(Protocol("single"), tmp_path)
    (m,) = results_of(study, [person(study, 0, "m", lambda t, k: t.truth == "real")]).methods
    assert (m.fooled.value, m.doubted, m.trials) == (0.0, 1.0, 20)
    (m,) = results_of(study, [person(study, 0, "m", lambda t, k: t.truth == "fake")]).methods
    assert (m.fooled.value, m.doubted) == (1.0, 0.0)


def test_who_does_not_count_is_left_out_by_the_stated_rules(tmp_path):
    study = made_up(Protocol(catch=5), tmp_path)
    good = person(study, 0, "m", lambda t, k: False)
    stopped = person(study, 1, "m", lambda t, k: True)
    stopped = replace(stopped, answers=stopped.answers[:-1])
    catches = [k for k, t in enumerate(good.trials) if t.part == "catch"]
    one_missed = person(study, 0, "m", lambda t, k: k == catches[0])
    two_missed = person(study, 0, "m", lambda t, k: k in catches[:2], id="x")
    robot = person(study, 4, "m", lambda t, k: t.part != "catch", simulated=True)
    twice = person(study, 5, "m", lambda t, k: True, again=True)
    assert [exclusion(p) for p in (good, twice, stopped, one_missed, two_missed, robot)] == [
        "",
        "took part before",
        "not finished",
        "",  # right in 4 of 5
        "failed the catch trials",
        "simulated",
    ]
    results = results_of(study, [good, stopped, two_missed, robot])
    assert results.methods[0].fooled.value == 0 and results.methods[0].trials == 40
    assert results.left_out == {"not finished": 1, "failed the catch trials": 1, "simulated": 1}
    (rehearsal,) = results_of(study, [good, robot], simulated=True).methods
    assert rehearsal.participants == 1 and rehearsal.fooled.value == 1
    with pytest.raises(DataError, match=r"no answers to count \(1 not finished\)"):
        results_of(study, [stopped])
    with pytest.raises(DataError, match="nobody took part"):
        results_of(study, [])


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"shown_ms": (1016.7, 983.3)}, []),  # one frame
        ({"shown_ms": (1000.0, 1017.2)}, ["late"]),
        ({"shown_ms": (900.0, 1000.0)}, ["late"]),
        ({"views": 2}, ["again"]),
        ({"interrupted": True, "response_ms": 99.0}, ["interrupted", "hasty"]),
    ],
)
def test_doubtful_trials_are_marked_and_strictly_not_counted(tmp_path, changed, found):
    study = made_up(Protocol(), tmp_path)
    people = [person(study, 0, "m", lambda t, k: False)]
    answers = list(people[0].answers)
    answers[20] = replace(answers[20], **changed)
    people[0] = replace(people[0], answers=tuple(answers))
    assert marks(study, people[0].trials[20], answers[20]) == found
    for strict, trials in ((False, 40), (True, 39 if found else 40)):
        results = results_of(study, people, strict=strict)
        assert results.methods[0].trials == trials and results.marked == dict.fromkeys(found, 1)


def test_the_standard_error_is_the_published_bootstrap():
    rng = np.random.default_rng(3)
    wrong = rng.random((12, 40)) < rng.random((12, 1))  # participants x trials
    drawn = []
    for _ in range(3000):  # as the authors wrote it: participants again, and for each their trials again
        people = rng.integers(0, 12, 12)
        drawn.append(np.mean([wrong[p][rng.integers(0, 40, 40)] for p in people]))
    assert published_error(wrong.sum(axis=1), np.full(12, 40)) == pytest.approx(np.std(drawn), rel=0.05)


def test_the_quantiles_are_moved_outwards_as_hesterberg_says():
    for degrees, within in ((2, 0.04), (5, 0.005), (24, 1e-4), (49, 1e-5)):
        assert student(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=within)
    shares = np.random.default_rng(2).normal(0.3, 0.1, 25)
    found = interval(shares)
    error = shares.std() * np.sqrt(25 / 24) * 2.0639 / 5  # means of draws have the biased deviation over 5; t is 2.0639
    assert found.value == shares.mean() and (found.high - found.low) / 2 == pytest.approx(error, rel=0.04)
    few = np.array([0.2, 0.4, 0.3])
    assert (interval(few).low, interval(few).high) == pytest.approx((0.2, 0.4))


def test_two_methods_are_compared_as_scipy_does():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.30, 0.1, 14), rng.normal(0.38, 0.1, 15)
    found = compare_groups("a", "b", {"a": a, "b": b})
    reference = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), n_resamples=20_000, vectorized=True, rng=rng
    )
    assert found.difference == pytest.approx(a.mean() - b.mean()) and found.p == pytest.approx(reference.pvalue, abs=0.012)


def test_comparisons_of_everybody_are_tested_as_scipy_does():
    rng = np.random.default_rng(6)
    differences = rng.normal(0.06, 0.2, 18)
    found = compare_within("a", "b", differences)
    reference = scipy.stats.permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=rng,
    )
    assert found.difference == pytest.approx(differences.mean()) and found.p == pytest.approx(reference.pvalue, abs=0.012)


WINS = np.array([[0, 7, 9], [3, 0, 8], [1, 4, 0]], float)


def test_strengths_are_the_most_likely_ones():
    def minus_likelihood(logs):
        values = np.exp([0, *logs])
        return -sum(WINS[i, j] * np.log(values[i] / (values[i] + values[j])) for i in range(3) for j in range(3))

    best = np.exp([0, *scipy.optimize.minimize(minus_likelihood, [0, 0], tol=1e-12).x])
    found = bradley_terry(np.stack([WINS, WINS.T]))
    assert found[0] == pytest.approx(best / best.sum(), abs=1e-5)
    assert found[1] == pytest.approx((1 / best) / (1 / best).sum(), abs=1e-5)  # losses for wins: strengths are inverted
    assert bradley_terry(np.array([[0, 3.0], [1, 0]])) == pytest.approx([0.75, 0.25])
    assert bradley_terry(np.zeros((3, 3))) == pytest.approx([1 / 3] * 3)


def test_strengths_are_those_of_choix():
    choix = pytest.importorskip("choix")
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(int(WINS[i, j]))]
    reference = np.exp(choix.opt_pairwise(3, pairs))
    assert bradley_terry(WINS) == pytest.approx(reference / reference.sum(), abs=1e-5)


def test_methods_that_were_compared_are_ranked_with_intervals(tmp_path):
    study = made_up(Protocol("compare", practice=2, trials=30, catch=2), tmp_path, ("m", "n", "o"))
    truth, rng = {"m": 0.2, "n": 0.5, "o": 0.3}, random.Random(4)

    def chosen(plan):
        for trial in plan:
            left, right = (truth.get(study.pictures[id].source, 1) for id in trial.pictures)
            yield trial.truth or ("left" if rng.random() < left / (left + right) else "right")

    people = []
    for number in range(40):
        plain = person(study, number, "all", lambda t, k: False)
        answers = (replace(a, answer=word) for a, word in zip(plain.answers, chosen(plain.trials), strict=True))
        people.append(replace(plain, answers=tuple(answers)))
    results = results_of(study, people)
    assert [row.method for row in results.methods] == ["n", "o", "m"] and results.compares
    assert sum(row.strength.value for row in results.methods) == pytest.approx(1)
    for row in results.methods:
        assert row.strength.low <= truth[row.method] <= row.strength.high and row.strength.high - row.strength.low < 0.12
        assert (row.participants, row.trials, row.doubted) == (40, 800, None)  # 30 trials of two of three methods
    assert sum(row.fooled.value for row in results.methods) == pytest.approx(1.5, abs=0.02)
    assert {(c.one, c.other): c.p < 0.05 for c in results.comparisons}["m", "n"]
    written = results.to_json()["methods"][0]
    assert written["preferred"]["value"] == results.methods[0].fooled.value and "fooled" not in written
    rows = list(csv.DictReader(io.StringIO(answers_csv(study, people[:1]))))
    assert {row["right"] for row in rows if row["part"] != "catch"} == {""} and rows[0]["method"] == "all"


def test_a_method_that_never_won_has_no_strength_and_one_participant_no_interval():
    wins = np.zeros((6, 3, 3), int)
    wins[:, 0, 1] = wins[:, 0, 2] = 4
    wins[:, 1, 2] = wins[:, 2, 1] = 2
    first, *others = strengths_of(wins)
    assert first.value == pytest.approx(1, abs=1e-3) and all(other.value == pytest.approx(0, abs=1e-3) for other in others)
    assert math.isnan(strengths_of(wins[:1])[0].low)


def test_holm_multiplies_the_smallest_p_most():
    given = [
        Comparison("a", "b", 0.1, 0.03, 0), Comparison("a", "c", 0.1, 0.01, 0), Comparison("b", "c", 0.1, 0.04, 0)
    ]  # fmt: skip
    assert [c.p_holm for c in holm(given)] == pytest.approx([0.06, 0.03, 0.06])


def test_the_interval_holds_the_truth_about_as_often_as_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.study.intervals.RESAMPLES", 500)
    study = made_up(Protocol(practice=0, trials=20), tmp_path, ("m",))
    rng, held = random.Random(11), 0
    for _ in range(60):
        shares = [rng.betavariate(3, 7) for _ in range(30)]  # their mean over all people is .3
        people = [person(study, i, "m", lambda t, k, s=s: rng.random() < s, rng) for i, s in enumerate(shares)]
        (m,) = results_of(study, people).methods
        held += m.fooled.low <= 0.3 <= m.fooled.high
    assert held >= 52  # of 60; for a true 95 % this fails once in 200


def test_the_export_has_a_line_for_each_answer_and_no_formula_and_no_id(tmp_path):
    study = made_up(Protocol(practice=1, trials=2), tmp_path)
    study = replace(study, pictures={id: replace(p, name=f"=1+{p.name}") for id, p in study.pictures.items()})
    people = [person(study, i, "m", lambda t, k: k == 1) for i in range(3)]
    text = answers_csv(study, people)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 9 and {row["participant"] for row in rows} == {"1", "2", "3"}
    assert (
        [row["right"] for row in rows[:3]] == ["1", "0", "1"]
        and rows[0]["part"] == "practice"
        and rows[0]["shown_ms"] == "1000.0 1000.0"
    )
    assert all(row["image"].startswith("'=1+") for row in rows) and "id0" not in text
    assert [safe(x) for x in ("=a", "+a", "-a", "@a", "\ta", "\ra", "a=", -3)] == [
        *map("'{}".format, ("=a", "+a", "-a", "@a", "\ta", "\ra")),
        "a=",
        "'-3",
    ]


def test_the_page_shows_the_table_and_escapes_names(make):
    study, _ = make(Protocol(practice=0, trials=4), title="<b>T</b>")
    people = [person(study, i, method, lambda t, k: k == 0) for i, method in enumerate(("one", "two", "one", "two"))]
    text = page(study, results_of(study, people))
    assert "25.0 %" in text and "&lt;b&gt;T" in text and "<b>T" not in text and "<script" not in text
    assert "not a result" not in text and "Most often taken for real" in text and text.count("data:image/webp") >= 4


def test_a_trial_of_one_real_picture_is_about_that_picture(tmp_path):
    from diptych.study.results import judged

    study = made_up(Protocol("single"), tmp_path)
    assert (
        judged(study, Trial("trial", ("real-4",), "real")) == "4"
        and judged(study, Trial("trial", ("real-4", "m-9"), "right")) == "9"
    )

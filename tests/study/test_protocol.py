"""A participant's trials are those of the papers: numbers, balance, no repeats, and the right answer of each."""

import itertools
import random
from collections import Counter

import pytest
from scipy.stats import chisquare

from diptych.errors import ConfigError
from diptych.study.protocol import Cards, Protocol, Trial, trials_of

REAL = {f"n{i}": f"real{i}" for i in range(60)}
FAKE = {f"n{i}": f"fake{i}" for i in range(60)}
OTHER = {f"n{i}": f"other{i}" for i in range(60)}
THIRD = {f"n{i}": f"third{i}" for i in range(60)}
CATCH = {f"n{i}": f"catch{i}" for i in range(10)}
INPUT = {f"n{i}": f"input{i}" for i in range(60)}
CARDS = Cards(REAL, {"m": FAKE, "o": OTHER, "t": THIRD}, CATCH, INPUT)


def trials(protocol: Protocol, seed: int = 0, methods=("m",)) -> list[Trial]:
    return trials_of(protocol, CARDS, methods, random.Random(seed))


def test_the_defaults_are_those_of_the_papers():
    made = trials(Protocol())
    assert [trial.part for trial in made] == ["practice"] * 10 + ["trial"] * 40
    assert (Protocol().kind, Protocol().question, Protocol().show_ms, Protocol().catch) == ("pairs", "fake", 1000, 0)


@pytest.mark.parametrize(("question", "right"), [("fake", "fake"), ("real", "real")])
def test_the_right_answer_of_a_pair_is_the_side_of_the_picture_asked_for(question, right):
    for trial in trials(Protocol(question=question)):
        assert trial.pictures[trial.truth == "right"].startswith(right)
        assert {picture[:4] for picture in trial.pictures} == {"real", "fake"}


def test_a_single_picture_is_what_its_right_answer_says():
    made = trials(Protocol("single", catch=6))
    assert all(
        trial.pictures[0].startswith({"catch": "real" if trial.truth == "real" else "catch"}.get(trial.part, trial.truth))
        for trial in made
    )
    assert Counter(trial.truth for trial in made if trial.part == "trial") == {"real": 20, "fake": 20}


@pytest.mark.parametrize(("same_input", "equal"), [(True, True), (False, False)])
def test_pairs_are_of_the_same_input_or_never(same_input, equal):
    for seed in range(50):
        for trial in trials(Protocol(same_input=same_input), seed):
            first, second = (picture[4:] for picture in trial.pictures)
            assert (first == second) == equal


def test_no_picture_comes_twice_while_there_are_others():
    for seed in range(50):
        used = Counter(picture for trial in trials(Protocol(), seed) for picture in trial.pictures)
        assert used.most_common(1)[0][1] == 1


def test_with_few_pictures_each_is_used_about_equally_often():
    few = Cards({name: REAL[name] for name in list(REAL)[:7]}, {"m": {name: FAKE[name] for name in list(FAKE)[:7]}}, {})
    used = Counter(p for trial in trials_of(Protocol(), few, ["m"], random.Random(0)) for p in trial.pictures if "fake" in p)
    assert set(used.values()) == {7, 8}  # 50 trials, 7 pictures


def test_sides_are_balanced_for_each_participant_and_at_each_place():
    places: Counter[int] = Counter()
    for seed in range(250):  # 10,000 trials
        counted = [trial for trial in trials(Protocol(), seed) if trial.part == "trial"]
        assert Counter(trial.truth for trial in counted) == {"left": 20, "right": 20}
        places.update(index for index, trial in enumerate(counted) if trial.truth == "left")
    assert chisquare([places[i] for i in range(40)]).pvalue > 0.01  # left is as likely early as late
    made = [trials(Protocol(), seed)[10:] for seed in range(250)]
    repeats = sum(a.truth == b.truth for counted in made for a, b in itertools.pairwise(counted))
    assert chisquare([repeats, 250 * 39 - repeats], [250 * 39 * 19 / 39, 250 * 39 * 20 / 39]).pvalue > 0.01  # without replacement


def test_of_an_odd_number_either_side_may_have_one_more():
    extra = Counter(
        Counter(t.truth for t in trials(Protocol(practice=0, trials=5), seed)).most_common(1)[0] for seed in range(100)
    )
    assert set(extra) == {("left", 3), ("right", 3)} and min(extra.values()) > 25


def test_catch_trials_are_mixed_among_the_counted_ones():
    places = {i for seed in range(40) for i, trial in enumerate(trials(Protocol(catch=4), seed)) if trial.part == "catch"}
    assert min(places) < 15 and max(places) > 48 and min(places) >= 10


def test_a_trial_survives_json():
    trial = trials(Protocol())[0]
    assert Trial.from_json(trial.to_json()) == trial


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trials": 0}, "--trials must be a whole number from 1 to 1,000, found 0"),
        ({"practice": -1}, "--practice must be a whole number from 0"),
        ({"show_ms": 0}, "--show-ms must be a whole number from 1 to 60,000, found 0"),
        ({"catch": True}, "--catch must be a whole number from 0 to 1,000, found True"),
        ({"kind": "both"}, "--protocol must be pairs or single or compare, found 'both'"),
        ({"question": "nice"}, "--question must be fake or real with --protocol pairs, found 'nice'"),
        ({"question": "better"}, "--question must be fake or real with --protocol pairs, found 'better'"),
        ({"kind": "compare", "question": "fake"}, "--question must be better or real with --protocol compare, found 'fake'"),
        ({"inputs": True}, "--show-inputs: needs --same-input in pairs, or the input tells which picture is fake"),
    ],
)
def test_rules_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Protocol(**settings)


@pytest.mark.parametrize(
    ("protocol", "cards", "message"),
    [
        (Protocol(), Cards({"a": "1"}, {"m": FAKE}, {}), "at least 2 real pictures and 1 fake one, found 1 and 60"),
        (Protocol(same_input=True), Cards(REAL, {"m": {"other": "f"}}, {}), "--same-input: no real picture is called other"),
        (Protocol(catch=1), Cards(REAL, {"m": FAKE}, {}), "catch trials needs pictures"),
        (Protocol("compare"), Cards({}, {"m": FAKE}, {}), "--protocol compare needs at least 2 methods, found 1"),
        (Protocol("single", inputs=True), Cards(REAL, {"m": FAKE}, {}, {"n1": "x"}), "--show-inputs: no input is called n0"),
    ],
)
def test_too_few_pictures_are_refused(protocol, cards, message):
    with pytest.raises(ConfigError, match=message):
        trials_of(protocol, cards, ["m"], random.Random(0))


def test_comparisons_are_of_one_input_and_balanced_over_pairs_and_sides():
    for seed in range(30):
        counted = [trial for trial in trials(Protocol("compare", trials=48, catch=6), seed, ("m", "o", "t"))[10:]]
        plain = [trial for trial in counted if trial.part == "trial"]
        assert all(trial.truth == "" and len({p.lstrip("faketohrid") for p in trial.pictures}) == 1 for trial in plain)
        turns = Counter(tuple(p.rstrip("0123456789") for p in trial.pictures) for trial in plain)
        assert turns == Counter(dict.fromkeys(itertools.permutations(["fake", "other", "third"], 2), 8))
        for trial in counted:
            if trial.part == "catch":  # the right answer is the side of the picture that is no scrambled one
                assert "catch" in trial.pictures[trial.truth == "left"] and "catch" not in trial.pictures[trial.truth == "right"]
    assert Protocol("compare").question == "better" and Protocol("compare", question="real").question == "real"


@pytest.mark.parametrize(
    ("protocol", "methods"),
    [
        (Protocol(same_input=True, inputs=True, catch=5), ("m",)),
        (Protocol("single", inputs=True, catch=5), ("m",)),
        (Protocol("compare", inputs=True, catch=5), ("m", "o")),
    ],
)
def test_the_input_shown_is_that_of_the_picture_to_judge(protocol, methods):
    for trial in trials(protocol, 3, methods):
        numbers = {picture.lstrip("realfkotchnip") for picture in trial.pictures}
        assert trial.input and trial.input.removeprefix("input") in numbers
        assert Trial.from_json(trial.to_json()) == trial
    assert all(trial.input is None for trial in trials(Protocol()))
    assert Trial.from_json({"part": "trial", "pictures": ["a", "b"], "truth": "left"}).input is None  # of earlier versions

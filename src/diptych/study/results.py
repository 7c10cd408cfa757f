"""From answers to the papers' table: how often each method's pictures were taken for real, with uncertainty over participants.

Where methods are compared with one another it is how often each was preferred, and their strengths by Bradley and Terry.

Rules of exclusion, all counted in the results: simulated participants, those who did not finish, those whose browser had taken
part before, and those who were right in fewer than 80 % of the catch trials are left out. Practice and catch trials never
count. Trials are marked when a picture was on screen for more than one frame too long or too short, when the trial was begun
more than once, when the page was hidden meanwhile, or when the answer came within 100 ms; with ``strict`` marked trials do not
count.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from diptych.errors import DataError
from diptych.study.folder import Study
from diptych.study.intervals import Comparison, Interval, compare_groups, holm, interval, published_error
from diptych.study.planning import check_width, deviation, needed_for_width
from diptych.study.protocol import Trial
from diptych.study.ranking import compare_pairs, strengths_of
from diptych.study.store import Answer, Participant

CATCH_PASS = 0.8
HASTY = 100  # milliseconds
CLOCK = 0.2  # milliseconds by which a browser's clock may be rounded
WIDTH = 0.03  # half the width of the interval that is aimed at by default
MARKS = {
    "late": "a picture was on screen more than one frame too long or too short",
    "again": "the trial was begun more than once",
    "interrupted": "the page was hidden meanwhile",
    "hasty": f"the answer came within {HASTY} ms",
}


@dataclass(frozen=True)
class Counted:
    """One answer that counts: whether the picture named ``image`` was fake, and whether it was taken for the other kind.

    Of a comparison there are two, one for each method; ``wrong`` then says that its picture was preferred to that of ``other``.
    """

    participant: int
    method: str
    image: str
    fake: bool
    wrong: bool
    other: str = ""


@dataclass(frozen=True)
class MethodResult:
    """How often one method's pictures were taken for real, or preferred in comparisons, as shares from 0 to 1.

    ``fooled`` has the 95 % bootstrap interval over participants, ``error`` is the standard error of the papers: a bootstrap over
    participants and, within each, over trials. ``doubted`` is the share of real pictures called fake (only where pictures are
    shown singly). ``images`` has each picture's name, share and number of answers, the most fooling first. ``more`` is the
    number of further participants that an interval of the wanted width needs, if people differ as they do so far and at least as
    much as chance makes them. ``strength`` is that of Bradley and Terry, of comparisons only.
    """

    method: str
    participants: int
    trials: int
    fooled: Interval
    error: float
    doubted: float | None
    images: tuple[tuple[str, float, int], ...]
    more: int | None
    strength: Interval | None = None


@dataclass(frozen=True)
class Results:
    """The results of a study. ``left_out`` counts participants by reason, ``marked`` counts trials by mark."""

    title: str
    protocol: Mapping[str, Any]
    methods: tuple[MethodResult, ...]
    comparisons: tuple[Comparison, ...]
    left_out: Mapping[str, int]
    marked: Mapping[str, int]
    strict: bool
    simulated: bool
    width: float

    def to_json(self) -> dict[str, Any]:
        """The results as JSON; NaN becomes null. The share of comparisons that a method won is called preferred there."""
        value = dict(_finite(asdict(self)))
        if self.compares:
            value["methods"] = [{"preferred" if k == "fooled" else k: v for k, v in row.items()} for row in value["methods"]]
        return value

    @property
    def compares(self) -> bool:
        """Whether methods were compared with one another."""
        return bool(self.protocol["kind"] == "compare")


def results_of(
    study: Study, people: Iterable[Participant], *, strict: bool = False, simulated: bool = False, width: float = WIDTH
) -> Results:
    """Evaluate a study. ``simulated`` counts simulated participants alone. Raises DataError when nobody's answers count."""
    check_width(width)
    left_out: Counter[str] = Counter()
    marked: Counter[str] = Counter()
    counted: list[Counted] = []
    for person in people:
        if why := exclusion(person, simulated=simulated):
            left_out[why] += 1
            continue
        for trial, answer in zip(person.trials, person.answers, strict=True):
            if trial.part == "trial":
                found = marks(study, trial, answer)
                marked.update(found)
                if not (strict and found):
                    counted += _counted(study, person, trial, answer)
    if not counted:
        reasons = ", ".join(f"{number} {why}" for why, number in left_out.items()) or "nobody took part"
        raise DataError(f"{study.folder}: no answers to count ({reasons}); wait for participants to finish")
    by_method = {method: [c for c in counted if c.method == method] for method in study.methods}
    rates = {method: _rates(answers) for method, answers in by_method.items()}
    rows = tuple(_method(method, answers, width) for method, answers in by_method.items() if len(rates[method][0]))
    if study.protocol.kind == "compare":
        wins = _wins([row.method for row in rows], counted)
        rows = tuple(replace(row, strength=strength) for row, strength in zip(rows, strengths_of(wins), strict=True))
        comparisons = compare_pairs([row.method for row in rows], wins)
        rows = tuple(sorted(rows, key=lambda row: -row.strength.value if row.strength else 0))
    else:
        shares = {method: wrong / number for method, (wrong, number) in rates.items() if len(wrong)}
        comparisons = holm([compare_groups(one, other, shares) for one, other in itertools.combinations(shares, 2)])
    return Results(study.title, asdict(study.protocol), rows, comparisons, dict(left_out), dict(marked), strict, simulated, width)


def exclusion(person: Participant, *, simulated: bool = False) -> str:
    """Why the answers of a participant do not count, or nothing."""
    if person.simulated != simulated:
        return "simulated" if person.simulated else "not simulated"
    if not person.done:
        return "not finished"
    if person.again:
        return "took part before"
    catches = [
        answer.answer == trial.truth for trial, answer in zip(person.trials, person.answers, strict=True) if trial.part == "catch"
    ]
    return "failed the catch trials" if catches and sum(catches) / len(catches) < CATCH_PASS else ""


def marks(study: Study, trial: Trial, answer: Answer) -> list[str]:
    """What is doubtful about an answer, as keys of ``MARKS``."""
    target, tolerance = study.protocol.show_ms, max(answer.frame_ms, 1.0) + CLOCK
    doubts = {
        "late": any(abs(shown - target) > tolerance for shown in answer.shown_ms),
        "again": answer.views > 1,
        "interrupted": answer.interrupted,
        "hasty": answer.response_ms < HASTY,
    }
    return [name for name, doubt in doubts.items() if doubt]


def judged(study: Study, trial: Trial) -> str:
    """The name of the picture that a trial is about: the fake one of a pair, or the only one."""
    fakes = [id for id in trial.pictures if study.pictures[id].source != "real"]
    return study.pictures[(fakes or list(trial.pictures))[0]].name


def _counted(study: Study, person: Participant, trial: Trial, answer: Answer) -> list[Counted]:
    if study.protocol.kind == "compare":
        left, right = (study.pictures[id].source for id in trial.pictures)
        name, won = judged(study, trial), answer.answer == "left"
        return [
            Counted(person.number, left, name, fake=True, wrong=won, other=right),
            Counted(person.number, right, name, fake=True, wrong=not won, other=left),
        ]
    fake = any(study.pictures[id].source != "real" for id in trial.pictures)
    return [Counted(person.number, person.method, judged(study, trial), fake, answer.answer != trial.truth)]


def _wins(methods: Sequence[str], answers: Sequence[Counted]) -> np.ndarray:
    """How often each participant preferred a method (row) to another (column)."""
    people = {number: place for place, number in enumerate(dict.fromkeys(answer.participant for answer in answers))}
    place = {method: i for i, method in enumerate(methods)}
    wins = np.zeros((len(people), len(methods), len(methods)), int)
    for answer in answers:
        if answer.wrong:
            wins[people[answer.participant], place[answer.method], place[answer.other]] += 1
    return wins


def _rates(answers: Sequence[Counted]) -> tuple[np.ndarray, np.ndarray]:
    """For each participant, how many fake pictures they took for real, and how many they judged."""
    wrong: Counter[int] = Counter()
    number: Counter[int] = Counter()
    for answer in answers:
        if answer.fake:
            wrong[answer.participant] += answer.wrong
            number[answer.participant] += 1
    return np.array([wrong[p] for p in number]), np.array(list(number.values()))


def _method(method: str, answers: Sequence[Counted], width: float) -> MethodResult:
    wrong, number = _rates(answers)
    shares = wrong / number
    images: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        if answer.fake:
            images[answer.image].append(answer.wrong)
    ranked = sorted(((name, sum(w) / len(w), len(w)) for name, w in images.items()), key=lambda row: (-row[1], row[0]))
    reals = [answer.wrong for answer in answers if not answer.fake]
    n = len(shares)
    guess = deviation((wrong.sum() + 1) / (number.sum() + 2), round(number.mean()), spread=0.0)
    more = max(0, needed_for_width(width, max(guess, float(shares.std(ddof=1)))) - n) if n > 1 else None
    doubted = sum(reals) / len(reals) if reals else None
    fooled = interval(shares)
    return MethodResult(method, n, int(number.sum()), fooled, published_error(wrong, number), doubted, tuple(ranked), more)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value

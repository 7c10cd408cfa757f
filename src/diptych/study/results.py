"""From answers to the papers' table: how often each method's pictures were taken for real, with uncertainty over participants.

Rules of exclusion, all counted in the results: simulated participants, those who did not finish, and those who were right in
fewer than 80 % of the catch trials are left out. Practice and catch trials never count. Trials are marked when a picture was on
screen for more than one frame too long or too short, when the trial was begun more than once, when the page was hidden meanwhile,
or when the answer came within 100 ms; with ``strict`` marked trials do not count.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from diptych.errors import DataError
from diptych.metrics.estimate import Estimate
from diptych.study.folder import Study
from diptych.study.planning import QUANTILE, deviation, needed_for_width
from diptych.study.protocol import Trial
from diptych.study.store import Answer, Participant

CATCH_PASS = 0.8
HASTY = 100  # milliseconds
CLOCK = 0.2  # milliseconds by which a browser's clock may be rounded
RESAMPLES = 10_000
WIDTH = 0.03  # half the width of the interval that is aimed at by default
MARKS = {
    "late": "a picture was on screen more than one frame too long or too short",
    "again": "the trial was begun more than once",
    "interrupted": "the page was hidden meanwhile",
    "hasty": f"the answer came within {HASTY} ms",
}


@dataclass(frozen=True)
class Counted:
    """One answer that counts: whether the picture named ``image`` was fake, and whether the participant was wrong."""

    participant: int
    method: str
    image: str
    fake: bool
    wrong: bool


@dataclass(frozen=True)
class MethodResult:
    """How often one method's pictures were taken for real, as shares from 0 to 1.

    ``fooled`` has the 95 % bootstrap interval over participants, ``error`` is the standard error of the papers: a bootstrap over
    participants and, within each, over trials. ``doubted`` is the share of real pictures called fake (only where pictures are
    shown singly). ``images`` has each picture's name, share and number of answers, the most fooling first. ``more`` is the
    number of further participants that an interval of the wanted width needs, if people differ as they do so far and at least as
    much as chance makes them.
    """

    method: str
    participants: int
    trials: int
    fooled: Estimate
    error: float
    doubted: float | None
    images: tuple[tuple[str, float, int], ...]
    more: int | None


@dataclass(frozen=True)
class Comparison:
    """Two methods: the difference of their shares, and p of a permutation test over participants, plain and after Holm."""

    one: str
    other: str
    difference: float
    p: float
    p_holm: float


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
        """The results as JSON; NaN becomes null."""
        return dict(_finite(asdict(self)))


def results_of(
    study: Study, people: Iterable[Participant], *, strict: bool = False, simulated: bool = False, width: float = WIDTH
) -> Results:
    """Evaluate a study. ``simulated`` counts simulated participants alone. Raises DataError when nobody's answers count."""
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
                    counted.append(_counted(study, person, trial, answer))
    if not counted:
        reasons = ", ".join(f"{number} {why}" for why, number in left_out.items()) or "nobody took part"
        raise DataError(f"{study.folder}: no answers to count ({reasons}); wait for participants to finish")
    by_method = {method: [c for c in counted if c.method == method] for method in study.methods}
    rates = {method: _rates(answers) for method, answers in by_method.items()}
    rows = tuple(_method(method, answers, width) for method, answers in by_method.items() if len(rates[method][0]))
    shares = {method: wrong / number for method, (wrong, number) in rates.items() if len(wrong)}
    comparisons = _holm([_compare(one, other, shares) for one, other in itertools.combinations(shares, 2)])
    return Results(study.title, asdict(study.protocol), rows, comparisons, left_out, marked, strict, simulated, width)


def exclusion(person: Participant, *, simulated: bool = False) -> str:
    """Why the answers of a participant do not count, or nothing."""
    if person.simulated != simulated:
        return "simulated" if person.simulated else "not simulated"
    if not person.done:
        return "not finished"
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


def _counted(study: Study, person: Participant, trial: Trial, answer: Answer) -> Counted:
    fake = any(study.pictures[id].source != "real" for id in trial.pictures)
    return Counted(person.number, person.method, judged(study, trial), fake, answer.answer != trial.truth)


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


def interval(shares: np.ndarray, *, seed: int = 0) -> Estimate:
    """The mean over participants with its 95 % interval: the expanded percentile bootstrap (Hesterberg 2015, section 3.3).

    The plain percentile interval is too narrow for few participants, by what a normal interval is narrower than Student's and by
    the bias of the standard deviation; its quantiles are moved outwards to make up for both. One participant has no interval.
    """
    n, mean = len(shares), float(shares.mean())
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    rng = np.random.default_rng(seed)
    means = shares[rng.integers(0, n, (RESAMPLES, n))].mean(axis=1)
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student(n - 1))
    low, high = np.quantile(means, [tail, 1 - tail], method="closest_observation")
    return Estimate(mean, float(low), float(high), n)


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by the expansion of Abramowitz and Stegun (26.7.5); within 4 % from 2 degrees on."""
    z, v = QUANTILE, degrees
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / v**power for power, term in enumerate(terms, 1))


def published_error(wrong: np.ndarray, number: np.ndarray, *, seed: int = 0) -> float:
    """The standard error as the papers computed it: participants drawn again with replacement, and each one's trials as well.

    Drawing n yes-or-no answers again with replacement is one draw from a binomial distribution.
    """
    if len(wrong) < 2:
        return math.nan
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(wrong), (RESAMPLES, len(wrong)))
    again = rng.binomial(number[drawn], (wrong / number)[drawn])
    return float((again.sum(axis=1) / number[drawn].sum(axis=1)).std())


def _compare(one: str, other: str, shares: Mapping[str, np.ndarray]) -> Comparison:
    """Permutation test: how often random groups of these participants differ at least as much as the two methods."""
    a, b = shares[one], shares[other]
    difference = float(a.mean() - b.mean())
    together, rng = np.concatenate([a, b]), np.random.default_rng(0)
    mixed = rng.permuted(np.tile(together, (RESAMPLES, 1)), axis=1)
    random = mixed[:, : len(a)].mean(axis=1) - mixed[:, len(a) :].mean(axis=1)
    p = (1 + int((abs(random) >= abs(difference) - 1e-12).sum())) / (1 + RESAMPLES)
    return Comparison(one, other, difference, p, p)


def _holm(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with p adjusted for their number (Holm 1979)."""
    adjusted, least = {}, 0.0
    for rank, c in enumerate(sorted(comparisons, key=lambda c: c.p)):
        least = max(least, min(1.0, (len(comparisons) - rank) * c.p))
        adjusted[c.one, c.other] = least
    return tuple(Comparison(c.one, c.other, c.difference, c.p, adjusted[c.one, c.other]) for c in comparisons)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value

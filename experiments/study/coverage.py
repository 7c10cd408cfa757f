"""How often does the 95 % interval of a study hold the truth? Simulated people of known ability answer it, 100 times over.

`coverage.py DIR` takes a study that `diptych study new` made, with any two methods; without it pictures of noise stand for them.
`coverage.py --compare` is about the strengths of three methods that everybody compares, with their ratios known.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from served import study_in

from diptych.study import intervals, ranking
from diptych.study.folder import Picture, Study
from diptych.study.protocol import Protocol, trials_of
from diptych.study.ranking import bradley_terry
from diptych.study.results import results_of
from diptych.study.statements import Answer
from diptych.study.store import Participant

STRENGTHS = {"one": 0.5, "two": 0.3, "three": 0.2}
TRUTHS = 0.268, 0.231  # shares of fooled answers of two methods: those of CycleGAN in Zhu et al. 2017, table 1, both ways
PEOPLE, SPREAD = 50, 0.1


def person(study: Study, number: int, method: str, mean: float, rng: random.Random) -> Participant:
    """Somebody whose own share comes from a beta distribution with the method's mean."""
    total = mean * (1 - mean) / SPREAD**2 - 1
    share = rng.betavariate(mean * total, (1 - mean) * total)
    plan = trials_of(study.protocol, study.cards(), [method], rng)
    other = {"left": "right", "right": "left"}
    words = [other[trial.truth] if rng.random() < share else trial.truth for trial in plan]
    answers = [Answer(i, word, f"key-{i:04}", (1000.0, 1000.0), 16.7, 500.0) for i, word in enumerate(words)]
    return Participant(number, str(number), method, tuple(plan), "en", "v", False, 0.0, tuple(answers))


def repeat(study: Study, repetitions: int, truths: Sequence[float]) -> None:
    """Print how many intervals hold the truth, how wide they are, and how often a difference is found."""
    truth = dict(zip(study.methods, truths, strict=True))
    held: Counter[str] = Counter()
    widths: dict[str, list[float]] = {method: [] for method in truth}
    rng = random.Random(0)
    for _ in range(repetitions):
        people = [person(study, i, method, truth[method], rng) for i, method in enumerate([*truth] * PEOPLE)]
        for found in results_of(study, people).methods:
            held[found.method] += found.fooled.low <= truth[found.method] <= found.fooled.high
            widths[found.method].append((found.fooled.high - found.fooled.low) / 2)
    for method, share in truth.items():
        print(f"{method}: truth {share:.1%}, held by {held[method]} of {repetitions} intervals, +- {np.mean(widths[method]):.1%}")


def choices(strengths: Sequence[float], spread: float, rng: np.random.Generator) -> np.ndarray:
    """How likely one person prefers i to j (k, k); their own log strengths differ by ``spread`` from everybody's."""
    own = np.array(strengths) * np.exp(rng.normal(0, spread, len(strengths)))
    return own[:, None] / (own[:, None] + own)


def compare(people: int, spread: float, repetitions: int) -> None:
    """Print how many intervals hold each method's strength, which is that of endlessly many people."""
    names = {f"{i}.png": f"{i:032x}" for i in range(60)}
    pictures = {f"{method}-{name}": Picture(method, name) for method in STRENGTHS for name in names}
    rules = Protocol("compare", practice=0)
    study = Study(Path("study"), "", rules, tuple(STRENGTHS), pictures, {}, False, 16, 16)
    rng, drawn = random.Random(0), np.random.default_rng(0)
    everybody = np.mean([choices([*STRENGTHS.values()], spread, drawn) for _ in range(200_000 if spread else 1)], axis=0)
    truth = dict(zip(STRENGTHS, bradley_terry(everybody * (1 - np.eye(len(STRENGTHS)))), strict=True))
    held, widths = Counter(), {method: [] for method in STRENGTHS}
    for _ in range(repetitions):
        took_part = []
        for number in range(people):
            plan = trials_of(rules, study.cards(), [*STRENGTHS], rng)
            own = choices([*STRENGTHS.values()], spread, drawn)
            answers = []
            for i, trial in enumerate(plan):
                left, right = ([*STRENGTHS].index(pictures[id].source) for id in trial.pictures)
                word = "left" if rng.random() < own[left, right] else "right"
                answers.append(Answer(i, word, f"key-{i:04}", (1000.0, 1000.0), 16.7, 500.0))
            took_part.append(Participant(number, str(number), "all", tuple(plan), "en", "v", False, 0.0, tuple(answers)))
        for found in results_of(study, took_part).methods:
            low, high = found.strength.low, found.strength.high
            held[found.method] += low <= truth[found.method] <= high
            widths[found.method].append((high - low) / 2)
    for method, strength in truth.items():
        within = f"held by {held[method]} of {repetitions} intervals, +- {np.mean(widths[method]):.3f}"
        print(f"{people} people who differ by {spread:g}: strength {strength:.3f}, {within}", flush=True)


def main() -> None:
    """Repeat a study of two methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a study of two methods (default: one of noise)")
    parser.add_argument("--repetitions", type=int, default=100, metavar="N", help="how often (default: 100)")
    parser.add_argument("--compare", action="store_true", help="compare three methods with one another")
    parser.add_argument("--people", type=int, default=25, metavar="N", help="how many compare (default: 25)")
    parser.add_argument("--spread", type=float, default=0.0, metavar="S", help="how their log strengths differ (default: 0)")
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="of a bootstrap of strengths (default: 2000)")
    args = parser.parse_args()
    if args.compare:
        intervals.RESAMPLES = ranking.RESAMPLES = args.resamples
        compare(args.people, args.spread, args.repetitions)
        return
    with tempfile.TemporaryDirectory() as scratch:
        study = Study.load(args.folder) if args.folder else study_in(Path(scratch), Protocol())
        repeat(study, args.repetitions, TRUTHS)


if __name__ == "__main__":
    main()

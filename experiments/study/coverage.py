"""How often does the 95 % interval of a study hold the truth? Simulated people of known ability answer it, 100 times over.

`coverage.py DIR` takes a study that `diptych study new` made, with any two methods; without it pictures of noise stand for them.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from served import study_in

from diptych.study.folder import Study
from diptych.study.protocol import Protocol, trials_of
from diptych.study.results import results_of
from diptych.study.store import Answer, Participant

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


def main() -> None:
    """Repeat a study of two methods."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a study of two methods (default: one of noise)")
    parser.add_argument("--repetitions", type=int, default=100, metavar="N", help="how often (default: 100)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        study = Study.load(args.folder) if args.folder else study_in(Path(scratch), Protocol())
        repeat(study, args.repetitions, TRUTHS)


if __name__ == "__main__":
    main()

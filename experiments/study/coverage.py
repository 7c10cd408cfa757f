"""How often does the 95 % interval of a study hold the truth? Simulated people of known ability answer it, 100 times over."""

import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.study.folder import Study
from diptych.study.make import new_study
from diptych.study.protocol import Protocol, trials_of
from diptych.study.results import results_of
from diptych.study.store import Answer, Participant

TRUTH = {"cyclegan": 0.268, "cogan": 0.006}  # shares of fooled answers in CycleGAN's table 1, map to photo
REPETITIONS, PEOPLE, SPREAD = 100, 25, 0.05


def study_in(folder: Path) -> Study:
    """A study of 60 small pictures for each source; what they show does not matter to simulated people."""
    rng = np.random.default_rng(0)
    for source in ("real", *TRUTH):
        (folder / source).mkdir()
        for number in range(60):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / source / f"{number}.png")
    return new_study(folder / "s", folder / "real", {method: folder / method for method in TRUTH}, Protocol())[0]


def person(study: Study, number: int, method: str, rng: random.Random) -> Participant:
    """Somebody whose own share comes from a beta distribution with the method's mean."""
    mean = TRUTH[method]
    total = mean * (1 - mean) / min(SPREAD, mean) ** 2 - 1
    share = rng.betavariate(mean * total, (1 - mean) * total)
    plan = trials_of(study.protocol, study.cards(), [method], rng)
    other = {"left": "right", "right": "left"}
    words = [other[trial.truth] if rng.random() < share else trial.truth for trial in plan]
    answers = [Answer(i, word, f"key-{i:04}", (1000.0, 1000.0), 16.7, 500.0) for i, word in enumerate(words)]
    return Participant(number, str(number), method, tuple(plan), "en", "v", False, 0.0, tuple(answers))


def main() -> None:
    """Print how many intervals hold the truth, and how wide they are."""
    held: Counter[str] = Counter()
    widths: dict[str, list[float]] = {method: [] for method in TRUTH}
    with tempfile.TemporaryDirectory() as folder:
        study, rng = study_in(Path(folder)), random.Random(0)
        for _ in range(REPETITIONS):
            people = [person(study, i, method, rng) for i, method in enumerate([*TRUTH] * PEOPLE)]
            for found in results_of(study, people).methods:
                held[found.method] += found.fooled.low <= TRUTH[found.method] <= found.fooled.high
                widths[found.method].append((found.fooled.high - found.fooled.low) / 2)
    for method, share in TRUTH.items():
        print(f"{method}: truth {share:.1%}, held by {held[method]} of {REPETITIONS} intervals, +- {np.mean(widths[method]):.1%}")


if __name__ == "__main__":
    main()

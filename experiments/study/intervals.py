"""How often does the interval of `diptych study results` hold the truth? Shares of fooled answers drawn 1,500 times."""

import numpy as np

from diptych.study.intervals import interval, student

REPETITIONS, TRIALS = 1500, 40


def main() -> None:
    """Print a line for each ability: how often the bootstrap's and Student's intervals hold the mean over all people."""
    rng = np.random.default_rng(1)
    for mean, spread, people in ((0.268, 0.05, 25), (0.268, 0.12, 50), (0.006, 0.006, 25), (0.006, 0.006, 50)):
        total = mean * (1 - mean) / spread**2 - 1
        held = student_held = 0
        for _ in range(REPETITIONS):
            shares = rng.binomial(TRIALS, rng.beta(mean * total, (1 - mean) * total, people)) / TRIALS
            found = interval(shares)
            held += found.low <= mean <= found.high
            student_held += abs(shares.mean() - mean) <= student(people - 1) * shares.std(ddof=1) / np.sqrt(people)
        print(f"{mean:.1%} of {people} people: {held / REPETITIONS:.1%}, Student {student_held / REPETITIONS:.1%}")


if __name__ == "__main__":
    main()

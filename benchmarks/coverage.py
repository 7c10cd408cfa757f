"""How often 95 % intervals hold the truth, by simulation, beside the percentiles of a bootstrap of the same images.

    python -m benchmarks.coverage [--sets 2000] [--images 3 5 10 30 100]

Scores of images are normal, or exponential as those with a long tail are. A pooled share is that of a class which takes very
different parts of the images, as FCN-scores are pooled. A KID interval is of paired sets 0.5 apart, and p of sets that are alike:
there the number is how often it is above .05.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from diptych.metrics.distribution import MIN_FOR_KID_INTERVAL, kid, kid_estimate, kid_p_value
from diptych.metrics.estimate import MIN_FOR_INTERVAL, Estimate, jackknife_estimate, mean_estimate, percentile_interval

Simulated = Callable[[np.random.Generator, int], tuple[bool, bool | None]]
"""Whether our interval over so many images holds the truth, and whether the bootstrap's does, where it is another."""
DRAWS = 400  # of each bootstrap
SCENE = 8  # dimensions of the features of a scene


def holds(estimate: Estimate, truth: float) -> bool:
    """Whether the truth is within the interval."""
    return estimate.low <= truth <= estimate.high


def bootstrapped(random: np.random.Generator, top: np.ndarray, bottom: np.ndarray) -> Estimate:
    """The ratio of two means over images, with the percentile interval."""
    chosen = random.integers(0, len(top), (DRAWS, len(top)))
    return percentile_interval(top.sum() / bottom.sum(), top[chosen].sum(1) / bottom[chosen].sum(1), len(top))


def normal_scores(random: np.random.Generator, n: int) -> tuple[bool, bool]:
    """Scores of images that are normal."""
    scores = random.normal(size=n)
    return holds(mean_estimate(scores), 0.0), holds(bootstrapped(random, scores, np.ones(n)), 0.0)


def long_tail(random: np.random.Generator, n: int) -> tuple[bool, bool]:
    """Scores of images with a long tail."""
    scores = random.exponential(size=n)
    return holds(mean_estimate(scores), 1.0), holds(bootstrapped(random, scores, np.ones(n)), 1.0)


def pooled_share(random: np.random.Generator, n: int) -> tuple[bool, bool]:
    """The right pixels of a class, pooled over images that hold much or little of it."""
    pixels = random.exponential(size=n)
    right = pixels * random.beta(6, 4, size=n)
    ours = jackknife_estimate(lambda chosen: float(right[chosen].sum() / pixels[chosen].sum()), n)
    return holds(ours, 0.6), holds(bootstrapped(random, right, pixels), 0.6)


def scenes(random: np.random.Generator, n: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of two images of each scene."""
    shared = random.normal(size=(n, SCENE))
    one, other = (shared + 0.3 * random.normal(size=(n, SCENE)) for _ in range(2))
    return one, other + apart


def kid_interval(truth: float) -> Simulated:
    """KID of pairs, and in the second place of the same images taken as independent sets."""

    def simulate(random: np.random.Generator, n: int) -> tuple[bool, bool]:
        x, y = scenes(random, n, 0.5)
        as_pairs, as_sets = (kid_estimate(x, y, paired=paired, resamples=200) for paired in (True, False))
        return holds(as_pairs, truth), holds(as_sets, truth)

    return simulate


def permutation(random: np.random.Generator, n: int) -> tuple[bool, None]:
    """Whether p does not tell apart what is alike."""
    return kid_p_value(*scenes(random, n, 0.0), paired=True, permutations=99) > 0.05, None


def main(words: Sequence[str] | None = None) -> None:
    """Print a row for each statistic: our interval, and in brackets an alternative to it."""
    p = argparse.ArgumentParser(description="Simulate how often 95 % intervals hold the truth.")
    p.add_argument("--sets", type=int, default=2000, help="simulated sets of images (default: 2000)")
    p.add_argument("--images", type=int, nargs="+", default=[3, 5, 10, 30, 100], help="images of a set (default: 3 5 10 30 100)")
    args = p.parse_args(words)
    random = np.random.default_rng(0)
    truth = float(np.mean([kid(*scenes(random, 400, 0.5), paired=True) for _ in range(20)]))
    rows: dict[str, tuple[Simulated, int, int]] = {  # how it is simulated, how often, and for how many images at least
        "mean of normal scores (percentile bootstrap)": (normal_scores, args.sets, MIN_FOR_INTERVAL),
        "mean of scores with a long tail (percentile bootstrap)": (long_tail, args.sets, MIN_FOR_INTERVAL),
        "pooled share of a class (percentile bootstrap)": (pooled_share, args.sets, MIN_FOR_INTERVAL),
        "KID of pairs (as independent sets)": (kid_interval(truth), max(1, args.sets // 5), MIN_FOR_KID_INTERVAL),
        "p of alike pairs above .05": (permutation, max(1, args.sets // 5), 2),
    }
    print(f"| images | {' | '.join(map(str, args.images))} |")
    print("| --- |" + " --- |" * len(args.images))
    for title, (simulate, sets, least) in rows.items():
        cells = []
        for n in args.images:
            if n < least:
                cells.append("none")
                continue
            found = [simulate(random, n) for _ in range(sets)]
            ours, theirs = np.mean([one for one, _ in found]), [other for _, other in found if other is not None]
            cells.append(f"{ours:.2f}" + (f" ({np.mean(theirs):.2f})" if theirs else ""))
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

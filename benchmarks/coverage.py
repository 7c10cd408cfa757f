"""How often 95 % intervals hold the truth, by simulation, beside the percentiles of a bootstrap of the same images.

    python -m benchmarks.coverage [--sets 2000] [--images 3 5 10 30 100]

Scores of images are normal, or exponential as those with a long tail are. A pooled share is that of a class which takes very
different parts of the images, as FCN-scores are pooled. A KID interval is of paired sets 0.5 apart, and p of sets that are alike:
there the number is how often it is above .05. Three trainings vary by their seed (0.3), by image (1), and by both (0.3); the
second of two systems differs from the first by nothing, so that its p should be above .05 in 95 % of cases.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from diptych.metrics.distribution import MIN_FOR_KID_INTERVAL, kid, kid_estimate, kid_p_value
from diptych.metrics.estimate import MIN_FOR_INTERVAL, Estimate, jackknife_estimate, mean_estimate, percentile_interval
from diptych.metrics.manifold import precision_recall
from diptych.metrics.mind import mind_estimate
from diptych.metrics.two_level import difference_estimate, estimate_of, spread_of_means

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


def distance_interval(measure: Callable[..., Estimate], draws: int) -> Simulated:
    """MIND, precision or recall of independent sets 0.5 apart; the truth is the mean value of ``draws`` sets of this size."""
    truths: dict[int, float] = {}

    def simulate(random: np.random.Generator, n: int) -> tuple[bool, None]:
        if n not in truths:
            other = np.random.default_rng(n)
            truths[n] = float(np.mean([measure(*apart_sets(other, n)).value for _ in range(draws)]))
        return holds(measure(*apart_sets(random, n)), truths[n]), None

    return simulate


def apart_sets(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of two independent sets that differ a little."""
    return random.normal(size=(n, SCENE)), 1.1 * random.normal(size=(n, SCENE)) + 0.5


def trainings(random: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Scores of three trainings of one recipe on the same images."""
    return images + 0.3 * random.normal(size=(3, 1)) + 0.3 * random.normal(size=(3, len(images)))


def three_trainings(random: np.random.Generator, n: int) -> tuple[bool, bool]:
    """The mean over trainings and images, and in the second place with an interval over trainings alone."""
    scores = trainings(random, random.normal(size=n))
    parts = [spread_of_means(scores.mean(axis=1)), spread_of_means(scores.mean(axis=0))]
    return holds(estimate_of(float(scores.mean()), parts, n), 0.0), holds(mean_estimate(scores.mean(axis=1)), 0.0)


def two_systems(random: np.random.Generator, n: int) -> tuple[bool, bool]:
    """The difference of two systems of three trainings each; in the second place a bootstrap over trainings and images."""
    images = random.normal(size=n)
    one, other = trainings(random, images), trainings(random, images)
    found, _ = difference_estimate(one, other)
    rows, columns = random.integers(0, 3, (2, DRAWS, 3)), random.integers(0, n, (DRAWS, n))
    apart = np.array([one[r][:, c].mean() - other[q][:, c].mean() for r, q, c in zip(rows[0], rows[1], columns, strict=True)])
    return holds(found, 0.0), holds(percentile_interval(found.value, apart, n), 0.0)


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
    fewer = max(1, args.sets // 5)  # of what takes longer
    rows: dict[str, tuple[Simulated, int, int]] = {  # how it is simulated, how often, and for how many images at least
        "mean of normal scores (percentile bootstrap)": (normal_scores, args.sets, MIN_FOR_INTERVAL),
        "mean of scores with a long tail (percentile bootstrap)": (long_tail, args.sets, MIN_FOR_INTERVAL),
        "pooled share of a class (percentile bootstrap)": (pooled_share, args.sets, MIN_FOR_INTERVAL),
        "KID of pairs (as independent sets)": (kid_interval(truth), fewer, MIN_FOR_KID_INTERVAL),
        "MIND": (distance_interval(mind_estimate, fewer), fewer, MIN_FOR_INTERVAL),
        "precision": (distance_interval(lambda x, y: precision_recall(x, y)[0], fewer), fewer, 5),
        "recall": (distance_interval(lambda x, y: precision_recall(x, y)[1], fewer), fewer, 5),
        "mean over three trainings and images (trainings alone)": (three_trainings, args.sets, MIN_FOR_INTERVAL),
        "difference of two systems, three trainings each (two-level bootstrap)": (
            two_systems,
            max(1, args.sets // 2),
            MIN_FOR_INTERVAL,
        ),
        "p of alike pairs above .05": (permutation, fewer, 2),
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

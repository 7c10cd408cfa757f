"""Systems compared on the same images: the difference of a metric, its interval, and the p-value of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from diptych.errors import ConfigError, DataError
from diptych.evaluation.protocol import REMARKS
from diptych.evaluation.results import METRICS, Evaluation
from diptych.metrics.estimate import Estimate, mean_estimate, random_signs, sign_flip_p_value
from diptych.metrics.set_differences import images_variance
from diptych.metrics.two_level import difference_estimate, estimate_of, p_value, trainings_of

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """The value of one system less that of another, over the same images.

    ``trainings`` are the numbers of trainings of each. ``p`` is how often differences as great come from systems that are equally
    good: with one training each by exchanging the two outputs of an image at random, which says nothing of other trainings; else
    by Student's test over trainings and images. ``better`` says which is better, one or other, where p is at most .05, else that
    it is undecided.
    """

    metric: str
    direction: str
    difference: Estimate
    p: float
    values: tuple[float, float]
    trainings: tuple[int, int] = (1, 1)

    @property
    def better(self) -> Literal["one", "other", "undecided"]:
        """Which is better, as far as can be told."""
        if not self.p <= SIGNIFICANT:
            return "undecided"
        return "one" if (self.difference.value > 0) == (METRICS[self.metric].better == "higher") else "other"


def compare(
    one: Evaluation | Sequence[Evaluation],
    other: Evaluation | Sequence[Evaluation],
    metric: str,
    direction: str = "a2b",
    *,
    seed: int = 0,
    permutations: int = 1000,
) -> Comparison:
    """Compare two systems by a metric; each is one evaluation, or several of trainings of one recipe.

    Metrics that score every image are compared image by image. KID and FCN-scores are compared as wholes, with both outputs of
    an image drawn, left out or exchanged together; they need evaluations that were made here and not read from a file.
    Raises ConfigError for any other metric, and DataError when the systems were not measured alike: other images, another size,
    other weights. How the outputs were made may differ, as that is what is compared.
    """
    sides = [[found] if isinstance(found, Evaluation) else list(found) for found in (one, other)]
    every = [*sides[0], *sides[1]]
    if not all(can_compare(found, metric, direction) for found in every):
        raise ConfigError(
            f"compare: {metric} {direction} has no scores of images in both evaluations, nor of sets kept in memory; "
            "choose another metric"
        )
    _refuse_unlike([[_entries(found, metric, direction) for found in side] for side in sides], metric)
    counts = len(sides[0]), len(sides[1])
    if metric in every[0].sets.get(direction, {}):
        first, second = ([found.sets[direction][metric] for found in side] for side in sides)
        values = [[score.value() for score in side] for side in (first, second)]
        value = float(np.mean(values[0]) - np.mean(values[1]))
        parts = [*trainings_of(*values), images_variance(first, second)]
        p = p_value(value, parts)
        if counts == (1, 1):
            signs = random_signs(first[0].n, seed, permutations)
            drawn = np.abs(first[0].exchanged(second[0], np.vstack([np.ones((1, first[0].n)), signs])))
            p = float((drawn >= drawn[0] * (1 - 1e-12)).mean())
        means = float(np.mean(values[0])), float(np.mean(values[1]))
        return Comparison(metric, direction, estimate_of(value, parts, first[0].n), p, means, counts)
    tables = [np.array([image_scores(found, metric, direction) for found in side], dtype=np.float64) for side in sides]
    means = float(tables[0].mean()), float(tables[1].mean())
    if counts == (1, 1):
        apart = tables[0][0] - tables[1][0]
        p = sign_flip_p_value(apart, seed=seed, permutations=permutations)
        return Comparison(metric, direction, mean_estimate(apart), p, means)
    difference, p = difference_estimate(*tables)
    return Comparison(metric, direction, difference, p, means, counts)


def can_compare(found: Evaluation, metric: str, direction: str) -> bool:
    """Whether an evaluation holds what a comparison by this metric needs."""
    return bool(image_scores(found, metric, direction)) or metric in found.sets.get(direction, {})


def image_scores(found: Evaluation, metric: str, direction: str) -> list[float]:
    """The score of every image; nothing where a metric scores only sets."""
    return [float(row[metric]) for row in found.images.get(direction, ()) if metric in row]


def _refuse_unlike(sides: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> None:
    """Raise DataError where protocols differ in anything but how outputs were made, which _entries leaves out.

    Trainings with other seeds hold out other images. The training images may differ among them, if those of one side are found on
    the other side too.
    """
    first, *others = [entry for side in sides for entry in side]
    trained = [{str(entry.get("trained")) for entry in side} for side in sides]
    seeds_agree = trained[0] <= trained[1] or trained[1] <= trained[0]
    for other in others:
        for key in dict.fromkeys([*first, *other]):
            unknown = key in ("inputs", "source_domain") and not (key in first and key in other)  # beside finished outputs
            if not unknown and not (key == "trained" and seeds_agree) and first.get(key) != other.get(key):
                raise DataError(
                    f"compare: {metric} was not measured alike, {key} differs; score both on the same images in one way"
                )


def _entries(found: Evaluation, metric: str, direction: str) -> Mapping[str, Any]:
    """The protocol of a metric without how the outputs were made."""
    (key,) = (r.protocol for r in found.results if (r.metric, r.direction, r.of) == (metric, direction, "model"))
    return {name: value for name, value in found.protocols[key].items() if name not in REMARKS | {"outputs"}}

"""Two systems compared on the same images: the difference of a metric's mean, its interval, and the p-value of a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.errors import ConfigError, DataError
from diptych.evaluation.protocol import REMARKS
from diptych.evaluation.results import METRICS, Evaluation
from diptych.metrics.estimate import Estimate, mean_estimate, sign_flip_p_value


@dataclass(frozen=True)
class Comparison:
    """The mean of one system less that of another, over the same images.

    ``p`` is how often differences as great come from systems that are equally good, by exchanging the two outputs of an image at
    random. ``better`` says which is better, one or other, where p is at most .05, else that it is undecided.
    """

    metric: str
    direction: str
    difference: Estimate
    p: float

    @property
    def better(self) -> str:
        """``one``, ``other`` or ``undecided``."""
        if self.p > 0.05:
            return "undecided"
        return "one" if (self.difference.value > 0) == (METRICS[self.metric].better == "higher") else "other"


def compare(
    one: Evaluation, other: Evaluation, metric: str, direction: str = "a2b", *, seed: int = 0, permutations: int = 1000
) -> Comparison:
    """Compare two evaluations by a metric that scores every image.

    Raises ConfigError when it does not, and DataError when the two were not measured alike: other images, another size, other
    weights. How the outputs were made may differ, as that is what is compared.
    """
    scores = [[row[metric] for row in found.images.get(direction, ()) if metric in row] for found in (one, other)]
    if not (scores[0] and scores[1]):
        raise ConfigError(f"compare: {metric} {direction} has no scores of images in both evaluations; choose another metric")
    entries = [_entries(found, metric, direction) for found in (one, other)]
    for key in dict.fromkeys([*entries[0], *entries[1]]):
        unknown = key in ("inputs", "source_domain") and not all(key in found for found in entries)  # beside finished outputs
        if not unknown and entries[0].get(key) != entries[1].get(key):
            raise DataError(f"compare: {metric} was not measured alike, {key} differs; score both on the same images in one way")
    apart = np.array(scores[0], dtype=np.float64) - np.array(scores[1], dtype=np.float64)
    p = sign_flip_p_value(apart, seed=seed, permutations=permutations)
    return Comparison(metric, direction, mean_estimate(apart), p)


def _entries(found: Evaluation, metric: str, direction: str) -> Mapping[str, Any]:
    """The protocol of a metric without how the outputs were made."""
    (key,) = (r.protocol for r in found.results if (r.metric, r.direction, r.of) == (metric, direction, "model"))
    return {name: value for name, value in found.protocols[key].items() if name not in REMARKS | {"outputs"}}

"""The papers' tables from the scores of trials: for each variant the mean over seeds with its 95 % interval, and the order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diptych.ablation.variants import Table, Variant
from diptych.metrics.estimate import Estimate, decimals

FCN = ("fcn_pixel", "fcn_class", "fcn_iou")
# Half the width of a 95 % interval of a mean in standard errors, by degrees of freedom (Student 1908), 1 and up.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

Scores = Mapping[str, Sequence[Mapping[str, Any]]]
"""Evaluations as JSON by the variant's name, one for each seed."""


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean over seeds, its interval, and the seeds' own values."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def __str__(self) -> str:
        digits = decimals(self.value, self.low, self.high, 1 if abs(self.value) >= 10 else 2 if abs(self.value) >= 1 else 3)
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def cell(evaluations: Sequence[Mapping[str, Any]], metric: str, direction: str, of: str = "model") -> Cell | None:
    """One metric over all seeds; None where it was not measured.

    The interval is Student's over seeds, which is wide for few seeds as it should be; with one seed it is the bootstrap's over
    images.
    """
    wanted = metric, direction, of
    found = [
        result["estimate"]
        for evaluation in evaluations
        for result in evaluation["results"]
        if (result["metric"], result["direction"], result["of"]) == wanted
    ]
    if not found:
        return None
    values = tuple(float(estimate["value"]) for estimate in found)
    if len(values) == 1:
        return Cell(values[0], float(found[0]["low"]), float(found[0]["high"]), values)
    mean = float(np.mean(values))
    half = STUDENT[min(len(values) - 1, len(STUDENT)) - 1] * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Cell(mean, mean - half, mean + half, values)


def metrics_of(scores: Scores, direction: str) -> list[str]:
    """The metrics that were measured in a direction, FCN-scores first as in the papers."""
    seen = {
        result["metric"]: None
        for evaluations in scores.values()
        for evaluation in evaluations
        for result in evaluation["results"]
        if result["direction"] == direction and result["of"] == "model"
    }
    return sorted(seen, key=lambda metric: metric not in FCN)


def rows_of(
    table: Table, variants: Sequence[Variant], scores: Scores, metrics: Sequence[str], direction: str
) -> list[tuple[str, list[Cell | None]]]:
    """A title and a cell for each metric, for each scored variant of a table, and last for real images where scored."""
    titles = {variant.name: variant.title for variant in variants}
    rows = [
        (titles[name], [cell(scores[name], metric, direction) for metric in metrics]) for name in table.rows if scores.get(name)
    ]
    everything = [evaluation for name in table.rows for evaluation in scores.get(name, ())][:1]
    truth = [cell(everything, metric, direction, "truth") for metric in metrics]
    return rows + ([("Ground truth", truth)] if any(truth) else [])


@dataclass(frozen=True)
class Order:
    """How much a measured order of variants agrees with the published one: pairs in the paper's order, of all pairs."""

    metric: str
    agreeing: int
    pairs: int
    disagreeing: tuple[str, ...]

    def __str__(self) -> str:
        told = f"{self.agreeing} of {self.pairs} pairs of variants stand in the published order by {self.metric}"
        return f"{told}; not {'; not '.join(self.disagreeing)}" if self.disagreeing else told


def order_of(table: Table, variants: Sequence[Variant], scores: Scores, metric: str, direction: str, better: str) -> Order | None:
    """Compare the order by a metric with the published one by the same FCN-score, or by class IoU for other metrics.

    None where fewer than two published variants were scored. Equal published numbers say nothing and are left out.
    """
    titles = {variant.name: variant.title for variant in variants}
    published = {name: numbers[FCN.index(metric) if metric in FCN else 2] for name, numbers in table.published.items()}
    found = {
        name: found.value
        for name in table.rows
        if name in published and scores.get(name) and (found := cell(scores[name], metric, direction))
    }
    pairs = [(x, y) for x, y in itertools.combinations(found, 2) if published[x] != published[y]]
    if not pairs:
        return None
    sign = 1.0 if better == "higher" else -1.0
    wrong = []
    for x, y in pairs:
        above, below = (x, y) if published[x] > published[y] else (y, x)
        if sign * (found[above] - found[below]) <= 0:
            wrong.append(f"{titles[above]} above {titles[below]}")
    return Order(metric, len(pairs) - len(wrong), len(pairs), tuple(wrong))


def markdown(
    tables: Sequence[Table],
    variants: Sequence[Variant],
    scores: Scores,
    titles: Mapping[str, tuple[str, str]],
    directions: Sequence[str],
) -> str:
    """All tables as Markdown; ``titles`` gives each metric's name for people and which way is better."""
    parts = []
    for table, direction in itertools.product(tables, directions):
        metrics = metrics_of(scores, direction)
        rows = rows_of(table, variants, scores, metrics, direction)
        if len(rows) < 2:
            continue
        heads = [f"{titles[metric][0]} {'↑' if titles[metric][1] == 'higher' else '↓'}" for metric in metrics]
        with_published = bool(table.published) and direction == "a2b"
        heads += ["published"] if with_published else []
        parts += [f"### {table.title}, {direction.replace('2', ' to ')} (as {table.source})", ""]
        parts += [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
        by_title = {variant.title: variant.name for variant in variants}
        for title, cells in rows:
            texts = [str(found) if found else "" for found in cells]
            if with_published:
                numbers = table.published.get(by_title.get(title, ""))
                texts += [" / ".join(f"{number:.2f}".lstrip("0") for number in numbers) if numbers else ""]
            parts.append(f"| {title} | {' | '.join(texts)} |")
        if with_published:
            orders = [
                order_of(table, variants, scores, metric, direction, titles[metric][1])
                for metric in [metric for metric in metrics if metric in FCN] or metrics[:1]
            ]
            parts += ["", *(f"- {order}." for order in orders if order)]
        parts.append("")
    return "\n".join(parts)


def estimates(scores: Scores, direction: str) -> dict[str, dict[str, Estimate]]:
    """The mean over seeds of every metric, by variant and metric."""
    return {
        name: {
            metric: Estimate(found.value, found.low, found.high, len(found.seeds))
            for metric in metrics_of(scores, direction)
            if (found := cell(evaluations, metric, direction))
        }
        for name, evaluations in scores.items()
    }

"""The papers' tables from the scores of trials: means over seeds with 95 % intervals over seeds and images, and the order.

Intervals and differences are those of diptych.metrics.two_level.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.ablation.variants import Table, Variant
from diptych.metrics.estimate import Estimate
from diptych.scoring.cells import Cell, cell, difference

FCN = ("fcn_pixel", "fcn_class", "fcn_iou")

Scores = Mapping[str, Sequence[Mapping[str, Any]]]
"""Evaluations as JSON by the variant's name, one for each seed."""


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
    """How a measured order of variants agrees with the published one, pair by pair; undecided are those within the interval."""

    metric: str
    agreeing: int
    pairs: int
    disagreeing: tuple[str, ...]
    undecided: tuple[str, ...]

    def __str__(self) -> str:
        told = f"{self.agreeing} of {self.pairs} pairs of variants stand in the published order by {self.metric}"
        told += f"; not {'; not '.join(self.disagreeing)}" if self.disagreeing else ""
        return f"{told}; undecided: {', '.join(self.undecided)}" if self.undecided else told


def order_of(
    table: Table, variants: Sequence[Variant], scores: Scores, metric: str, direction: str, labels: str | None
) -> Order | None:
    """Compare the order by an FCN-score with the published one of the same task.

    None for other metrics, which the papers did not print, and where fewer than two published variants were scored. Equal
    published numbers say nothing and are left out. A pair whose difference may be 0 is undecided.
    """
    if metric not in FCN:
        return None
    titles = {variant.name: variant.title for variant in variants}
    published = {name: numbers[FCN.index(metric)] for name, numbers in table.published_for(labels, direction).items()}
    found = {
        name: found
        for name in table.rows
        if name in published and scores.get(name) and (found := cell(scores[name], metric, direction))
    }
    pairs = [(x, y) for x, y in itertools.combinations(found, 2) if published[x] != published[y]]
    if not pairs:
        return None
    wrong, open_ = [], []
    for x, y in pairs:
        above, below = (x, y) if published[x] > published[y] else (y, x)
        apart, half = difference(found[above], found[below])
        if not abs(apart) > half:
            open_.append(f"{titles[above]} and {titles[below]}")
        elif apart < 0:
            wrong.append(f"{titles[above]} above {titles[below]}")
    return Order(metric, len(pairs) - len(wrong) - len(open_), len(pairs), tuple(wrong), tuple(open_))


def markdown(
    tables: Sequence[Table],
    variants: Sequence[Variant],
    scores: Scores,
    titles: Mapping[str, tuple[str, str]],
    directions: Sequence[str],
    labels: str | None = None,
) -> str:
    """All tables as Markdown; ``titles`` gives each metric's name for people and which way is better.

    ``labels`` is the side that is label maps: published numbers stand beside FCN-scores of the same task only. A table whose
    scored variants have all stood in the tables before it is left out.
    """
    parts = []
    shown: set[tuple[str, str]] = set()
    for table, direction in itertools.product(tables, directions):
        scored = {(name, direction) for name in table.rows if scores.get(name)}
        if scored <= shown:
            continue
        shown |= scored
        metrics = metrics_of(scores, direction)
        rows = rows_of(table, variants, scores, metrics, direction)
        heads = [f"{titles[metric][0]} {'↑' if titles[metric][1] == 'higher' else '↓'}" for metric in metrics]
        published = table.published_for(labels, direction) if any(metric in FCN for metric in metrics) else {}
        heads += ["published, Cityscapes: per pixel / per class / class IoU"] if published else []
        parts += [f"### {table.title}, {direction.replace('2', ' to ')} (as {table.source})", ""]
        parts += [f"| | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
        by_title = {variant.title: variant.name for variant in variants}
        for title, cells in rows:
            texts = [str(found) if found else "" for found in cells]
            if published:
                numbers = published.get(by_title.get(title, ""))
                texts += [" / ".join(f"{number:.2f}".lstrip("0") for number in numbers) if numbers else ""]
            parts.append(f"| {title} | {' | '.join(texts)} |")
        orders = [order_of(table, variants, scores, metric, direction, labels) for metric in metrics]
        parts += ["", *(f"- {order}." for order in orders if order)] if any(orders) else []
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

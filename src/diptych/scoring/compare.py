"""Two or more systems compared on the same images: every pair by every metric, and how runs differ in their settings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.evaluation.compare import Comparison, can_compare, compare, image_scores
from diptych.evaluation.examples import RANKED_BY
from diptych.evaluation.results import METRICS, finite
from diptych.metrics.set_differences import KidScore, kid_exchange_scores
from diptych.recipe import flat
from diptych.recorded import Recorded
from diptych.scoring.systems import System

NUM_SHOWN = 4  # images in favour of each of two systems


@dataclass(frozen=True)
class Pair:
    """The comparison of two systems, by their indices.

    Where there are more than two systems, ``found.p`` is adjusted for the number of pairs (Holm 1979), and ``p_alone`` is not.
    """

    one: int
    other: int
    found: Comparison
    p_alone: float


@dataclass(frozen=True)
class Favoured:
    """An image that one of the first two systems does better than the other: its index, its name, and by how much.

    ``difference`` is that of the first system's score less the second's; of KID, the image's part of the difference of the sets.
    """

    direction: str
    metric: str
    by: int
    index: int
    name: str
    difference: float


@dataclass(frozen=True)
class ComparisonOfSystems:
    """All that a comparison found."""

    systems: tuple[System, ...]
    pairs: tuple[Pair, ...]
    favoured: tuple[Favoured, ...]
    settings: Mapping[str, Sequence[Any]]
    left_out: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that JSON lacks become texts."""
        names = [system.name for system in self.systems]
        plain: dict[str, Any] = finite(
            {
                "format": 1,
                "systems": [
                    {"name": system.name, "trainings": [training.path for training in system.trainings]}
                    for system in self.systems
                ],
                "comparisons": [
                    {
                        "one": names[pair.one],
                        "other": names[pair.other],
                        "better": {"one": names[pair.one], "other": names[pair.other]}.get(pair.found.better, "undecided"),
                        "p_alone": pair.p_alone,
                        **asdict(pair.found),
                    }
                    for pair in self.pairs
                ],
                "spread": [
                    {"system": system.name, "metric": metric, "direction": way, "over_trainings": over, "over_dropout": drawn}
                    for system in self.systems
                    for metric, way in dict.fromkeys((pair.found.metric, pair.found.direction) for pair in self.pairs)
                    for over, drawn in [system.spread(metric, way)]
                    if not (math.isnan(over) and math.isnan(drawn))
                ],
                "images": [asdict(one) for one in self.favoured],
                "settings": {key: list(values) for key, values in self.settings.items()},
                "left_out": dict(self.left_out),
                "evaluations": [[one.to_json() for one in system.evaluations] for system in self.systems],
            }
        )
        return plain


def compare_systems(systems: Sequence[System], *, seed: int = 0, permutations: int = 1000) -> ComparisonOfSystems:
    """Compare every pair of systems by every metric that all have.

    Raises DataError where they were not measured alike, or have no metric in common.
    """
    pairs: list[Pair] = []
    first = systems[0].evaluations[0]
    for direction in first.images:
        for metric in METRICS:
            every = [evaluation for system in systems for evaluation in system.evaluations]
            if not all(can_compare(evaluation, metric, direction) for evaluation in every):
                continue
            found = [
                Pair(i, j, comparison, comparison.p)
                for i, j in itertools.combinations(range(len(systems)), 2)
                for comparison in [
                    compare(
                        systems[i].evaluations, systems[j].evaluations, metric, direction, seed=seed, permutations=permutations
                    )
                ]
            ]
            adjusted = holm([pair.p_alone for pair in found])
            pairs += [replace(pair, found=replace(pair.found, p=p)) for pair, p in zip(found, adjusted, strict=True)]
    if not pairs:
        names = ", ".join(system.name for system in systems)
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out_of(systems).items())
        raise DataError(f"compare: {names} have no metric in common that can be compared ({why}); name one with --metrics")
    shown = [one for direction in first.images for one in favoured(systems, direction)]
    return ComparisonOfSystems(tuple(systems), tuple(pairs), tuple(shown), settings_that_differ(systems), left_out_of(systems))


def left_out_of(systems: Sequence[System]) -> dict[str, str]:
    """The metrics that some system lacks, with the reason, and whose it is where others have the metric."""
    found: dict[str, str] = {}
    for system in systems:
        for name, reason in system.evaluations[0].left_out.items():
            alone = any(name not in other.evaluations[0].left_out for other in systems)
            found.setdefault(name, f"{system.name} {reason}" if alone else reason)
    return found


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, so that in 5 % of tables at most one pair errs (Holm 1979). NaN stays NaN."""
    order = sorted(range(len(ps)), key=lambda i: (math.isnan(ps[i]), ps[i]))
    adjusted, least = [math.nan] * len(ps), 0.0
    for rank, i in enumerate(order):
        if not math.isnan(ps[i]):
            least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
            adjusted[i] = least
    return adjusted


def favoured(systems: Sequence[System], direction: str) -> list[Favoured]:
    """The images in which the first two systems differ most, in favour of each, by the first metric that scores images.

    Without such a metric it is each image's part of the difference of KID.
    """
    one, other = (system.evaluations[0] for system in systems[:2])
    names = [str(row["name"]) for row in one.images[direction]]
    metric = next(
        (m for m in (*RANKED_BY, *METRICS) if image_scores(one, m, direction) and image_scores(other, m, direction)), ""
    )
    kid = [found.sets.get(direction, {}).get("kid") for found in (one, other)]
    if all(isinstance(score, KidScore) for score in kid) and metric in ("", "cycle", "nearest"):
        x, y = kid
        assert isinstance(x, KidScore) and isinstance(y, KidScore)
        metric, apart = "kid", kid_exchange_scores(x.made, y.made, x.real, x.paired).tolist()
    elif metric:
        scores = (image_scores(found, metric, direction) for found in (one, other))
        apart = [x - y for x, y in zip(*scores, strict=True)]
    else:
        return []
    sign = 1.0 if METRICS[metric].better == "higher" else -1.0
    order = sorted((i for i in range(len(apart)) if math.isfinite(apart[i])), key=lambda i: (sign * apart[i], i))
    each = min(NUM_SHOWN, len(order) // 2)
    chosen = [(0, i) for i in order[::-1][:each]] + [(1, i) for i in order[:each]]
    return [Favoured(direction, metric, by, i, names[i], apart[i]) for by, i in chosen if (sign * apart[i] > 0) == (by == 0)]


def settings_that_differ(systems: Sequence[System]) -> dict[str, list[Any]]:
    """Settings by key that differ between systems' recipes, with the value of each system; None where it has no recipe."""
    recipes = []
    for system in systems:
        file = Path(system.trainings[0].path) / "recipe.json"
        recipes.append(flat(Recorded.read(file).values) if file.is_file() else None)
    known = [values for values in recipes if values is not None]
    if len(known) < 2:
        return {}
    keys = dict.fromkeys(key for values in known for key in values)
    return {
        key: [None if values is None else values.get(key) for values in recipes]
        for key in keys
        if key != "train.seed" and any(values.get(key) != known[0].get(key) for values in known)
    }

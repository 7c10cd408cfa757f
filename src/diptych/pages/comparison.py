"""The page of a comparison: differences with their tests, the same images through every system, and settings that differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.evaluation.examples import images_of
from diptych.evaluation.results import METRICS
from diptych.evaluation.tables import DIRECTIONS, least_digits, number
from diptych.files import make_folder
from diptych.messages import show
from diptych.metrics.estimate import decimals
from diptych.pages.charts import MAX_POINTS, chart
from diptych.pages.frame import embedded, render, write_page
from diptych.pages.report import plain, read_stats
from diptych.run import write_json
from diptych.scoring.compare import ComparisonOfSystems, Favoured, Pair
from diptych.scoring.systems import System


@dataclass(frozen=True)
class Row:
    """One line of a table of differences, as texts.

    ``one`` and ``other`` are a system's value and its spreads. ``better`` is 0 or 1 for a system, None where undecided.
    """

    title: str
    arrow: str
    one: tuple[str, ...]
    other: tuple[str, ...]
    difference: str
    interval: str
    p: str
    better: int | None
    n: int


@dataclass(frozen=True)
class PairTable:
    """The differences of two systems in one direction."""

    direction: str
    one: str
    other: str
    rows: tuple[Row, ...]


def write_comparison(found: ComparisonOfSystems, folder: Path) -> Path:
    """Write ``compare.json`` and ``compare.html`` into a folder, made where it is missing; returns the page's path.

    Raises StorageError when they cannot be written.
    """
    make_folder(folder)
    write_json(folder / "compare.json", found.to_json())
    write_page(folder / "compare.html", page(found))
    return folder / "compare.html"


def pair_tables(found: ComparisonOfSystems) -> list[PairTable]:
    """A table for each direction and pair of systems."""
    grouped: dict[tuple[str, int, int], list[Pair]] = {}
    for pair in found.pairs:
        grouped.setdefault((pair.found.direction, pair.one, pair.other), []).append(pair)
    return [
        PairTable(
            DIRECTIONS.get(direction, direction),
            found.systems[one].name,
            found.systems[other].name,
            tuple(row_of(pair, found.systems) for pair in pairs),
        )
        for (direction, one, other), pairs in grouped.items()
    ]


def row_of(pair: Pair, systems: Sequence[System]) -> Row:
    """A comparison as texts."""
    c = pair.found
    kind, estimate = METRICS[c.metric], c.difference
    digits = decimals(estimate.value, estimate.low, estimate.high, least_digits(c.metric))
    values = []
    for system, value in zip((systems[pair.one], systems[pair.other]), c.values, strict=True):
        over = [f"± {number(c.metric, spread)} over {what}" for spread, what in spreads(system, c.metric, c.direction)]
        values.append((f"{value:.{digits}f}", *over))
    known = math.isfinite(estimate.low)
    interval = f"{estimate.low:+.{digits}f} to {estimate.high:+.{digits}f}" if known else "no interval"
    better = {"one": 0, "other": 1}.get(c.better)
    p = "unknown" if math.isnan(c.p) else f"{c.p:.2g}" if c.p >= 0.0001 else "< 0.0001"
    arrow = "↑" if kind.better == "higher" else "↓"
    title = f"{kind.title}, {kind.unit}" if kind.unit else kind.title
    return Row(title, arrow, values[0], values[1], f"{estimate.value:+.{digits}f}", interval, p, better, estimate.n)


def spreads(system: System, metric: str, direction: str) -> list[tuple[float, str]]:
    """The standard deviations that are known, and over what they are."""
    over, drawn = system.spread(metric, direction)
    found = [(over, f"{len(system.trainings)} trainings"), (drawn, "dropout")]
    return [(value, what) for value, what in found if not math.isnan(value)]


def page(found: ComparisonOfSystems) -> str:
    """The page as text."""
    names = [system.name for system in found.systems]
    values = {
        "title": " against ".join(names) if len(names) == 2 else f"{len(names)} systems compared",
        "names": names,
        "tables": pair_tables(found),
        "systems": found.systems,
        "galleries": galleries(found),
        "charts": curves(found.systems),
        "settings": [(key, [plain(value) for value in row]) for key, row in found.settings.items()],
        "several": len(found.systems) > 2,
        "trainings": any(len(system.trainings) > 1 for system in found.systems),
    }
    return render("comparison.html.j2", values)


def galleries(found: ComparisonOfSystems) -> list[dict[str, Any]]:
    """The images in which the first two systems differ most, through every system, by direction and by whom they favour."""
    grouped: dict[tuple[str, int], list[Favoured]] = {}
    for one in found.favoured:
        grouped.setdefault((one.direction, one.by), []).append(one)
    directions = {direction for direction, _ in grouped}
    result = []
    for (direction, by), images in grouped.items():
        title = METRICS[images[0].metric].title
        what = f"each image's part of the difference of {title}" if images[0].metric == "kid" else f"the difference of {title}"
        where = f", {DIRECTIONS.get(direction, direction)}" if len(directions) > 1 else ""
        examples = [
            {
                "name": show(one.name),
                "difference": f"{one.difference:+.{least_digits(one.metric)}f}",
                "images": same_image(found.systems, one),
            }
            for one in images
        ]
        result.append({"heading": f"Where {found.systems[by].name} is ahead{where}", "what": what, "examples": examples})
    return result


def same_image(systems: Sequence[System], one: Favoured) -> list[dict[str, Any]]:
    """The input, the output of each system, and the truth, with what to call each."""
    images: list[tuple[str, bytes]] = []
    for system in systems:
        files = images_of(system.trainings[0].subjects[one.direction], one.index)
        if "input" in files and not images:
            images.append(("input", files["input"]))
        images.append((system.name, files["output"]))
    if "truth" in files:
        images.append(("truth", files["truth"]))
    return [embedded(data) | {"caption": caption, "alt": f"{caption} of {show(one.name)}"} for caption, data in images]


def curves(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Charts with a line for each run: validation scores, and the summed losses of each phase."""
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for system in systems:
        for training in system.trainings:
            file = Path(training.path) / "stats.jsonl"
            for name, points in _points(read_stats(file, []) if file.is_file() else []).items():
                known = np.array([point for point in points if math.isfinite(point[1])]).reshape(-1, 2)
                if len(known):
                    parts = np.array_split(known, min(len(known), MAX_POINTS))
                    drawn.setdefault(name, {})[Path(training.path).name] = np.array([part.mean(0) for part in parts]).T
    shared = {name: lines for name, lines in drawn.items() if len(lines) > 1}
    return [chart(f"c{i}", name, lines, "images") for i, (name, lines) in enumerate(shared.items())]


def _points(stats: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    points: dict[str, list[tuple[float, float]]] = {}
    for line in stats:
        sums: dict[str, float] = {}
        for name, value in line["losses"].items():
            sums[name.partition("/")[0]] = sums.get(name.partition("/")[0], 0.0) + value
        for phase, value in sums.items():
            points.setdefault(f"Losses of {phase} together", []).append((line["images"], value))
        for name, value in line["validation"].items():
            points.setdefault(f"Validation, {name}", []).append((line["images"], value))
    return dict(sorted(points.items(), key=lambda item: not item[0].startswith("Validation")))

"""The table of a bench: a row for each method and direction, with scores, costs, and how it compares with the first method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.bench.entries import Cost
from diptych.bench.published import Report, footnotes, reported
from diptych.evaluation.results import METRICS
from diptych.evaluation.tables import DIRECTIONS
from diptych.recipe import Recipe
from diptych.run import read_stats
from diptych.scoring.cells import Cell, cell
from diptych.scoring.compare import ComparisonOfSystems


@dataclass(frozen=True)
class BenchRow:
    """One method in one direction.

    ``scores`` are means over seeds by metric. ``against`` says by metric whether the method is better or worse than the first
    one of the bench, or whether that is undecided; it is empty for the first. ``images`` are those seen in training. ``paper`` is
    what a paper reports of the method on this data set, where one does.
    """

    method: str
    direction: str
    scores: Mapping[str, Cell]
    against: Mapping[str, str]
    images: int
    hours: float
    memory: int
    paper: Report | None = None


def rows_of(found: ComparisonOfSystems, costs: Mapping[str, Cost], folders: Sequence[Path]) -> list[BenchRow]:
    """The rows, methods in the order of the bench; ``folders`` are the first runs of each."""
    rows = []
    for index, (system, folder) in enumerate(zip(found.systems, folders, strict=True)):
        evaluations = [evaluation.to_json() for evaluation in system.evaluations]
        images, hours = _trained(folder)
        recipe = Recipe.load(folder / "recipe.json")
        for direction in sorted({result["direction"] for result in evaluations[0]["results"]}):
            names = dict.fromkeys(
                r["metric"] for r in evaluations[0]["results"] if (r["direction"], r["of"]) == (direction, "model")
            )
            cells = {name: found_cell for name in names if (found_cell := cell(evaluations, name, direction))}
            against, paper = _against(found, index, direction), reported(system.name, recipe, direction)
            rows.append(BenchRow(system.name, direction, cells, against, images, hours, costs[system.name].memory, paper))
    return rows


def _against(found: ComparisonOfSystems, index: int, direction: str) -> dict[str, str]:
    words = {"one": "worse", "other": "better", "undecided": "undecided"}  # the first method is one, this method the other
    return {
        pair.found.metric: words[pair.found.better]
        for pair in found.pairs
        if (pair.one, pair.other, pair.found.direction) == (0, index, direction)
    }


def _trained(folder: Path) -> tuple[int, float]:
    """The images that a run has seen, and the hours of its steps by their logged speeds."""
    images, hours = 0, 0.0
    lines, _ = read_stats(folder / "stats.jsonl")  # the line after a damaged one counts its images too
    for line in lines:
        seen = line.get("images", images)
        if line.get("images_s"):
            hours += (seen - images) / line["images_s"] / 3600
        images = seen
    return images, hours


def markdown(rows: Sequence[BenchRow], found: ComparisonOfSystems, budget: str, num_seeds: int) -> str:
    """A table for each direction. Marks after a number say how it compares with the first method, at p <= .05 (Holm)."""
    seeds = f"{num_seeds} seeds" if num_seeds > 1 else "one seed"
    images = len(next(iter(found.systems[0].trainings[0].subjects.values())).names)
    over = "seeds and images" if num_seeds > 1 else "images alone; another seed may move them more"
    parts = [f"{budget}, {seeds}, last snapshots, {images} test images; 95 % intervals over {over}\n"]
    for direction in dict.fromkeys(row.direction for row in rows):
        of_direction = [row for row in rows if row.direction == direction]
        metrics = dict.fromkeys(name for row in of_direction for name in row.scores)
        parts.append(f"### {DIRECTIONS.get(direction, direction)}\n")
        titles = [f"{METRICS[name].title} {'↑' if METRICS[name].better == 'higher' else '↓'}" for name in metrics]
        titles += ["images seen", "hours", "memory"]
        papers = {row.method: row.paper for row in of_direction if row.paper}
        titles += ["paper's FID"] if papers else []
        parts.append("| | " + " | ".join(titles) + " |\n|" + "---|" * (len(titles) + 1))
        for row in of_direction:
            cells = [_text(row, name) for name in metrics]
            cells += [f"{row.images:,}", f"{row.hours:.2f}", f"{row.memory / 1e9:.2f} GB"]
            cells += [f"({row.paper.fid:g})" if row.paper else ""] if papers else []
            parts.append(f"| {row.method} | " + " | ".join(cells) + " |")
        parts += ["", footnotes(papers), ""] if papers else [""]
    first = found.systems[0].name
    parts.append(f"+ better than {first}, - worse, at p <= .05 adjusted for all pairs; no mark: undecided, or not tested")
    return "\n".join(parts) + "\n"


def _text(row: BenchRow, metric: str) -> str:
    if metric not in row.scores:
        return ""
    mark = {"better": " +", "worse": " -"}.get(row.against.get(metric, ""), "")
    return f"{row.scores[metric]}{mark}"

"""The page of an evaluation: its tables, the images worth looking at, and how every number was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from diptych.evaluation.results import METRICS, Evaluation, Example
from diptych.evaluation.tables import DIRECTIONS, number, reasons, tables
from diptych.files import make_folder
from diptych.messages import show
from diptych.pages.frame import embedded, render, write_page
from diptych.run import write_json


def write_evaluation(evaluation: Evaluation, folder: Path, name: str = "evaluation") -> Path:
    """Write an evaluation as ``name.json`` and ``name.html`` into a folder, made where it is missing; returns the page's path.

    Raises StorageError when they cannot be written.
    """
    make_folder(folder)
    write_json(folder / f"{name}.json", evaluation.to_json())
    write_page(folder / f"{name}.html", page(evaluation, name))
    return folder / f"{name}.html"


def page(evaluation: Evaluation, name: str = "evaluation") -> str:
    """The page as text, for a place beside ``name.json``."""
    about = dict(evaluation.about)
    directions = list(dict.fromkeys(example.direction for example in evaluation.examples))
    values = {
        "title": about.get("title", "Evaluation"),
        "about": about,
        "tables": tables(evaluation.to_json()),
        "classes": [(DIRECTIONS.get(direction, direction), rows) for direction, rows in evaluation.classes.items()],
        "left_out": reasons(evaluation.left_out),
        "galleries": [gallery([e for e in evaluation.examples if e.direction == d], len(directions) > 1) for d in directions],
        "protocols": protocols(evaluation),
        "facts": facts(about),
        "json": quote(f"{name}.json"),
    }
    return render("evaluation.html.j2", values)


def gallery(examples: Sequence[Example], several: bool) -> dict[str, Any]:
    """The examples of a direction by rank, with their images embedded; ``several`` directions are told apart in the heading."""
    first = examples[0]
    by = f"by {METRICS[first.metric].title}" if first.metric else ""
    heading = f"Best, median and worst {by}" if first.metric else "Evenly chosen images"
    ranks: dict[str, list[dict[str, Any]]] = {}
    for example in examples:
        score = f"{METRICS[example.metric].title} {number(example.metric, example.score)}" if example.metric else ""
        images = [
            embedded(data) | {"alt": f"{kind} of {show(example.name)}, {example.rank}"} for kind, data in example.images.items()
        ]
        ranks.setdefault(example.rank, []).append({"name": show(example.name), "score": score, "images": images})
    where = f"{DIRECTIONS.get(first.direction, first.direction)}" if several else ""
    return {"heading": heading, "where": where, "ranks": ranks, "columns": list(first.images)}


def facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was scored, and on which device, as names and texts."""
    snapshot = about.get("snapshot") or {}
    rows = [
        ("Snapshot", snapshot.get("file", "")),
        ("Its SHA-256", snapshot.get("sha256", "")),
        ("Trained on", f"{snapshot['images']:,} images" if snapshot.get("images") else ""),
        ("Chosen as", snapshot.get("selection", "")),
        ("Data", about.get("data", "")),
        ("Left out as unreadable", "; ".join(about.get("skipped", []))),
        ("Seen before", "; ".join(about.get("seen", []))),
        ("Device", about.get("device", "")),
    ]
    return [(name, show(text)) for name, text in rows if text]


def protocols(evaluation: Evaluation) -> dict[str, Any]:
    """The parts that all protocols share, as names and texts, and the id, metric and other parts of each."""
    every = list(evaluation.protocols.values())
    shared = [key for key in (every[0] if every else ()) if all(p.get(key) == every[0][key] for p in every)]
    rows = []
    for key, protocol in evaluation.protocols.items():
        own = "; ".join(f"{name}: {plain(value)}" for name, value in protocol.items() if name not in (*shared, "metric"))
        rows.append((key, METRICS[protocol["metric"]].title, own))
    return {"shared": [(key.replace("_", " "), plain(every[0][key])) for key in shared if key != "metric"], "rows": rows}


def plain(value: Any) -> str:
    """An entry of a protocol in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return {None: "none", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, int | float) else str(value)

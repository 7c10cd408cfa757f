"""An evaluation for people: tables of its numbers, and one HTML file that holds all it shows."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from diptych.evaluation.results import METRICS, Evaluation, Example
from diptych.files import write_atomic
from diptych.messages import show

DIRECTIONS = {"a2b": "a to b", "b2a": "b to a"}
COLUMNS = {"model": "Translator", "truth": "Real images", "copy": "Copied input", "mean": "Mean colour"}
MEANING = {
    "psnr": "how near each pixel is to the truth",
    "ssim": "how alike the structure is; 1 for equal images",
    "ms_ssim": "the same over five scales",
    "l1": "mean distance from the truth, as in the loss",
    "lpips_alex": "distance as people see it, by AlexNet's features",
    "lpips_vgg": "distance as people see it, by VGG16's features",
    "style": "distance of textures and colours, wherever they stand",
    "fid": "distance of the two sets of images; falls with their number",
    "kid": "distance of the two sets; 0 when nothing tells them apart",
    "lab_l": "what the two sets have in common in lightness",
    "lab_a": "what they have in common from green to red",
    "lab_b": "what they have in common from blue to yellow",
    "cycle": "how far there and back again is from where it began",
    "fcn_pixel": "share of pixels of the right class",
    "fcn_class": "the same, each class counting alike",
    "fcn_iou": "overlap of each class with where it should be",
    "target_rate": "share that a classifier takes for the target",
}
DIGITS = {"psnr": 2, "fid": 1, "kid": 4, "style": 4}  # after the point; 3 of the others


@dataclass(frozen=True)
class Cell:
    """A number as it is printed, its interval, and a remark such as ``biased, N=106``."""

    value: str
    interval: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A metric's numbers by column; ``better`` is higher or lower."""

    metric: str
    title: str
    meaning: str
    unit: str
    better: str
    cells: Mapping[str, Cell]
    n: int
    protocol: str


@dataclass(frozen=True)
class Table:
    """One direction's numbers."""

    direction: str
    title: str
    columns: Mapping[str, str]
    rows: tuple[Row, ...]


def tables(document: Mapping[str, Any]) -> list[Table]:
    """The tables of an evaluation's JSON, for any page or terminal."""
    found: list[Table] = []
    finished = bool(document["about"].get("finished"))
    titles = COLUMNS | {"model": "Outputs"} if finished else COLUMNS
    for direction in dict.fromkeys(result["direction"] for result in document["results"]):
        here = [result for result in document["results"] if result["direction"] == direction]
        columns = {of: title for of, title in titles.items() if any(result["of"] == of for result in here)}
        rows = []
        for metric in dict.fromkeys(result["metric"] for result in here):
            group = [result for result in here if result["metric"] == metric]
            kind, first = METRICS[metric], group[0]
            protocol = document["protocols"].get(first["protocol"], {})
            features = protocol.get("features", {}).get("name", "")
            title = f"{kind.title} ({features})" if features and not features.startswith("inception") else kind.title
            cells = {result["of"]: cell(metric, result) for result in group}
            n = int(first["estimate"]["n"])
            rows.append(Row(metric, title, MEANING[metric], kind.unit, kind.better, cells, n, first["protocol"]))
        found.append(Table(direction, "" if finished else DIRECTIONS.get(direction, direction), columns, tuple(rows)))
    return found


def cell(metric: str, result: Mapping[str, Any]) -> Cell:
    """A result's number and interval as texts."""
    estimate = {key: float(result["estimate"][key]) for key in ("value", "low", "high")}
    known = not math.isnan(estimate["low"])
    interval = f"{number(metric, estimate['low'])} to {number(metric, estimate['high'])}" if known else "no interval"
    return Cell(number(metric, estimate["value"]), interval, result["note"])


def number(metric: str, value: float) -> str:
    """A metric's number with as many digits as it deserves."""
    return f"{value:.{DIGITS.get(metric, 3)}f}"


def write_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page of an evaluation. Raises StorageError when it cannot be written."""
    document = evaluation.to_json()
    about = dict(evaluation.about)
    directions = list(dict.fromkeys(example.direction for example in evaluation.examples))
    values = {
        "title": about.get("title", "Evaluation"),
        "about": about,
        "tables": tables(document),
        "left_out": reasons(evaluation.left_out),
        "galleries": [gallery([e for e in evaluation.examples if e.direction == d], len(directions) > 1) for d in directions],
        "protocols": protocols(evaluation),
        "facts": facts(about),
    }
    page = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    page.trim_blocks = page.lstrip_blocks = True
    page.globals |= {"show": show}
    text = page.get_template("evaluation.html.j2").render(values)
    write_atomic(path, text.encode("utf-8", "replace"))  # names of files may hold bytes that are no text


def reasons(left_out: Mapping[str, str]) -> list[tuple[str, str]]:
    """Metrics left out by the reason, so that one reason stands once: ``PSNR, SSIM`` and ``needs pairs``."""
    grouped: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        metric, _, direction = name.partition(" ")
        grouped.setdefault(reason, []).append(metric + (f" {DIRECTIONS[direction]}" if direction else ""))
    return [(", ".join(names), reason) for reason, names in grouped.items()]


def gallery(examples: Sequence[Example], several: bool) -> dict[str, Any]:
    """The examples of a direction, by rank, with their images as data URIs."""
    first = examples[0]
    by = f"by {METRICS[first.metric].title}" if first.metric else ""
    heading = f"Best, median and worst {by}" if first.metric else "Evenly chosen images"
    ranks: dict[str, list[dict[str, Any]]] = {}
    for example in examples:
        score = f"{METRICS[example.metric].title} {number(example.metric, example.score)}" if example.metric else ""
        images = [embedded(kind, data, example) for kind, data in example.images.items()]
        ranks.setdefault(example.rank, []).append({"name": show(example.name), "score": score, "images": images})
    where = f"{DIRECTIONS.get(first.direction, first.direction)}" if several else ""
    return {"heading": heading, "where": where, "ranks": ranks, "columns": list(first.images)}


def embedded(kind: str, data: bytes, example: Example) -> dict[str, Any]:
    """An image file as a data URI with its size and its words."""
    with Image.open(io.BytesIO(data)) as image:
        (width, height), suffix = image.size, (image.format or "png").lower()
    uri = f"data:image/{suffix};base64,{base64.b64encode(data).decode()}"
    return {"kind": kind, "uri": uri, "width": width, "height": height, "alt": f"{kind} of {show(example.name)}, {example.rank}"}


def facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was judged, and on what it was computed."""
    snapshot = about.get("snapshot") or {}
    rows = [
        ("Snapshot", snapshot.get("file", "")),
        ("Its SHA-256", snapshot.get("sha256", "")),
        ("Trained on", f"{snapshot['images']:,} images" if snapshot.get("images") else ""),
        ("Chosen as", snapshot.get("selection", "")),
        ("Data", about.get("data", "")),
        ("Left out as unreadable", "; ".join(about.get("skipped", []))),
        ("Device", about.get("device", "")),
    ]
    return [(name, show(text)) for name, text in rows if text]


def protocols(evaluation: Evaluation) -> dict[str, Any]:
    """What all protocols share, as names and texts, and of each its id, its metric and what it has besides."""
    every = list(evaluation.protocols.values())
    shared = [key for key in (every[0] if every else ()) if all(p.get(key) == every[0][key] for p in every)]
    rows = []
    for key, protocol in evaluation.protocols.items():
        own = "; ".join(f"{name}: {plain(value)}" for name, value in protocol.items() if name not in (*shared, "metric"))
        rows.append((key, METRICS[protocol["metric"]].title, own))
    return {"shared": [(key.replace("_", " "), plain(every[0][key])) for key in shared if key != "metric"], "rows": rows}


def plain(value: Any) -> str:
    """A protocol's entry in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    return {None: "none", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, int | float) else str(value)

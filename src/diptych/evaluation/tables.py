"""An evaluation's numbers as texts in rows and columns, for pages and for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from diptych.errors import DataError
from diptych.evaluation.results import METRICS
from diptych.messages import show
from diptych.metrics.estimate import decimals
from diptych.schemas import read_json

DIRECTIONS = {"a2b": "a to b", "b2a": "b to a"}
COLUMNS = {"model": "Translator", "truth": "Real images", "copy": "Copied input", "mean": "Mean colour"}
MEANING = {
    "psnr": "how close each pixel is to the truth",
    "ssim": "similarity of structure; 1 for equal images",
    "ms_ssim": "the same over five scales",
    "l1": "mean distance from the truth, as in the loss",
    "lpips_alex": "perceptual distance in AlexNet's features",
    "lpips_vgg": "perceptual distance in VGG16's features",
    "style": "distance of textures and colours, wherever they are",
    "structure": "whether outputs keep the arrangement of their inputs; 0 for an unchanged input",
    "fid": "distance of the two sets of images; falls with their number",
    "kid": "distance of the two sets; around 0 when nothing tells them apart",
    "mind": "how far one set must be moved to become the other; falls with their number",
    "precision": "share of outputs that lie among the real images",
    "recall": "share of real images that lie among the outputs",
    "nearest": "much less than that of real images: learnt by heart",
    "lab_l": "what the two sets have in common in lightness",
    "lab_a": "what they have in common from green to red",
    "lab_b": "what they have in common from blue to yellow",
    "cycle": "distance of an image from its translation there and back",
    "fcn_pixel": "share of pixels of the right class",
    "fcn_class": "the same, with equal weight for each class",
    "fcn_iou": "overlap of each class with the truth",
    "fcn_native_pixel": "the same at the size of the label maps: share of pixels of the right class",
    "fcn_native_class": "the same at the size of the label maps, with equal weight for each class",
    "fcn_native_iou": "overlap of each class with the truth, at the size of the label maps",
    "target_rate": "share that a classifier assigns to the target class",
}
DIGITS = {"psnr": 2, "fid": 1, "kid": 4, "style": 4}  # after the point at least; 3 for other metrics


class _Document(TypedDict):
    """What readers of evaluation.json rely on; the fields of results are looked up by `tables`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    about: dict[str, Any]
    results: list[dict[str, Any]]
    protocols: dict[str, dict[str, Any]]


EVALUATION: TypeAdapter[Any] = TypeAdapter(_Document)


@dataclass(frozen=True)
class Cell:
    """A number and its interval as texts, and a remark such as ``biased, N=106``."""

    value: str
    interval: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A metric's numbers by column, over ``n`` images; ``better`` is higher or lower."""

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


def read_evaluation(path: Path, advice: str = "remove it, and `diptych evaluate` writes it anew") -> dict[str, Any]:
    """The document in an evaluation.json. Raises DataError where it is damaged, and FileNotFoundError where there is none."""
    return dict(read_json(path, EVALUATION, advice))


def read_tables(path: Path) -> list[Table]:
    """The tables of an evaluation.json. Raises DataError where it is damaged, and FileNotFoundError where there is none."""
    document = read_evaluation(path)
    try:
        return tables(document)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{show(path)}: is damaged ({reason}); remove it, and `diptych evaluate` writes it anew") from error


def tables(document: Mapping[str, Any]) -> list[Table]:
    """The tables of an evaluation's JSON, one for each direction."""
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
            for printed in document["about"].get("published", ()):
                same_network = metric != "fid" or features.startswith("inception")
                if (printed["metric"], printed["direction"]) == (metric, direction) and same_network:
                    cells["published"] = Cell(printed["text"], printed["source"])
                    columns["published"] = "Published"
            n = int(first["estimate"]["n"])
            rows.append(Row(metric, title, MEANING[metric], kind.unit, kind.better, cells, n, first["protocol"]))
        found.append(Table(direction, "" if finished else DIRECTIONS.get(direction, direction), columns, tuple(rows)))
    return found


def cell(metric: str, result: Mapping[str, Any]) -> Cell:
    """A result's number and interval as texts."""
    estimate = {key: float(result["estimate"][key]) for key in ("value", "low", "high")}
    digits = decimals(**estimate, least=least_digits(metric))
    value, low, high = (f"{number:.{digits}f}" for number in estimate.values())
    return Cell(value, "no interval" if math.isnan(estimate["low"]) else f"{low} to {high}", result["note"])


def number(metric: str, value: float) -> str:
    """A metric's number without an interval, with as many digits as DIGITS says, or two that are not 0."""
    return f"{value:.{decimals(value, math.nan, math.nan, least_digits(metric))}f}"


def least_digits(metric: str) -> int:
    """How many digits after the point a metric's numbers have at least."""
    return DIGITS.get(metric, 3)


def reasons(left_out: Mapping[str, str]) -> list[tuple[str, str]]:
    """Metrics that were left out, grouped by the reason: ``psnr, ssim`` and ``needs pairs``."""
    grouped: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        metric, _, direction = name.partition(" ")
        grouped.setdefault(reason, []).append(metric + (f" {DIRECTIONS[direction]}" if direction else ""))
    return [(", ".join(names), reason) for reason, names in grouped.items()]

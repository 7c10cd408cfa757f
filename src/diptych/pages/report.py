"""A run's report: one HTML file that holds all it shows, so that it can be mailed, printed, and read in ten years.

The page names the parts that a run folder lacks and the files that are damaged. The same folder gives the same page.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import yaml
from PIL import Image

from diptych.errors import ConfigError, DiptychError
from diptych.evaluation.tables import DIRECTIONS, Table, read_tables
from diptych.files import open_regular, read_text
from diptych.messages import show
from diptych.methods import METHODS
from diptych.pages.charts import Line, charts
from diptych.pages.frame import counted, embedded, render, write_page
from diptych.recipe import Recipe, flat
from diptych.recipe_files import read_values
from diptych.run import read_census
from diptych.schemas import parse_json
from diptych.sheets import spread
from diptych.trees import read_header

log = logging.getLogger(__name__)
MAX_IMAGES = 24  # of each kind on the page
MAX_IMAGE_BYTES = 12_000_000  # that a kind of image may have together; more becomes JPEG
PARTS = {
    "recipe.json": "the settings",
    "census.json": "the data",
    "stats.jsonl": "the curves",
    "preview-*.png": "samples",
    "snapshot.safetensors": "the translators",
    "snapshot-best.safetensors": "the best of them on held-out images",
    "evaluation.json": "scores on the test images",
    "test-*.png": "test images",
}


def write_report(folder: Path, refresh: int = 0) -> Path:
    """Write ``report.html`` into a run folder from whatever of a run is there, and return its path.

    A browser loads the page again every ``refresh`` seconds, while a training writes it again and again; 0: it stays.
    Raises ConfigError when the folder holds no part of a run, StorageError when the page cannot be written.
    """
    missing = [f"{pattern} ({what})" for pattern, what in PARTS.items() if not any(folder.glob(pattern))]
    if len(missing) == len(PARTS):
        raise ConfigError(f"{folder}: holds no run; give the folder of a training, the one with recipe.json in it")
    problems: list[str] = []

    def understood(name: str, read: Callable[[Path], Any]) -> Any:
        """The content of a file; None when it is missing, or damaged, which becomes a problem on the page."""
        try:
            return read(folder / name) if (folder / name).exists() else None
        except (DiptychError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            problems.append(f"{name}: not understood ({show(str(error))})")
            return None

    recipe = understood("recipe.json", about_recipe)
    census = understood("census.json", lambda path: read_census(path.parent))
    stats = understood("stats.jsonl", lambda path: read_stats(path, problems)) or []
    snapshot = understood("snapshot.safetensors", about_snapshot)
    epoch_size = max(len(census.split.a), len(census.split.b)) if census else 0
    images = max(stats[-1]["images"] if stats else 0, snapshot["images"] if snapshot else 0)
    values = {
        "title": recipe["title"] if recipe else "A training",
        "folder": show(folder.resolve().name),
        "status": status(recipe, images, epoch_size),
        "facts": facts(stats, images, epoch_size),
        "scores": understood("evaluation.json", about_scores),
        "tests": album(folder.glob("test-*.png"), epoch_size, problems),
        "previews": album(folder.glob("preview-*.png"), epoch_size, problems),
        "charts": charts(stats, epoch_size),
        "validation": validation(stats),
        "health": health(stats),
        "best": understood("snapshot-best.safetensors", about_snapshot),
        "versions": versions(),
    }
    values |= {"refresh": refresh, "recipe": recipe, "census": census, "epoch_size": epoch_size, "snapshot": snapshot}
    values |= {"problems": problems, "missing": missing}
    for problem in problems if not refresh else ():  # a page that is written again and again says it itself
        log.warning("%s", problem)
    write_page(folder / "report.html", render("report.html.j2", values))
    return folder / "report.html"


def read_stats(path: Path, problems: list[str]) -> list[Line]:
    """The lines of stats.jsonl. An incomplete last line, as a crash leaves it, is ignored; other broken lines are problems."""
    stats: list[Line] = []
    broken: list[int] = []
    texts = read_text(path).splitlines()
    for place, text in enumerate(texts, 1):
        try:
            line = parse_json(text)
            losses = {name: float(value) for name, value in line["losses"].items()}
            rates = {name: float(line[name]) for name in ("lr", "images_s")}
            scores = {name: float(value) for name, value in line.get("validation", {}).items()}
            seen = {"validation": scores} | ({"verdicts": [*map(str, line["verdicts"])]} if "verdicts" in line else {})
            stats.append(rates | {"losses": losses, "images": int(line["images"])} | seen)
        except (ValueError, LookupError, TypeError, AttributeError):
            broken += [place] if place < len(texts) else []
    if broken:
        problems.append(f"{path.name}: {counted(len(broken), 'broken line')} passed over, the first is line {broken[0]}")
    return stats


def status(recipe: Mapping[str, Any] | None, images: int, epoch_size: int) -> str:
    """How far the training came. Recipe and census together tell how far it was to go."""
    if not images:
        return "No training step is on record yet."
    if not recipe or not epoch_size:
        return f"Trained on {counted(images, 'image')}; how many were planned is not known here."
    total, step = math.ceil(recipe["epochs"] * epoch_size / recipe["batch_size"]), images // recipe["batch_size"]
    if step >= total:
        return f"Finished: {counted(images, 'image')} in {counted(recipe['epochs'], 'epoch')}."
    return f"Reached step {step:,} of {total:,}, {step / total:.0%} of the way. If it stopped there, the same command goes on."


def facts(stats: Sequence[Line], images: int, epoch_size: int) -> list[tuple[str, str]]:
    """The training in a few figures. Time is summed over the lines of statistics, without pauses between sessions."""
    found = [("Images seen", f"{images:,}")] if images else []
    found += [("Epochs", f"{round(images / epoch_size, 1):,}".removesuffix(".0"))] if images and epoch_size else []
    steps = zip([0, *(line["images"] for line in stats)], stats, strict=False)
    timed = [(line["images"] - before, line["images_s"]) for before, line in steps if line["images_s"] > 0]
    if timed:
        minutes = round(sum(images / speed for images, speed in timed) / 60)
        took = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "under a minute"
        found += [("Time training", took), ("Images a second", f"{np.median([speed for _, speed in timed]):.3g}")]
    return found


def validation(stats: Sequence[Line]) -> list[dict[str, str]]:
    """For each score on held-out images, the last value, the mean of the last five, the lowest and the highest."""
    rows = []
    for name in dict.fromkeys(name for line in stats for name in line["validation"]):
        found = [
            (line["validation"][name], line["images"]) for line in stats if math.isfinite(line["validation"].get(name, math.nan))
        ]
        if found:
            last = [value for value, _ in found[-5:]]
            places = {"lowest": min(found), "highest": max(found, key=lambda item: (item[0], -item[1]))}
            texts = {word: f"{value:.4g} at {images:,}" for word, (value, images) in places.items()}
            rows.append({"name": name, "last": f"{last[-1]:.4g}", "mean": f"{sum(last) / len(last):.4g}"} | texts)
    return rows


def health(stats: Sequence[Line]) -> dict[str, Any] | None:
    """How often the training doctor looked, and what it found the last time; None when it never did."""
    looks = [line["verdicts"] for line in stats if "verdicts" in line]
    return {"looks": len(looks), "verdicts": looks[-1]} if looks else None


def about_scores(path: Path) -> list[tuple[Table, str]]:
    """evaluation.json as a table for each direction, with a sentence that sums it up."""
    return [(table, verdict(table)) for table in read_tables(path)]


def verdict(table: Table) -> str:
    """A sentence that compares the translator's PSNR with those of the baselines; empty where there is no truth."""
    row = next((row for row in table.rows if row.metric == "psnr" and "model" in row.cells), None)
    if row is None:
        return ""
    values = {of: float(cell.value) for of, cell in row.cells.items()}
    told = []
    for of in ("mean", "copy"):
        gain = values["model"] - values.get(of, math.nan)
        if math.isfinite(gain):
            amount = f"{abs(gain):.1f} dB {'above' if gain > 0 else 'below'}" if abs(gain) >= 0.05 else "level with"
            told.append(f"{amount} the {table.columns[of].lower()}")
    reached = f"is {' and '.join(told)}" if told else f"reaches {values['model']:.1f} dB"
    return f"The translator {reached} by PSNR; higher is better. Over {counted(row.n, 'test image')}."


def album(paths: Iterable[Path], epoch_size: int, problems: list[str]) -> dict[str, Any]:
    """Images ready to embed: evenly chosen ones where there are many, and JPEG where the files are large together."""
    found = sorted(paths, key=lambda path: (len(path.name), path.name))  # numbers in their order, padded or not
    chosen = spread(found, MAX_IMAGES)
    small = sum(path.stat().st_size for path in chosen) <= MAX_IMAGE_BYTES
    images = [image for path in chosen if (image := picture(path, small, epoch_size, problems))]
    return {"found": len(found), "small": small, "images": images}


def picture(path: Path, small: bool, epoch_size: int, problems: list[str]) -> dict[str, Any] | None:
    """An image file, embedded, with its caption and alternative text; None, and a problem, when it is no image."""
    try:
        with open_regular(path) as file:
            image = embedded(file.read() if small else as_jpeg(file))
    except (OSError, ValueError, Image.DecompressionBombError):
        problems.append(f"{show(path.name)}: not an image that can be read")
        return None
    caption = DIRECTIONS.get(path.stem.removeprefix("test-"), show(path.stem))
    alt = f"Test images, {caption}: input, output and, where it is known, truth, side by side"
    if match := re.fullmatch(r"preview-(\d+)", path.stem):
        seen = int(match[1])
        epoch = f", epoch {seen / epoch_size:,.3g}" if epoch_size and seen >= epoch_size / 10 else ""
        caption = counted(seen, "image") + epoch
        alt = f"The sample images and their translations after {counted(seen, 'image')} of training"
    return image | {"caption": caption, "alt": alt}


def as_jpeg(opened: BinaryIO) -> bytes:
    """An image file as a JPEG with colour at full resolution, which the edges of label maps need."""
    file = io.BytesIO()
    with Image.open(opened) as image:
        image.convert("RGB").save(file, "JPEG", quality=90, subsampling=0, optimize=True)
    return file.getvalue()


def about_recipe(path: Path) -> dict[str, Any]:
    """recipe.json as rows beside the method's defaults, and the values that other sections need."""
    values = read_values(path)
    name, source, train = values["method"]["name"], values["data"]["source"], values["train"]
    known = name in METHODS or name.partition(":")[0] in sys.modules  # a report runs no code that a recipe names
    usual = flat(Recipe.create(name).to_dict()) if known else {}
    rows = [(key, plain(value), plain(usual.get(key, value))) for key, value in flat(values).items()]
    folders = [Path(*Path(folder).parts[-2 if Path(folder).name.lower().startswith("train") else -1 :]) for folder in source]
    on = " and ".join(map(show, folders)) or "unnamed data"
    return {
        "title": f"{name} on {on}" + (", b to a" if values["data"]["direction"] == "b2a" else ""),
        "columns": [[row for row in rows if row[0].startswith("method.") == first] for first in (True, False)],
        "known": known,
        "yaml": yaml.safe_dump(values, sort_keys=False, default_flow_style=None),
        "lineage": values.get("start", {}).get("lineage", []),
        "epochs": train["epochs"] + train["decay_epochs"],
        "batch_size": train["batch_size"],
    }


def plain(value: Any) -> str:
    """A setting as it is written in a recipe."""
    text = value if isinstance(value, str) else json.dumps(value)
    return ", ".join(map(plain, value)) if isinstance(value, list) else text


def about_snapshot(path: Path) -> dict[str, Any]:
    """The size and the SHA-256 of a snapshot, and what its header says."""
    header = read_header(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "sha256": digest,
        "size": path.stat().st_size,
        "version": header["version"],
        "images": int(header["about"].get("images", 0)),
        "selection": str(header["about"].get("selection", "")),
    }


def versions() -> list[tuple[str, str]]:
    """The versions and the hardware that this page was written with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {platform.machine()}"
    names = ("diptych", "Python", "torch", "NumPy", "Platform", "Device")
    found = (version("diptych"), platform.python_version(), torch.__version__, np.__version__, platform.platform(), device)
    return list(zip(names, found, strict=True))

"""The model card of a run: what its snapshot is, what it was trained on, and how it scored, as Markdown to publish beside it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.data.census import Census
from diptych.evaluation.tables import read_tables
from diptych.files import read_text, sha256_of, write_atomic
from diptych.messages import show
from diptych.recipe_files import method_named, without_paths
from diptych.recorded import Recorded
from diptych.run import read_census
from diptych.trees import read_header

log = logging.getLogger(__name__)
NAME = "MODEL_CARD.md"
SIGNATURE = "<!-- written by diptych; SHA-256 of the text above: {} -->\n"


def write_card(folder: Path) -> Path | None:
    """Write ``MODEL_CARD.md`` beside the snapshot of a run, and return its path; None where a person changed the one there.

    The licence is left open, for only whoever owns the images can choose it.
    """
    path = folder / NAME
    if path.exists() and not is_own(path):
        log.info("%s: was changed by hand and is kept as it is", show(path))
        return None
    text = "\n".join(lines(folder)) + "\n"
    data = (text + SIGNATURE.format(_hash(text))).encode("utf-8", "replace")
    if not path.exists() or read_text(path).encode() != data:
        write_atomic(path, data)
    return path


def is_own(path: Path) -> bool:
    """Whether a card is as diptych wrote it."""
    text, _, signature = read_text(path).rpartition("<!-- written by diptych;")
    return bool(text) and f"<!-- written by diptych;{signature}" == SIGNATURE.format(_hash(text))


def lines(folder: Path) -> Iterator[str]:
    """The card, line by line."""
    recipe = without_paths(Recorded.read(folder / "recipe.json").values)
    method, data = method_named(recipe), recipe["data"]
    names = " and ".join(show(source) for source in data["source"])
    about = read_header(folder / "snapshot.safetensors")
    yield from ("---", "license: unknown # choose one that the licences of your images allow", "library_name: diptych")
    yield from (f"tags: [image-to-image, {json.dumps(method)}]", "---", "", f"# {method} on {names}", "")
    ways = {"a2b": "from A to B", "b2a": "from B to A"}
    yield f"Translates images {' and '.join(ways.get(way, way) for way in about['generators'])}."
    yield from ("", "```", f"diptych translate snapshot.safetensors photos/ --out translated/{_way(about)}", "```", "")
    yield from ("## Data", "")
    yield from _of_data(read_census(folder), data)
    yield from ("", "## Training", "")
    yield from _of_training(recipe, about)
    yield "- every setting stands in `recipe.json` and in the snapshot itself"
    yield from ("", "## Scores", "")
    yield from _of_scores(folder / "evaluation.json")
    yield from ("", "## Files", "")
    for path in sorted(folder.glob("snapshot*.safetensors")):
        selection = str(read_header(path).get("about", {}).get("selection", ""))
        yield f"- `{path.name}`, SHA-256 {sha256_of(path)}{': ' + selection if selection else ''}"
    yield from ("", "## Licence", "")
    yield "Not chosen yet. The licences of the training images limit the choice; say here what others may do with this model."
    yield ""


def lines_of_network(folder: Path, path: Path, direction: str) -> Iterator[str]:
    """What a card says of one network of a run that lies in a file of its own, line by line.

    ``path`` is that file. ``direction`` is that of the network in the run, and '' for a discriminator; the sides of a network
    from B to A are exchanged in its file, and so they are here.
    """
    recipe, about = without_paths(Recorded.read(folder / "recipe.json").values), read_header(path)
    method, data, turned = method_named(recipe), recipe["data"], direction == "b2a"
    names = " and ".join(show(source) for source in data["source"])
    yield f"Trained with {method} on {names}{', whose sides A and B are exchanged in this file' if turned else ''}."
    use = f"translate {path.stem} photos/ --out translated/" if direction else f"train {method} DATA --weights {path.name}"
    yield from ("", "```", f"diptych {use}", "```", "")
    if direction:
        side = data["crop_size"]
        yield from (f"Each image is translated at its own size; `--at trained` does it at that of training, {side} pixels.", "")
    yield from ("## Data", "")
    census = read_census(folder)
    yield from _of_data(census.swapped() if turned else census, data)
    yield from ("", "## Training", "")
    yield from _of_training(recipe, about)
    yield f"- every setting stands in the file itself{', with A and B as they were trained' if turned else ''}"
    if direction:
        yield from ("", "## Scores", "")
        yield from _of_scores(folder / "evaluation.json", direction)
    yield from ("", "## File", "")
    selection = str(about["about"].get("selection", ""))
    yield f"- `{path.name}`, SHA-256 {sha256_of(path)}{': ' + selection if selection else ''}"


def remarks(path: Path) -> list[str]:
    """What a person wrote into the card of a run: its lines that diptych does not write, without titles and the open licence."""
    if not path.is_file() or is_own(path):
        return []
    text = read_text(path)
    text = text.partition("\n---\n")[2] if text.startswith("---\n") else text
    text = text.partition("<!-- written by diptych;")[0].partition("\n## Licence\n\nNot chosen yet.")[0]
    own = {line for line in lines(path.parent) if line} if (path.parent / "recipe.json").is_file() else set()
    kept = [line for line in text.splitlines() if line not in own and not line.startswith("# ")]
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?m)^## ", "### ", "\n".join(kept)).strip()).splitlines()


def _way(header: dict[str, Any]) -> str:
    return "" if "a2b" in header["generators"] else " --direction b2a"


def _of_data(census: Census, data: dict[str, Any]) -> Iterator[str]:
    held_out = f"; {census.val} validate it" if census.val else "; none are held out"
    yield f"- {census.split} to train on{held_out}"
    yield f"- A: {census.a}; B: {census.b}"
    yield f"- resized as `{data['resize']}`{', mirrored at random' if data['flip'] else ', not mirrored'}"
    if census.skipped:
        yield f"- {len(census.skipped):,} files were left out, as they could not be used"


def _of_training(recipe: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    data, train, start = recipe["data"], recipe["train"], recipe.get("start", {})
    epochs, images = train["epochs"] + train["decay_epochs"], about["about"].get("images", 0)
    yield f"- {epochs} epoch{'s' if epochs > 1 else ''} at crops of {data['crop_size']} pixels, {images:,} images seen"
    yield from (f"- goes on from {before}" for before in start.get("lineage", ()))
    for name in ("weights", "weights_a2b", "weights_b2a"):
        if path := start.get(name):
            yield f"- begins with {name} of {show(path)}, SHA-256 {start[f'{name}_sha256']}"


def _of_scores(path: Path, direction: str = "") -> Iterator[str]:
    """The tables of an evaluation in Markdown, with the protocol of every number; with a ``direction`` that of it alone."""
    if not path.exists():
        yield "Not scored yet: `diptych evaluate` does it."
        return
    found = [table for table in read_tables(path) if direction in ("", table.direction)]
    if not found:
        yield "Not scored in this direction."
    for table in found:
        if table.title and not direction:
            yield from (f"### {table.title}", "")
        yield "| | " + " | ".join(table.columns.values()) + " | images | protocol |"
        yield "|---" * (len(table.columns) + 3) + "|"
        for row in table.rows:
            cells = [row.cells.get(of) for of in table.columns]
            texts = [f"{cell.value} {cell.interval}".strip() if cell else "" for cell in cells]
            arrow = "↑" if row.better == "higher" else "↓"
            columns = [f"{arrow} {row.title}", *texts, f"{row.n:,}", f"`{row.protocol}`"]
            yield "| " + " | ".join(re.sub(r"\s+", " ", text).replace("|", "\\|") for text in columns) + " |"
        yield ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()

"""The page of a checked data set: every finding with its pictures, in one HTML file that needs no network and runs no script."""

from __future__ import annotations

import base64
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from diptych.data.checkup import VERDICTS, Checkup
from diptych.data.findings import Case, Finding
from diptych.data.inspection import SIDES, Place
from diptych.data.likeness import eight_bits
from diptych.errors import DataError, StorageError
from diptych.files import write_atomic
from diptych.messages import show

PICTURED = 12  # cases of a finding that are shown in pictures
TOGETHER = 6  # pictures of one case
LISTED = 1000  # cases of a finding that are named; all are in check.json
LONGEST = 220  # pixels of a picture


def write_checkup(folder: Path, checkup: Checkup) -> Path:
    """Write check.html and check.json into a folder, made where it is missing, and return the page's path.

    Raises StorageError when they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{show(folder)}: cannot be made ({error.strerror}); choose another with --out") from error
    write_atomic(folder / "check.json", (json.dumps(checkup.to_dict(), indent=2) + "\n").encode())
    write_atomic(folder / "check.html", page(checkup).encode("utf-8", "replace"))  # names of files may be no text
    return folder / "check.html"


def page(checkup: Checkup) -> str:
    """The page as text. Only the images that are shown are read again."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template("checkup.html.j2").render(
        title=" and ".join(show(Path(source).name or source) for source in checkup.sources),
        checkup=checkup,
        verdict=VERDICTS[checkup.verdict],
        findings=[_shown(finding) for finding in checkup.findings],
        version=version("diptych"),
    )


def _shown(finding: Finding) -> dict[str, Any]:
    pictured = [_pictures(case) for case in finding.cases[:PICTURED]]
    listed = [{"names": [_name(place) for place in case.places], "note": case.note} for case in finding.cases[:LISTED]]
    return {"finding": finding, "pictured": pictured, "listed": listed, "unlisted": len(finding.cases) - len(listed)}


def _pictures(case: Case) -> dict[str, Any]:
    images = [{"name": _name(place), "picture": _picture(place)} for place in case.places[:TOGETHER]]
    return {"images": images, "note": case.note, "more": len(case.places) - len(images)}


def _name(place: Place) -> dict[str, str]:
    where = f"{place.split} {place.side}".strip()
    return {"where": where + SIDES[place.ref.half], "file": show(place.ref.path.name), "path": show(place.ref.path)}


def _picture(place: Place) -> dict[str, Any] | None:
    """A small JPEG as a data URI with its size and that of the image; None for what cannot be read."""
    try:
        pixels = eight_bits(place.ref.read())
    except DataError:
        return None
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = f"{image.width} x {image.height}"
    image.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, subsampling=0)
    uri = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return {"uri": uri, "width": image.width, "height": image.height, "size": size}

"""The page of a checked data set: every finding with its pictures, in one HTML file that needs no network and runs no script."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from diptych.data.checkup import VERDICTS, Checkup
from diptych.data.findings import Case, Finding
from diptych.data.inspection import SIDES, Place
from diptych.data.likeness import eight_bits
from diptych.errors import DataError
from diptych.files import make_folder, write_atomic
from diptych.messages import show
from diptych.pages.frame import embedded, render, write_page

MAX_PICTURED = 12  # cases of a finding that are shown with pictures
MAX_PICTURES = 6  # pictures of one case
MAX_LISTED = 1000  # cases of a finding that the page names; check.json names all
MAX_SIDE = 220  # pixels of the longer side of a picture


def write_checkup(folder: Path, checkup: Checkup) -> Path:
    """Write check.html and check.json into a folder, made where it is missing, and return the page's path.

    Raises StorageError when they cannot be written.
    """
    make_folder(folder)
    write_atomic(folder / "check.json", (json.dumps(checkup.to_dict(), indent=2) + "\n").encode())
    write_page(folder / "check.html", page(checkup))
    return folder / "check.html"


def page(checkup: Checkup) -> str:
    """The page as text. Only the images that are shown are read again."""
    values = {
        "title": " and ".join(show(Path(source).name or source) for source in checkup.sources),
        "checkup": checkup,
        "verdict": VERDICTS[checkup.verdict],
        "findings": [_shown(finding) for finding in checkup.findings],
    }
    return render("checkup.html.j2", values)


def _shown(finding: Finding) -> dict[str, Any]:
    pictured = [_pictures(case) for case in finding.cases[:MAX_PICTURED]]
    listed = [{"names": [_name(place) for place in case.places], "note": case.note} for case in finding.cases[:MAX_LISTED]]
    return {"finding": finding, "pictured": pictured, "listed": listed, "unlisted": len(finding.cases) - len(listed)}


def _pictures(case: Case) -> dict[str, Any]:
    images = [{"name": _name(place), "picture": _picture(place)} for place in case.places[:MAX_PICTURES]]
    return {"images": images, "note": case.note, "more": len(case.places) - len(images)}


def _name(place: Place) -> dict[str, str]:
    where = f"{place.split} {place.side}".strip()
    return {"where": where + SIDES[place.ref.half], "file": place.file, "path": show(place.ref.path)}


def _picture(place: Place) -> dict[str, Any] | None:
    """A small JPEG, embedded, and the ``size`` of the image itself; None for an image that cannot be read."""
    try:
        pixels = eight_bits(place.ref.read())
    except DataError:
        return None
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    size = f"{image.width} x {image.height}"
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, subsampling=0)
    return embedded(file.getvalue()) | {"size": size}

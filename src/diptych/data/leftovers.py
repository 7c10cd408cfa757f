"""What lies among the images of a side and is none of them: masks and boxes in folders of their own, and earlier results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from diptych.data.archives import entries, is_there
from diptych.data.formats import SUFFIXES, read_pixels
from diptych.data.listing import hidden, plain_name
from diptych.data.pairing import key_in
from diptych.errors import DataError
from diptych.schemas import parse_json

PICTURES = {"img", "imgs", "image", "images", "photo", "photos", "picture", "pictures", "jpegimages", "rgb"}
HELPERS = {
    *("mask", "masks", "bbox", "bboxes", "box", "boxes", "annotation", "annotations", "label", "labels", "inst", "instance"),
    *("instances", "seg", "segmentation", "segmentations", "depth", "keypoints", "landmarks", "thumb", "thumbs", "thumbnails"),
}
RECORD = ".diptych-translations.jsonl"  # what diptych.inference.manifest writes beside translations
WIDE = 1.8  # width by height, from which on an image may be two side by side


def picture_folder(folder: Path) -> Path:
    """The folder of the pictures where one is called so and all beside it are helpers, as in ``imgs/ bbox/``; else the folder."""
    if has_images(folder):
        return folder
    inside = {plain_name(path.name): path for path, is_dir in entries(folder) if is_dir and not hidden(path.name)}
    pictures, helpers = inside.keys() & PICTURES, inside.keys() & HELPERS
    if len(pictures) == 1 and helpers and len(inside) == len(helpers) + 1:
        return inside[pictures.pop()]
    return folder


def without_results(folder: Path, images: Sequence[Path]) -> list[Path]:
    """The images of a folder without those that diptych made of them earlier.

    These are the ones that the record of a folder of translations names, all in a folder that is a run, and all in a folder
    in which every image has the name of one that lies directly in the folder around it, as translations have.
    """
    own = {key_in(folder, path) for path in images if path.parent == folder}
    inside: dict[Path, list[Path]] = defaultdict(list)
    for path in images:
        if path.parent != folder:
            inside[folder / path.relative_to(folder).parts[0]].append(path)
    made = _recorded({folder, *(path.parent for path in images)}) | {
        path
        for top, paths in inside.items()
        if is_there(top / "recipe.json") or all(key_in(top, path) in own for path in paths)
        for path in paths
    }
    kept = [path for path in images if path not in made]
    return kept or list(images)


def _recorded(folders: Iterable[Path]) -> set[Path]:
    """The results that records in these folders name; damaged lines, as a crash leaves them, are passed over."""
    found: set[Path] = set()
    for folder in folders:
        record = folder / RECORD
        for line in record.read_text(errors="replace").splitlines() if record.is_file() else ():
            with suppress(ValueError, LookupError, TypeError):
                found.add(folder / parse_json(line)["output"])
    return found


def is_contact_sheet(path: Path) -> bool:
    """Whether a file is the contact sheet that `diptych prepare` makes of its pairs, beside its note."""
    return path.name == "prepare.png" and is_there(path.with_suffix(".json"))


def has_images(folder: Path) -> bool:
    """Whether images lie directly in a folder."""
    return any(path.suffix.lower() in SUFFIXES and not is_dir and not hidden(path.name) for path, is_dir in entries(folder))


def is_wide(path: Path) -> bool:
    """Whether an image is so wide that it may be two side by side; one that cannot be read is not."""
    try:
        height, width = read_pixels(path).shape[:2]
    except DataError:
        return False
    return bool(width >= WIDE * height)

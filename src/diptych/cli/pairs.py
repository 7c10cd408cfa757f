"""The pairs of a training that is given plain photos, as `diptych train edges2photo photos/` is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.errors import ConfigError, DataError

if TYPE_CHECKING:  # the real import waits until wrong words are refused
    from diptych.recipe import Recipe

ROOT = Path("runs", "pairs")


def on_pairs(kind: str, recipe: Recipe, *, dry_run: bool = False, strict: bool = False) -> Recipe:
    """The recipe on pairs of this kind: on those that its data hold, or on those that are made of the photos there.

    Data with a side A and a side B are taken as they are, and so is what `diptych prepare` made. Pairs of photos go to
    ROOT/KIND-HASH/NAME, where a later training finds them; photos that were added get their pairs then. Raises ConfigError for
    pairs of another kind, and for a dry run of photos without pairs, and DataError where no pairs can be made, or with
    ``strict`` where one cannot.
    """
    from diptych.data.listing import open_folder
    from diptych.messages import show
    from diptych.prepare.pairs import NOTE
    from diptych.schemas import MAPPING, read_json

    if len(recipe.data.source) == 2:
        return recipe
    photos = open_folder(recipe.data.source[0])
    if (photos / NOTE).is_file():
        made = read_json(photos / NOTE, MAPPING, "restore it, or prepare the photos into another folder").get("kind")
        if made != kind:
            raise ConfigError(f"{show(photos)}: holds pairs of the kind {made}; train {made}2photo on them, or pass the photos")
        return recipe
    if has_sides(photos):
        return recipe
    place = hashlib.sha256(str(photos.resolve()).encode(errors="surrogateescape")).hexdigest()[:6]
    out = ROOT / f"{kind}-{place}" / photos.resolve().name
    if dry_run and not (out / NOTE).is_file():
        raise ConfigError(f"{show(photos)}: its pairs are not made yet; run `diptych prepare {kind}` and name what it wrote")
    if not dry_run:
        make_pairs(kind, photos, out, strict)
    return recipe.replace(**{"data.source": (str(out),)})


def has_sides(folder: Path) -> bool:
    """Whether a folder has a folder of one side at least, such as trainA, train/A or train_label: it holds no plain photos."""
    from diptych.data.archives import entries
    from diptych.data.folders import KNOWN, SPLITS
    from diptych.data.listing import plain_name

    inside = {plain_name(path.name): path for path, is_dir in entries(folder) if is_dir}
    splits = [inside[word] for words in SPLITS.values() for word in words if word in inside]
    sides = {name for name in KNOWN if name.endswith(("a", "b"))} | {"trainlabel"}
    within = {plain_name(path.name) for split in splits for path, is_dir in entries(split) if is_dir}
    return bool(sides & inside.keys() or {"a", "b"} & within)


def make_pairs(kind: str, photos: Path, out: Path, strict: bool) -> None:
    """Make the pairs with a progress bar, or those that are lacking, and name the photos that were left out."""
    from diptych.cli.console import bar, notes
    from diptych.messages import counted, show
    from diptych.prepare.pairs import Preparation, mixed_kinds, prepare

    with bar("photos") as progress:
        task = progress.add_task(kind, total=None, note="")
        made = prepare(photos, out, Preparation(kind), lambda done, all: progress.update(task, completed=done, total=all))
    failed = [one.error for one in made if one.error]
    if failed and (strict or len(failed) == len(made)):
        raise DataError(f"{failed[0]}; {len(failed):,} of {len(made):,} photos cannot be used")
    for error in failed:
        notes.print(f"skipped: {error}", soft_wrap=True)
    if text := mixed_kinds(made):
        notes.print(f"note: {text}", soft_wrap=True)
    new = sum(not (one.there or one.error) for one in made)
    notes.print(f"{counted(len(made) - len(failed), 'pair')} of photos in {show(out)}, {new:,} of them made now", soft_wrap=True)

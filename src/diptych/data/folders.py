"""Find the images of the two domains in folders as people lay them out, and pair them.

Recognised are ``trainA/ trainB/`` (with ``testA/ testB/ valA/ valB/``), ``A/ B/`` (with ``train/ val/ test/`` inside or around),
one folder of side-by-side images A|B (with or without ``train/ val/ test/``), ``train_label/ train_img/``, two classes in
``train/``, two folders, lists (see diptych.data.lists), .zip and .tar archives of any of these, and the names of the catalogue.
Upper and lower case, ``-`` and ``_`` make no difference in the names of folders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diptych.choices import Axis
from diptych.data.archives import entries
from diptych.data.film_names import is_film
from diptych.data.leftovers import HELPERS, PICTURES, has_images, is_contact_sheet, is_wide, picture_folder, without_results
from diptych.data.listing import find_images, is_list, open_folder, plain_name
from diptych.data.lists import check_columns, sides_of
from diptych.data.pairing import key_in, match
from diptych.data.samples import read_rows
from diptych.data.side_by_side import refuse_single_images
from diptych.data.splits import Half, Layout, Ref, Split, take_half
from diptych.errors import DataError
from diptych.messages import nearest, show

__all__ = ["Half", "Layout", "Ref", "Split", "find_data", "find_images", "take_half"]  # found here by all other rooms

LayoutName = Literal["auto", "side_by_side"]
_Sides = tuple[Path | None, Path | None]
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
KNOWN = {"a", "b", *(word + side for words in SPLITS.values() for word in words for side in ("a", "b", ""))}


def find_data(sources: Sequence[str | Path], *, paired: bool, layout: LayoutName = "auto", axis: Axis = "z") -> Layout:
    """Find and pair the images in one folder (or catalogue name) or in two folders, A and B.

    With ``layout`` side_by_side one folder holds images A|B, whatever their shape; otherwise they must look like it. Volumes are
    folders of their slices along ``axis``.

    Every split has at least one image on each side, except that test images may be of one side alone. Paired, the two files of
    a pair have the same stem, relative to their folders, and every image has its partner. Raises DataError, in one line that
    says where, what was expected, and what to do.
    """
    return _find(sources, paired, layout).along(axis)


def _find(sources: Sequence[str | Path], paired: bool, layout: LayoutName) -> Layout:
    if len(sources) not in (1, 2):
        raise DataError(f"{len(sources)} sources given; pass one folder that holds both domains, or two folders, A and B")
    if any(map(is_list, sources)):
        return _listed(sources, paired)
    roots = [open_folder(source, films=True) for source in sources]
    if len(roots) == 2:
        a, b = roots
        _refuse_nesting(a, b)
        return _with_unused(_from_sides(a, b, f"{show(a)} (A) and {show(b)} (B)", paired), roots)
    root, names = roots[0], _subfolders(roots[0])
    recognised = _suffixed, _labels_and_photos, _sided, _split_first, _classes, _side_by_side
    for recognise in (_side_by_side,) if layout == "side_by_side" else recognised:
        if found := recognise(root, names, paired):
            if recognise is _side_by_side and layout == "auto":
                refuse_single_images(found.train.a)
            return _with_unused(found, roots)
    raise DataError(_explain(root, names))


def _listed(sources: Sequence[str | Path], paired: bool) -> Layout:
    """Lay out what lists name: one list of pairs, or two sources of which each is a list of one side or a folder."""
    splits: dict[str, Split] = {}
    if len(sources) == 1:
        rows = read_rows(sources[0])
        check_columns(sources[0], rows, 2)
        splits = {name: Split(*sides_of(some), paired) for name, some in rows.items()}
    else:
        sides = [_one_side(source) for source in sources]
        for name in SPLITS:
            if (name in sides[0]) != (name in sides[1]):
                here, there = sources if name in sides[0] else reversed(sources)
                raise DataError(f"{show(Path(here))}: names {name} images, and {show(Path(there))} names none; add them")
            if name in sides[0]:
                split = Split(sides[0][name], sides[1][name], False)
                splits[name] = _paired(Path(sources[0]), Path(sources[1]), split) if paired else split
    if "train" not in splits:
        raise DataError(f"{show(Path(sources[0]))}: names only {', '.join(splits)} images, none for training; add them")
    ordered = {name: splits[name] for name in SPLITS if name in splits}
    return _layout(" and ".join(show(Path(source)) for source in sources), ordered, lambda split: split)


def _one_side(source: str | Path) -> dict[str, tuple[Ref, ...]]:
    if is_list(source):
        rows = read_rows(source)
        check_columns(source, rows, 1)
        return {name: tuple(row[0] for row in some) for name, some in rows.items()}
    folder = open_folder(source, films=True)
    return {name: _refs(found) for name, found in (_splits(_subfolders(folder)) or {"train": folder}).items()}


def _with_unused(layout: Layout, roots: Sequence[Path]) -> Layout:
    """The layout with what it leaves out of the folders that were given: images of another layout, masks, previews."""
    splits = [split for split in (layout.train, layout.val, layout.test, layout.alone) if split]
    used = {ref.path for split in splits for ref in (*split.a, *split.b)}
    above = {folder for path in used for folder in path.parents}
    unused: Counter[Path] = Counter()
    for root in roots:
        for path in find_images(root, films=True):
            inside = [part for part in (*reversed(path.parents), path) if part.is_relative_to(root)]
            if path not in used and not is_contact_sheet(path):
                unused[next(part for part in inside if part not in above)] += 1
    return replace(layout, unused=dict(unused))


def _refuse_nesting(a: Path, b: Path) -> None:
    real_a, real_b = a.resolve(), b.resolve()
    if real_a == real_b:
        raise DataError(f"{show(a)}: A and B are the same folder; pass two folders, or one folder of side-by-side images")
    for outer, inner in ((a, b), (b, a)):
        if outer.resolve() in inner.resolve().parents:
            raise DataError(f"{show(inner)}: lies inside {show(outer)}, so its images are in both; pass separate folders")


def _subfolders(root: Path) -> dict[str, Path]:
    """Return folders by their names without case and separators. Raises DataError when two of them then have one name."""
    found: dict[str, Path] = {}
    if is_film(root) and root.is_file():
        return found
    try:
        inside = sorted(path for path, is_dir in entries(root) if is_dir and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{show(root)}: cannot be listed ({error.strerror}); make it readable") from error
    for entry in inside:
        name = plain_name(entry.name)
        if name in found:
            raise DataError(f"{show(root)}: {show(found[name].name)} and {show(entry.name)} mean the same; remove one")
        found[name] = entry
    return found


def _splits(names: dict[str, Path], ending: str = "") -> dict[str, Path]:
    """Return the folders of train, val and test among them, by those three names."""
    found = {}
    for split, words in SPLITS.items():
        here = [names[word + ending] for word in words if word + ending in names]
        if len(here) > 1:
            raise DataError(f"{show(here[0].parent)}: {' and '.join(show(p.name) for p in here)} mean the same; remove one")
        if here:
            found[split] = here[0]
    return found


def _suffixed(root: Path, names: dict[str, Path], paired: bool) -> Layout | None:
    """Recognise ``trainA/ trainB/`` and the like."""
    a, b = _splits(names, "a"), _splits(names, "b")
    if not a and not b:
        return None
    folders = _both(root, a, b, lambda split, side: f"{split}{side}")
    return _layout(f"{show(root)} with trainA and trainB", folders, lambda folder: _two_folders(folder, paired))


def _labels_and_photos(root: Path, names: dict[str, Path], paired: bool) -> Layout | None:
    """Recognise ``train_label/ train_img/`` as pix2pixHD has them; ``train_inst/`` beside them is in no use."""
    a, b = _splits(names, "label"), _splits(names, "img")
    if not a or not b:
        return None
    folders = _both(root, a, b, lambda split, side: f"{split}_{'label' if side == 'A' else 'img'}")
    where = f"{show(root)} with train_label (A) and train_img (B)"
    return _layout(where, folders, lambda folder: _two_folders(folder, paired))


def _classes(root: Path, names: dict[str, Path], paired: bool) -> Layout | None:
    """Recognise two classes in folders of their own, ``train/horse train/zebra``, the first by its name as A."""
    inside = {split: _subfolders(folder) for split, folder in _splits(names).items()}
    two = sorted(inside.get("train", {}))
    if len(two) != 2 or set(two) & (HELPERS | PICTURES) or has_images(inside["train"][two[0]].parent):
        return None
    if any(is_wide(find_images(inside["train"][name])[0]) for name in two):  # pairs side by side, sorted into folders
        return None
    a, b = ({split: found[name] for split, found in inside.items() if name in found} for name in two)
    folders = _both(root, a, b, lambda split, side: f"{split}/{two['AB'.index(side)]}")
    where = f"{show(root)} with {show(a['train'].name)} (A) and {show(b['train'].name)} (B) in train"
    return _layout(where, folders, lambda folder: _two_folders(folder, paired))


def _sided(root: Path, names: dict[str, Path], paired: bool) -> Layout | None:
    """Recognise ``A/ B/``, perhaps with ``train/ val/ test/`` inside each."""
    if "a" not in names and "b" not in names:
        return None
    a, b = ({"train": names[side]} if side in names else {} for side in "ab")
    _both(root, a, b, lambda split, side: side)
    return _from_sides(names["a"], names["b"], f"{show(root)} with A and B", paired)


def _from_sides(a: Path, b: Path, where: str, paired: bool) -> Layout:
    splits_a, splits_b = _splits(_subfolders(a)), _splits(_subfolders(b))
    if not splits_a and not splits_b:
        return _layout(where, {"train": (a, b)}, lambda folder: _two_folders(folder, paired))
    folders = _both(a, splits_a, splits_b, lambda split, side: show((a if side == "A" else b) / split))
    return _layout(where, folders, lambda folder: _two_folders(folder, paired))


def _split_first(root: Path, names: dict[str, Path], paired: bool) -> Layout | None:
    """Recognise ``train/A train/B`` and the like."""
    inside = {split: _subfolders(folder) for split, folder in _splits(names).items()}
    if not any(side in subfolders for subfolders in inside.values() for side in "ab"):
        return None
    a, b = ({split: subfolders[side] for split, subfolders in inside.items() if side in subfolders} for side in "ab")
    folders = _both(root, a, b, lambda split, side: f"{split}/{side}")
    return _layout(f"{show(root)} with train/A and train/B", folders, lambda folder: _two_folders(folder, paired))


def _side_by_side(root: Path, names: dict[str, Path], paired: bool) -> Layout | None:
    """Recognise one folder of images A|B, perhaps in ``train/ val/ test/``."""
    folders = _splits(names)
    if not folders and has_images(root):
        folders = {"train": root}
    if not folders:
        return None
    if "train" not in folders:
        raise DataError(f"{show(root)}: no folder train, found {_names(list(names.values()))}; rename the one to train on")

    def halves(folder: Path) -> Split:
        return Split(_refs(folder, "left"), _refs(folder, "right"), paired)

    return _layout(f"{show(root)} with A|B side by side", folders, halves)


def _both(root: Path, a: dict[str, Path], b: dict[str, Path], wanted: Callable[[str, str], str]) -> dict[str, _Sides]:
    """Join the folders of the two sides by split; only one of them may have test images.

    Raises DataError when one side lacks another split, or there is no train.
    """
    for split in ("train", "val"):
        if (split in a) != (split in b):
            here, there = (a, "B") if split in a else (b, "A")
            beside = [show(path.name) for name, path in _subfolders(here[split].parent).items() if name not in KNOWN]
            near = nearest(wanted(split, there), beside, n=1)
            hint = f"rename {near[0]}?" if near else "add it"
            raise DataError(f"{show(here[split])}: the other side, {wanted(split, there)}, is missing; {hint}")
    if "train" not in a:
        raise DataError(
            f"{show(root)}: only {', '.join(a)} found, no {wanted('train', 'A')} and {wanted('train', 'B')}; add them"
        )
    return {split: (a.get(split), b.get(split)) for split in SPLITS if split in a or split in b}


def _layout(where: str, folders: dict[str, Any], make: Callable[[Any], Split]) -> Layout:
    splits: dict[str, Split] = {split: make(folder) for split, folder in folders.items()}
    test = splits.get("test")
    alone = test if test and not (test.a and test.b) else None
    return Layout(where, splits["train"], splits.get("val"), None if alone else test, alone=alone)


def _two_folders(folders: _Sides, paired: bool) -> Split:
    a, b = folders
    if not (a and b):
        return Split(_refs(a) if a else (), _refs(b) if b else (), paired=False)
    _refuse_nesting(a, b)
    split = Split(_refs(a), _refs(b), paired=False)
    return _paired(a, b, split) if paired else split


def _refs(folder: Path, half: Half = "whole") -> tuple[Ref, ...]:
    folder = folder if is_film(folder) and folder.is_file() else picture_folder(folder)
    return tuple(Ref(path, half, key_in(folder, path)) for path in without_results(folder, find_images(folder, films=True)))


def _paired(a: Path, b: Path, split: Split) -> Split:
    """The images of two folders as pairs. Raises DataError that names images without a partner and several of one name."""
    found = match(split)
    for folder, twins in zip((a, b), found.twins, strict=True):
        if twins:
            names = _names([ref.path for ref in twins[0]])
            raise DataError(f"{show(folder)}: {len(twins[0])} images of one name, {names}; remove or rename all but one")
    if not found.pairs:
        examples = f"{show(split.a[0].key)} and {show(split.b[0].key)}"
        raise DataError(
            f"{show(a)}: no image has a partner in {show(b)}, whose names all differ, such as {examples}; "
            "give the two of a pair one name, or train unpaired"
        )
    alone = [ref.path for side in found.alone for ref in side]
    if alone:
        raise DataError(
            f"{show(a)} and {show(b)}: {len(split.a)} and {len(split.b)} images, "
            f"{len(alone)} without a partner of the same name: {_names(alone)}; "
            "add the missing ones, remove these, or train unpaired"
        )
    return found.paired(split)


def _names(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(show(path.name) for path in paths[:3]) + more


def _explain(root: Path, names: dict[str, Path]) -> str:
    """Say why a folder is no known layout, with the nearest thing that would be one."""
    if not names:
        find_images(root)  # raises, and says what is there instead
    expected = f"{show(root)}: expected trainA and trainB, A and B, or side-by-side images, found the folders "
    expected += _names(list(names.values()))
    for path in names.values():
        if not KNOWN.isdisjoint(_subfolders(path)):
            return f"{expected}; did you mean {show(path)}?"
    for name, path in names.items():
        if near := nearest(name, sorted(KNOWN - {"a", "b"}), n=1, cutoff=0.75):
            side = near[0][-1].upper() if near[0][-1] in "ab" else ""
            return f"{expected}; rename {show(path.name)} to {near[0].removesuffix(side.lower())}{side}?"
    if len(names) == 2:
        return f"{expected}; to translate between these two, pass both: {' '.join(show(path) for path in names.values())}"
    return f"{expected}; rename them, or pass two folders"

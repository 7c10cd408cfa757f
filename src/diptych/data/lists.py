"""Lists of images in .csv, .tsv and .txt files: two columns are pairs, one column is one side, in the order of the rows.

A further column says of each row whether it is for train, val or test; without one all are for training. Paths are relative to
the folder of the list. A first row of names such as ``a,b,split`` is taken for a header.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from diptych.data.archives import is_there
from diptych.data.formats import SUFFIXES
from diptych.data.listing import spelling
from diptych.data.splits import Ref
from diptych.errors import DataError
from diptych.files import read_bounded
from diptych.messages import show

WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
MAX_BYTES = 2**30  # of a list; ten million rows are fewer
FORM = "expected one path a row, or two for a pair, and perhaps train, val or test"
Rows = dict[str, list[tuple[Ref, ...]]]
"""By split, the images of each row: one, or two that are a pair."""


def read_list(source: str | Path) -> Rows:
    """Read a list. Raises DataError, which names the row, for one that is not as above, and for files that are not there."""
    path = Path(os.path.expanduser(source))
    table = _table(path)
    if table and not any(_is_image(cell) for cell in table[0][1]):
        table = table[1:]  # a header
    if not table:
        raise DataError(f"{show(path)}: names no images; {FORM}")
    rows: Rows = {}
    columns = 0
    for number, cells in table:
        last = cells[-1].lower()
        split = WORDS.get(last, "train")
        names = cells[:-1] if last in WORDS else cells
        columns = columns or len(names)
        where = f"{show(path)}, row {number}"
        if len(names) != columns or columns not in (1, 2):
            raise DataError(f"{where}: has {len(names)} paths, and the rows above have {columns}; {FORM}")
        rows.setdefault(split, []).append(tuple(_ref(path.parent, name, where, number, columns) for name in names))
    return rows


def _table(path: Path) -> list[tuple[int, list[str]]]:
    """The rows with their numbers; cells are parted by commas or tabs, or in .txt by blanks where that gives files."""
    try:
        lines = read_bounded(path, MAX_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{show(path)}: cannot be read as text ({reason}); save it as UTF-8") from error
    delimiter = "\t" if any("\t" in line for line in lines) else ","
    read = csv.reader(lines, delimiter=delimiter)
    try:
        table = [(read.line_num, [cell.strip() for cell in cells]) for cells in read]
    except csv.Error as error:
        raise DataError(f"{show(path)}, row {read.line_num}: cannot be read ({error}); {FORM}") from error
    kept = [(number, cells) for number, cells in table if any(cells) and not cells[0].startswith("#")]
    if path.suffix.lower() == ".txt" and all(len(cells) == 1 for _, cells in kept):
        return [(number, cells if is_there(path.parent / cells[0]) else cells[0].split()) for number, cells in kept]
    return kept


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _ref(folder: Path, name: str, where: str, number: int, columns: int) -> Ref:
    """The image that a cell names. The two of a pair share the number of their row, others are known by their names."""
    path = folder / os.path.expanduser(name)
    if not Path(name).name:  # an empty cell, or the folder itself
        raise DataError(f"{where}: {name!a} names no image; {FORM}")
    if "\0" in name or not is_there(path):
        raise DataError(f"{where}: {show(name)} is not there; paths are relative to {show(folder)}")
    return Ref(path, key=f"row {number}" if columns == 2 else spelling(str(Path(name).with_suffix(""))))


def check_columns(source: str | Path, rows: Rows, columns: int) -> None:
    """Raise DataError unless a list has as many paths a row as its place asks for."""
    found = len(next(iter(rows.values()))[0])
    if found != columns:
        hint = "pass it alone, since it names both sides" if found == 2 else "pass a second list or folder for the other side"
        raise DataError(f"{show(Path(source))}: has {found} path{'s' if found > 1 else ''} a row; {hint}")


def sides_of(rows: Sequence[tuple[Ref, ...]]) -> tuple[tuple[Ref, ...], tuple[Ref, ...]]:
    """The two sides of rows of pairs."""
    return tuple(row[0] for row in rows), tuple(row[1] for row in rows)

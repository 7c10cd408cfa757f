"""The data set that ``diptych music build`` writes: pages of systems, and the record of each system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from diptych.data.decoders import first_line
from diptych.data.formats import read_pixels
from diptych.errors import DataError
from diptych.files import read_bounded
from diptych.music.layout import Layout
from diptych.music.noteheads import Places
from diptych.music.notes import Note, System
from diptych.schemas import MAPPING, checked, parse_json

Page = UInt8[np.ndarray, "h w c"]
Row = UInt8[np.ndarray, "row w c"]
Kind = Literal["roll", "sheet"]
MAX_BYTES = 2**31  # of the records of a build


@dataclass(frozen=True)
class MusicDataset:
    """A folder that `diptych music build` wrote.

    ``free`` says that its training split is unpaired, ``clef`` is the only clef of first staves, or empty for all. ``font`` is
    the music font of records that name none.
    """

    folder: Path
    layout: Layout
    records: tuple[dict[str, Any], ...]
    free: bool = False
    clef: str = ""
    font: str = "Leipzig"

    @classmethod
    def load(cls, folder: Path) -> MusicDataset:
        """Load the records of a folder. Raises DataError where `diptych music build` did not write it."""
        try:
            config = checked(checked(parse_json(read_build_file(folder / "manifest.json")), MAPPING)["config"], MAPPING)
            records = tuple(read_lines(folder / "notes.jsonl"))
            layout = Layout(config["staves"], config["space"], config.get("signs", False))
        except (DataError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder}: is not what `diptych music build` writes ({error}); give the folder of its --out"
            ) from error
        return cls(folder, layout, records, config.get("free", False), config.get("clef", ""), config.get("font", "Leipzig"))

    def pages(self, split: str, most: int = 0) -> dict[str, list[dict[str, Any]]]:
        """Return the records of a split by page, in the order of rows.

        ``most`` limits the number of systems, evenly spread over pages; 0 keeps all. Raises DataError for an empty split.
        """
        pages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.records:
            if record["split"] == split:
                pages[record["page"]].append(record)
        if not pages:
            raise DataError(f"{self.folder}: has no systems in {split}; build it with a larger share for {split}")
        total = sum(map(len, pages.values()))
        if most and total > most:
            names = sorted(pages)
            step = total / most
            pages = {names[int(k * step)]: pages[names[int(k * step)]] for k in range(max(1, int(len(names) / step)))}
        return {name: sorted(found, key=lambda record: record["row"]) for name, found in sorted(pages.items())}

    def page(self, kind: Kind, split: str, name: str) -> Page:
        """Read the picture of a page."""
        return read_pixels(self.folder / kind / split / name)

    def row(self, page: Page, record: Mapping[str, Any]) -> Row:
        """Crop one system from a page."""
        top = record["row"] * self.layout.height
        return page[top : top + self.layout.height]


def read_build_file(path: Path) -> str:
    """Return the text of a file in the folder of a build. Raises DataError, in one line that begins with the path."""
    try:
        return read_bounded(path, MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from error


def read_lines(path: Path, *, torn: bool = False) -> list[dict[str, Any]]:
    """The lines of a file of JSON lines; with ``torn``, an incomplete last one is passed over.

    Raises DataError, in one line that begins with the path.
    """
    lines = []
    for number, text in enumerate(read_build_file(path).splitlines(keepends=True), 1):
        if text.endswith("\n") or not torn:
            try:
                lines.append(checked(parse_json(text), MAPPING))
            except ValueError as error:
                raise DataError(f"{path}: line {number:,} is damaged ({error}); build into another --out") from error
    return lines


def tied_heads(record: Mapping[str, Any]) -> list[tuple[Fraction, int, int]]:
    """Return onset, staff and step of the heads of a record's system that a tie leads to."""
    return [(Fraction(onset), staff, step) for onset, staff, step in record["held"]]


def examples(built: MusicDataset, split: str, most: int) -> Iterator[tuple[System, np.ndarray, np.ndarray, Places]]:
    """Yield systems with their sheets, their rolls, and the heads that a tie leads to."""
    for name, records in built.pages(split, most).items():
        sheet, roll = built.page("sheet", split, name), built.page("roll", split, name)
        for record in records:
            yield from_json(record), built.row(sheet, record), built.row(roll, record), tied_heads(record)


def to_json(system: System) -> dict[str, Any]:
    """Encode a system as plain values. Times are fractions as text, notes are lists in the order of Note's fields."""
    notes = [
        [str(n.onset), n.staff, n.step, n.alter, str(n.duration), n.accidental, n.velocity, n.continued, n.goes_on]
        for n in system.notes
    ]
    measures = [str(length) for length in system.measures]
    signs = {"clefs": system.clefs, "fifths": system.fifths, "beat": str(system.beat)}
    return signs | {"measures": measures, "quarter": system.quarter_width, "notes": notes}


def from_json(record: dict[str, Any]) -> System:
    """Decode what to_json encoded."""
    notes = tuple(
        Note(Fraction(o), staff, step, alter, Fraction(d), *rest) for o, staff, step, alter, d, *rest in record["notes"]
    )
    measures = tuple(Fraction(length) for length in record["measures"])
    return System(tuple(record["clefs"]), record["fifths"], measures, record["quarter"], notes, Fraction(record["beat"]))

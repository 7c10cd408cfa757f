"""Score a translator on systems of works it never saw: sheets read into rolls, and rolls drawn as sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from diptych.errors import DataError
from diptych.metrics.estimate import Estimate, bootstrap
from diptych.music.baselines import Translate, blank, copy, nearest
from diptych.music.dataset import Kind, MusicDataset, Page, Row, examples, from_json, held_in
from diptych.music.note_metrics import NoteCounts, count_matches, summarise
from diptych.music.noteheads import NoteheadTemplates, head_f1, heads_at, heads_of, match_heads
from diptych.music.notes import System
from diptych.music.roll import DEFAULT_THRESHOLD, read_roll

Task = Literal["read", "draw"]
Translated = UInt8[np.ndarray, "rows w d"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Example:
    """One system as it was scored: what the translator was given, what it made of it, and what it should have.

    ``read`` and ``counts`` are None where nothing read the notes.
    """

    name: str
    source: Row
    output: Translated
    target: Translated
    truth: System
    read: System | None
    counts: NoteCounts | None


@dataclass
class Evaluation:
    """Notes by work, and for drawn sheets also heads by work: rows of found, seen and true ones; some systems to look at."""

    notes: dict[str, NoteCounts] = field(default_factory=dict)
    heads: dict[str, np.ndarray] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    def scores(self) -> dict[str, Estimate]:
        """All of it with 95 % intervals by work."""
        found = summarise(self.notes) if self.notes else {}
        if self.heads:
            rows = np.stack(list(self.heads.values()))
            found["heads_f1"] = bootstrap(lambda drawn: head_f1(rows[drawn]), len(rows))
        return found


def evaluate(
    built: MusicDataset,
    task: Task,
    translate: Translate,
    *,
    reader: Translate | None = None,
    split: str = "test",
    most: int = 0,
    threshold: float = DEFAULT_THRESHOLD,
    by_system: bool = False,
    num_examples: int = 0,
    watch: Progress = lambda done, total: None,
) -> Evaluation:
    """Translate the pages of a split and score every system.

    ``read``: sheets into rolls, whose notes are compared. ``draw``: rolls into sheets; ``reader`` turns these into rolls, whose
    notes are compared, and heads are found by templates of training sheets. ``by_system``: the translator takes single systems.
    ``num_examples``: first systems of so many pages, evenly spread, are kept as they are.
    """
    pages = built.pages(split, most)
    heads = learn_templates(built) if task == "draw" else None
    evaluation = Evaluation()
    shown = {int(k * len(pages) / num_examples) for k in range(min(num_examples, len(pages)))}
    kinds: tuple[Kind, Kind] = ("sheet", "roll") if task == "read" else ("roll", "sheet")
    for done, (name, records) in enumerate(pages.items()):
        source = built.page(kinds[0], split, name)
        true = built.page(kinds[1], split, name)
        out = translate(source) if not by_system else _row_by_row(built, source, records, translate)
        if out.shape != true.shape:
            raise DataError(
                f"{name}: was translated to {out.shape}, a page of a {kinds[1]} is {true.shape} (height, width, channels)"
            )
        rolls = out if task == "read" else reader(out) if reader else None
        for record in records:
            truth, work = from_json(record), record["work"]
            found, counts = None, None
            if rolls is not None:
                found = read_roll(built.row(rolls, record), built.layout, threshold, built.clef)
                counts = count_matches(truth, found)
                evaluation.notes[work] = evaluation.notes.get(work, NoteCounts()) + counts
            if done in shown and record is records[0]:
                given, made, wanted = (built.row(page, record) for page in (source, out, true))
                evaluation.examples.append(Example(record["id"], given, made, wanted, truth, found, counts))
            if heads:
                held = heads_at(held_in(record), truth, built.layout)
                seen = heads.find(built.row(out, record)[..., 0])
                row = np.array(match_heads(heads_of(truth, built.layout), seen, held, built.layout))
                evaluation.heads[work] = evaluation.heads.get(work, np.zeros(3, int)) + row
        watch(done + 1, len(pages))
    return evaluation


def _row_by_row(built: MusicDataset, source: Page, records: Iterable[Mapping[str, Any]], translate: Translate) -> Translated:
    rows = {record["row"]: translate(built.row(source, record)) for record in records}
    shape = next(iter(rows.values())).shape
    page = np.zeros((built.layout.systems_per_page * shape[0], *shape[1:]), np.uint8)
    for index, row in rows.items():
        page[index * shape[0] : (index + 1) * shape[0]] = row
    return page


def learn_templates(built: MusicDataset, most: int = 400) -> NoteheadTemplates:
    """Templates of note heads from training sheets; of a free build, whose training has no pairs, from validation's."""
    found = examples(built, "val" if built.free else "train", most)
    return NoteheadTemplates.learn(built.layout, ((system, sheet[..., 0], held) for system, sheet, _, held in found))


def baseline(name: Literal["blank", "copy", "nearest"], built: MusicDataset, task: Task) -> Translate:
    """``blank``, ``copy`` or ``nearest``; for judge(by_system=True)."""
    channels, background = (3, 0) if task == "read" else (1, 255)
    if name == "blank":
        return blank(channels, background)
    if name == "copy":
        return copy(channels)
    if built.free:
        raise DataError(
            f"{built.folder}: was built --free, so training has no pairs to take the nearest of; choose blank or copy"
        )
    known = [(s, r) if task == "read" else (r, s) for _, s, r, _ in examples(built, "train", 0)]
    return nearest([source for source, _ in known], [target for _, target in known])

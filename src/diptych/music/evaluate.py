"""Evaluate a translator, note by note, on systems of works it never saw: sheets read as rolls, or rolls drawn as sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from diptych.errors import DataError
from diptych.metrics.estimate import Estimate
from diptych.music.baselines import Translate, blank, copy, nearest
from diptych.music.composers import group_by_composer
from diptych.music.dataset import Kind, MusicDataset, Page, Row, examples, from_json, tied_heads
from diptych.music.note_metrics import NoteCounts, count_matches, count_staff, share_estimate, summarise
from diptych.music.noteheads import NoteheadTemplates, head_f1, heads_at, heads_of, match_heads
from diptych.music.notes import System
from diptych.music.roll import read_roll
from diptych.music.sign_rolls import read_signs

Task = Literal["read", "draw"]
Translated = UInt8[np.ndarray, "rows w d"]
Progress = Callable[[int, int], None]
MIN_COMPOSERS = 3  # of which intervals are taken; with fewer, over works


@dataclass(frozen=True)
class Example:
    """One evaluated system: the translator's input and output, and the target.

    ``read`` and ``counts`` are None where no reader read the notes.
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
    """Counts of each composer, over whom the intervals are, and some systems to look at.

    ``notes`` counts notes; ``parts`` counts them apart for each clef and each font, by their names; ``heads`` counts heads of
    drawn sheets (matched, found, true). ``unit`` says whose counts these are: of composers, or of single works where there are
    fewer than three composers. ``works`` are the works that were evaluated.
    """

    notes: dict[str, NoteCounts] = field(default_factory=dict)
    parts: dict[str, dict[str, NoteCounts]] = field(default_factory=dict)
    heads: dict[str, np.ndarray] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    unit: Literal["composer", "work"] = "composer"
    works: set[str] = field(default_factory=set)

    def scores(self) -> dict[str, Estimate]:
        """Return all metrics with 95 % intervals by composer, cut at 0 and 1; F1 of each clef and font as ``f1 NAME``."""
        found = summarise(self.notes) if self.notes else {}
        for name in sorted(self.parts):
            found[f"f1 {name}"] = summarise(self.parts[name])["f1"]
        if self.heads:
            rows = np.stack(list(self.heads.values()))
            found["heads_f1"] = share_estimate(lambda drawn: head_f1(rows[drawn]), len(rows))
        return found


def evaluate(
    dataset: MusicDataset,
    task: Task,
    translate: Translate,
    *,
    reader: Translate | None = None,
    split: str = "test",
    most: int = 0,
    threshold: float | None = None,
    by_system: bool = False,
    num_examples: int = 0,
    watch: Progress = lambda done, total: None,
) -> Evaluation:
    """Translate the pages of a split and evaluate every system.

    For the task ``read`` sheets become rolls, whose notes are compared. For ``draw`` rolls become sheets: ``reader``, if any,
    reads them, its notes are compared, and noteheads are found by templates of training sheets.

    Args:
        dataset: the data set.
        task: the direction of ``translate``.
        translate: maps a page to a page of the other domain, or with ``by_system`` a system to a system.
        reader: for ``draw``, maps a page of sheets to a page of rolls, not of signs.
        split: ``train``, ``val`` or ``test``.
        most: the limit on the number of systems, evenly spread; 0 for all.
        threshold: the share of full intensity from which a roll counts as drawn; by default 8/9 for rolls (see read_roll) and
            1/2 for rolls of signs.
        by_system: the translator takes single systems.
        num_examples: the number of pages, evenly spread, whose first system is kept as an example.
        watch: is called with the number of pages done and of all pages.

    Raises DataError where the output has another shape than a page of the other domain.
    """
    pages = dataset.pages(split, most)
    templates = learn_templates(dataset) if task == "draw" else None
    people = group_by_composer({record["work"]: record["composer"] for record in dataset.records})
    evaluation = Evaluation()
    if len({people[record["work"]] for records in pages.values() for record in records}) < MIN_COMPOSERS:
        people, evaluation.unit = {work: work for work in people}, "work"
    shown = {int(k * len(pages) / num_examples) for k in range(min(num_examples, len(pages)))}
    read = read_signs if dataset.layout.signs and task == "read" else read_roll
    least = {} if threshold is None else {"threshold": threshold}
    kinds: tuple[Kind, Kind] = ("sheet", "roll") if task == "read" else ("roll", "sheet")
    for done, (name, records) in enumerate(pages.items()):
        source = dataset.page(kinds[0], split, name)
        target = dataset.page(kinds[1], split, name)
        output = translate(source) if not by_system else _row_by_row(dataset, source, records, translate)
        if output.shape != target.shape:
            raise DataError(
                f"{name}: was translated to {output.shape}, a page of a {kinds[1]} is {target.shape} (height, width, channels)"
            )
        rolls = output if task == "read" else reader(output) if reader else None
        for record in records:
            truth, who = from_json(record), people[record["work"]]
            evaluation.works.add(record["work"])
            found, counts = None, None
            if rolls is not None:
                found = read(dataset.row(rolls, record), dataset.layout, clef=dataset.clef, **least)
                counts = count_matches(truth, found)
                evaluation.notes[who] = evaluation.notes.get(who, NoteCounts()) + counts
                for staff, clef in enumerate(truth.clefs):
                    for name in (f"clef {clef}", f"font {record.get('font', dataset.font)}"):
                        by_composer = evaluation.parts.setdefault(name, {})
                        by_composer[who] = by_composer.get(who, NoteCounts()) + count_staff(truth, found, staff)
            if done in shown and record is records[0]:
                given, made, wanted = (dataset.row(page, record) for page in (source, output, target))
                evaluation.examples.append(Example(record["id"], given, made, wanted, truth, found, counts))
            if templates:
                tied = heads_at(tied_heads(record), truth, dataset.layout)
                seen = templates.find(dataset.row(output, record)[..., 0])
                row = np.array(match_heads(heads_of(truth, dataset.layout), seen, tied, dataset.layout))
                evaluation.heads[who] = evaluation.heads.get(who, np.zeros(3, int)) + row
        watch(done + 1, len(pages))
    return evaluation


def _row_by_row(dataset: MusicDataset, source: Page, records: Iterable[Mapping[str, Any]], translate: Translate) -> Translated:
    rows = {record["row"]: translate(dataset.row(source, record)) for record in records}
    shape = next(iter(rows.values())).shape
    page = np.zeros((dataset.layout.systems_per_page * shape[0], *shape[1:]), np.uint8)
    for index, row in rows.items():
        page[index * shape[0] : (index + 1) * shape[0]] = row
    return page


def learn_templates(dataset: MusicDataset, most: int = 400) -> NoteheadTemplates:
    """Learn notehead templates from training sheets, or, where training is unpaired, from validation sheets."""
    found = examples(dataset, "val" if dataset.free else "train", most)
    return NoteheadTemplates.learn(dataset.layout, ((system, sheet[..., 0], held) for system, sheet, _, held in found))


def baseline(name: Literal["blank", "copy", "nearest"], dataset: MusicDataset, task: Task) -> Translate:
    """Return a baseline translator for ``evaluate(by_system=True)``. Raises DataError for ``nearest`` without pairs."""
    channels, background = (3, 0) if task == "read" else (1, 255)
    if name == "blank":
        return blank(channels, background)
    if name == "copy":
        return copy(channels)
    if dataset.free:
        raise DataError(
            f"{dataset.folder}: was built --free, so nearest has no training pairs to choose from; take blank or copy"
        )
    known = [(s, r) if task == "read" else (r, s) for _, s, r, _ in examples(dataset, "train", 0)]
    return nearest([source for source, _ in known], [target for _, target in known])

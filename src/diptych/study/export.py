"""The answers as a table for other programs, pseudonymous: no code, address or time of day, and participants in random order."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from typing import Any

from diptych.study.folder import Study
from diptych.study.results import exclusion, judged, marks
from diptych.study.store import Participant

FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = [
    *("participant", "method", "language", "consent", "simulated", "left_out", "trial", "part", "image"),
    *("first_source", "first_image", "second_source", "second_image", "truth", "answer", "right"),
    *("shown_ms", "frame_ms", "response_ms", "marks"),
]


def answers_csv(study: Study, people: Sequence[Participant]) -> str:
    """One line for each answer, under a line of names. ``left_out`` says why a participant does not count, if so."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, person in enumerate(sorted(people, key=lambda p: hashlib.sha256(p.id.encode()).digest()), 1):
        about = [
            number,
            person.method,
            person.language,
            person.consent,
            int(person.simulated),
            exclusion(person, simulated=person.simulated),
        ]
        for trial, answer in zip(person.trials, person.answers, strict=False):  # who stopped has fewer answers
            pictures = [study.pictures[id] for id in trial.pictures]
            shown = [word for picture in pictures for word in (picture.source, picture.name)]
            times = [" ".join(f"{ms:.1f}" for ms in answer.shown_ms), f"{answer.frame_ms:.2f}", f"{answer.response_ms:.0f}"]
            row = [*about, answer.trial, trial.part, judged(study, trial), *shown, *[""] * (4 - len(shown)), trial.truth]
            right = int(answer.answer == trial.truth) if trial.truth else ""  # which of two methods is better has none
            writer.writerow(map(safe, [*row, answer.answer, right, *times, " ".join(marks(study, trial, answer))]))
    return text.getvalue()


def safe(cell: Any) -> str:
    """A cell that no spreadsheet takes for a formula: one that begins like a formula gets an apostrophe before it."""
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULA) else text

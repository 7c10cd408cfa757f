"""What the tables of a study are asked and told, as functions of one transaction."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from diptych.study.database import Run
from diptych.study.group_commit import Refused
from diptych.study.protocol import Trial

ABANDONED = 3600  # seconds after which a participant who stopped no longer counts when methods are assigned


@dataclass(frozen=True)
class Answer:
    """What a participant answered to a trial.

    ``shown_ms`` are the measured times that each picture was on screen, ``frame_ms`` is the time between frames of that screen.
    ``response_ms`` counts from the moment the answer was possible. ``interrupted`` says that the page was hidden meanwhile,
    ``views`` how often the trial was begun. ``key`` is random and the same whenever the same answer is sent again.
    """

    trial: int
    answer: str
    key: str
    shown_ms: tuple[float, ...]
    frame_ms: float
    response_ms: float
    interrupted: bool = False
    views: int = 1
    received: float = 0.0


@dataclass(frozen=True)
class Standing:
    """Where a participant stands: how many of their trials they answered, and when they last did, or else joined."""

    number: int
    id: str
    trials: tuple[Trial, ...]
    given: int
    last: float

    @property
    def done(self) -> bool:
        """Whether every trial is answered."""
        return self.given == len(self.trials)


def standing(run: Run, id: str) -> Standing | None:
    """Where a participant stands, or None when there is none of this id."""
    rows = run(
        "SELECT number, trials, joined, (SELECT count(*) FROM answers WHERE participant = number) AS given, "
        "(SELECT max(received) FROM answers WHERE participant = number) AS last FROM participants WHERE id = ?",
        (id,),
    )
    if not rows:
        return None
    row = rows[0]
    return Standing(row["number"], id, plan(row["trials"]), row["given"], row["last"] or row["joined"])


@lru_cache(maxsize=500)  # it is read with every request of a participant, and never changes
def plan(text: str) -> tuple[Trial, ...]:
    """The trials of a participant, as ``insert`` wrote them."""
    return tuple(Trial.from_json(trial) for trial in json.loads(text))


def id_of_code(run: Run, code: str) -> str | None:
    """The id of the participant who joined with this code."""
    rows = run("SELECT id FROM participants WHERE code = ?", (code,))
    return str(rows[0]["id"]) if rows else None


def least_used(run: Run, methods: Sequence[str], *, simulated: bool = False) -> list[str]:
    """The methods with the fewest participants, among those who finished or were active in the last hour."""
    rows = run(
        "SELECT p.method, p.planned, count(a.trial) AS given, p.joined, max(a.received) AS last FROM participants p "
        "LEFT JOIN answers a ON a.participant = p.number WHERE p.simulated = ? AND p.again = 0 GROUP BY p.number",
        (int(simulated),),
    )
    recent = time.time() - ABANDONED
    counts = dict.fromkeys(methods, 0)
    for row in rows:
        active = max(row["joined"], row["last"] or 0) > recent
        if row["method"] in counts and (row["given"] == row["planned"] or active):
            counts[row["method"]] += 1
    return [method for method in methods if counts[method] == min(counts.values())]


def insert(
    run: Run,
    id: str,
    method: str,
    trials: Sequence[Trial],
    language: str,
    consent: str,
    *,
    code: str | None,
    simulated: bool,
    again: bool = False,
) -> None:
    """Add a participant; ``again`` says that this browser took part before. Raises Refused when the code was used before."""
    planned = json.dumps([trial.to_json() for trial in trials])
    used = code and run("SELECT 1 AS used FROM erased WHERE code = ?", (code,))
    if used or not run(
        "INSERT INTO participants (id, method, trials, language, consent, code, simulated, joined, planned, again) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING number",
        (id, method, planned, language, consent, code, int(simulated), time.time(), len(trials), int(again)),
    ):
        raise Refused("this code was used before")


def append(run: Run, participant: int, answer: Answer) -> None:
    """Append an answer of the participant of this number. The same answer again changes nothing.

    Raises Refused for a trial that was answered otherwise or is not the participant's next, and for one who was erased.
    """
    number = answer.trial
    given = "(SELECT count(*) FROM answers WHERE participant = number) AS given"
    rows = run(f"SELECT {given} FROM participants WHERE number = ?", (participant,))  # noqa: S608
    if not rows:
        raise Refused("this participation was erased")
    if number < rows[0]["given"]:
        before = run("SELECT key, answer FROM answers WHERE participant = ? AND trial = ?", (participant, number))[0]
        if (before["key"], before["answer"]) == (answer.key, answer.answer):
            return
        raise Refused("this trial was answered before")
    if number > rows[0]["given"]:
        raise Refused("this trial is not the next")
    shown, interrupted = json.dumps(answer.shown_ms), int(answer.interrupted)
    run(
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(participant, number, answer.answer, answer.key, shown, answer.frame_ms, answer.response_ms),
            *(interrupted, answer.views, time.time()),
        ),
    )

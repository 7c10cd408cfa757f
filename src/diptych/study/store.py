"""Participants and answers in SQLite. What was acknowledged is on the disk: a kill or a power failure loses none of it.

SQLite writes ahead (WAL) and waits for the disk at every commit (synchronous=FULL). Answers are only ever appended, one for each
participant and trial; the one exception is a participant who asks to be erased.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diptych.errors import ConfigError, DataError, StorageError
from diptych.messages import show
from diptych.study.protocol import Trial

VERSION = 1
ABANDONED = 3600  # seconds after which a participant who stopped no longer counts when methods are assigned
TABLES = """
CREATE TABLE participants (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, method TEXT NOT NULL, trials TEXT NOT NULL,
    language TEXT NOT NULL, consent TEXT NOT NULL, code TEXT UNIQUE, simulated INTEGER NOT NULL, joined REAL NOT NULL
) STRICT;
CREATE TABLE answers (
    participant INTEGER NOT NULL REFERENCES participants (number), trial INTEGER NOT NULL, answer TEXT NOT NULL,
    key TEXT NOT NULL, shown_ms TEXT NOT NULL, frame_ms REAL NOT NULL, response_ms REAL NOT NULL, interrupted INTEGER NOT NULL,
    views INTEGER NOT NULL, received REAL NOT NULL, PRIMARY KEY (participant, trial)
) STRICT, WITHOUT ROWID;
CREATE TABLE erased (code TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""


class Refused(Exception):
    """An answer or a participation that the rules of the study do not allow."""


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
class Participant:
    """A participant with the trials planned for them and the answers given so far."""

    number: int
    id: str
    method: str
    trials: tuple[Trial, ...]
    language: str
    consent: str
    simulated: bool
    joined: float
    answers: tuple[Answer, ...]

    @property
    def done(self) -> bool:
        """Whether every trial is answered."""
        return len(self.answers) == len(self.trials)


class Store:
    """The answers of one study, safe to use from several threads. Close it at the end.

    Raises ConfigError for a database of a newer version and StorageError when it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "answers.sqlite"
        self._lock = threading.Lock()
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
            self._db.row_factory = sqlite3.Row
            mode = self._db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.execute("PRAGMA secure_delete=ON")
            full = self._db.execute("PRAGMA synchronous").fetchone()[0]
            if mode != "wal" or full != 2:
                raise StorageError(f"{show(self.path)}: SQLite cannot write ahead here; put the study on a local disk")
            with self._transaction():
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise ConfigError(f"{show(self.path)}: was written by a newer diptych; update diptych to read it")
                if version == 0:
                    for statement in TABLES.split(";")[:-1]:
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version={VERSION}")
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{show(self.path)}: cannot be opened ({error}); check the disk and its permissions") from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction, committed on disk when the block ends without an error."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def least_used(self, methods: Sequence[str], *, simulated: bool = False) -> list[str]:
        """The methods with the fewest participants, among those who finished or were active in the last hour."""
        with self._lock:
            rows = self._db.execute(
                "SELECT p.method, json_array_length(p.trials) AS planned, count(a.trial) AS given, "
                "max(p.joined, coalesce(max(a.received), 0)) AS last FROM participants p "
                "LEFT JOIN answers a ON a.participant = p.number WHERE p.simulated = ? GROUP BY p.number",
                (int(simulated),),
            ).fetchall()
        recent = time.time() - ABANDONED
        counts = dict.fromkeys(methods, 0)
        for row in rows:
            if row["method"] in counts and (row["given"] == row["planned"] or row["last"] > recent):
                counts[row["method"]] += 1
        return [method for method in methods if counts[method] == min(counts.values())]

    def join(
        self, id: str, method: str, trials: Sequence[Trial], language: str, consent: str, *, code: str | None, simulated: bool
    ) -> None:
        """Add a participant. Raises Refused when the code was used before."""
        plan = json.dumps([trial.to_json() for trial in trials])
        with self._transaction():
            if code and self._db.execute("SELECT 1 FROM erased WHERE code = ?", (code,)).fetchone():
                raise Refused("this code was used before")
            try:
                self._db.execute(
                    "INSERT INTO participants (id, method, trials, language, consent, code, simulated, joined) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (id, method, plan, language, consent, code, int(simulated), time.time()),
                )
            except sqlite3.IntegrityError as error:
                raise Refused("this code was used before") from error

    def id_of_code(self, code: str) -> str | None:
        """The id of the participant who joined with this code."""
        with self._lock:
            row = self._db.execute("SELECT id FROM participants WHERE code = ?", (code,)).fetchone()
        return str(row["id"]) if row else None

    def participant(self, id: str) -> Participant | None:
        """One participant with their answers, or None."""
        found = self._read("WHERE id = ?", (id,))
        return found[0] if found else None

    def participants(self) -> list[Participant]:
        """All participants with their answers, as of one instant."""
        return self._read("", ())

    def _read(self, where: str, values: tuple[str, ...]) -> list[Participant]:
        with self._lock:
            self._db.execute("BEGIN")
            try:
                people = self._db.execute(f"SELECT * FROM participants {where} ORDER BY number", values).fetchall()  # noqa: S608
                given: dict[int, list[Answer]] = {row["number"]: [] for row in people}
                for row in self._db.execute(
                    f"SELECT * FROM answers WHERE participant IN (SELECT number FROM participants {where}) "  # noqa: S608
                    "ORDER BY participant, trial",
                    values,
                ):
                    given[row["participant"]].append(_answer(row))
            finally:
                self._db.execute("ROLLBACK")
        return [_participant(row, given[row["number"]]) for row in people]

    def add(self, participant: Participant, answer: Answer) -> None:
        """Append an answer. When this returns it is on the disk. The same answer sent again changes nothing.

        Raises Refused for a trial that was answered otherwise or is not the participant's next.
        """
        with self._transaction():
            row = self._db.execute(
                "SELECT key, answer FROM answers WHERE participant = ? AND trial = ?", (participant.number, answer.trial)
            ).fetchone()
            if row:
                if (row["key"], row["answer"]) == (answer.key, answer.answer):
                    return
                raise Refused("this trial was answered before")
            given = self._db.execute("SELECT count(*) FROM answers WHERE participant = ?", (participant.number,)).fetchone()[0]
            if answer.trial != given:
                raise Refused("this trial is not the next")
            self._db.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    participant.number,
                    answer.trial,
                    answer.answer,
                    answer.key,
                    json.dumps(answer.shown_ms),
                    answer.frame_ms,
                    answer.response_ms,
                    int(answer.interrupted),
                    answer.views,
                    time.time(),
                ),
            )

    def erase(self, id: str) -> None:
        """Delete a participant and every answer of theirs. Raises DataError when there is none of this id."""
        with self._transaction():
            row = self._db.execute("SELECT number, code FROM participants WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise DataError(f"no participant has the code {show(id)}; it stands on the last page that they saw")
            self._db.execute("DELETE FROM answers WHERE participant = ?", (row["number"],))
            self._db.execute("DELETE FROM participants WHERE number = ?", (row["number"],))
            if row["code"]:
                self._db.execute("INSERT INTO erased VALUES (?)", (row["code"],))
        with self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that no copy stays in the write-ahead log

    def backup(self, target: Path) -> None:
        """Write a consistent copy while answers come in. Raises StorageError when it cannot be written."""
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            source, copy = sqlite3.connect(self.path), sqlite3.connect(target)  # its own connection does not hold up the others
            try:
                source.backup(copy)
            finally:
                source.close()
                copy.close()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{show(target)}: cannot be written ({error}); choose a name that is free") from error


def _answer(row: sqlite3.Row) -> Answer:
    values = {name: row[name] for name in ("trial", "answer", "key", "frame_ms", "response_ms", "views", "received")}
    return Answer(**values, shown_ms=tuple(json.loads(row["shown_ms"])), interrupted=bool(row["interrupted"]))


def _participant(row: sqlite3.Row, answers: Sequence[Answer]) -> Participant:
    trials = tuple(Trial.from_json(trial) for trial in json.loads(row["trials"]))
    values = {name: row[name] for name in ("number", "id", "method", "language", "consent", "joined")}
    return Participant(**values, trials=trials, simulated=bool(row["simulated"]), answers=tuple(answers))

"""Participants and answers. What was acknowledged is on the disk: a kill or a power failure loses none of it.

Answers are only ever appended, one for each participant and trial; the one exception is a participant who asks to be erased.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.errors import DataError, StorageError
from diptych.messages import show
from diptych.study.database import Sqlite, database_of, reason, storage_errors
from diptych.study.migrations import migrate
from diptych.study.protocol import Trial
from diptych.study.statements import Answer, Standing, append, insert, plan, standing


@dataclass(frozen=True)
class Participant:
    """A participant with the trials planned for them and the answers given so far.

    ``again`` says that their browser had taken part before.
    """

    number: int
    id: str
    method: str
    trials: tuple[Trial, ...]
    language: str
    consent: str
    simulated: bool
    joined: float
    answers: tuple[Answer, ...]
    again: bool = False

    @property
    def done(self) -> bool:
        """Whether every trial is answered."""
        return len(self.answers) == len(self.trials)


class Store:
    """The answers of one study, safe to use from several threads. Close it at the end.

    Raises ConfigError for a database of a newer version and StorageError when it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, database_of(folder)
        migrate(self.database)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def join(self, id: str, method: str, trials: Sequence[Trial], language: str, consent: str, **more: Any) -> None:
        """Add a participant, as ``statements.insert`` does. When this returns they are on the disk."""
        with self.database.writing() as run:
            insert(run, id, method, trials, language, consent, **more)

    def add(self, participant: Participant, answer: Answer) -> None:
        """Append an answer, as ``statements.append`` does. When this returns it is on the disk."""
        with self.database.writing() as run:
            append(run, participant.number, answer)

    def standing(self, id: str) -> Standing | None:
        """Where a participant stands, or None. This is what a server asks with every request."""
        with self.database.reading() as run:
            return standing(run, id)

    def participant(self, id: str) -> Participant | None:
        """One participant with their answers, or None."""
        found = self._read("WHERE id = ?", (id,))
        return found[0] if found else None

    def participants(self) -> list[Participant]:
        """All participants with their answers, as of one instant."""
        return self._read("", ())

    def _read(self, where: str, values: tuple[str, ...]) -> list[Participant]:
        with closing(database_of(self.folder)) as source, source.reading() as run:  # so that nobody waits for it
            people = run(f"SELECT * FROM participants {where} ORDER BY number", values)  # noqa: S608
            answers = run(
                f"SELECT * FROM answers WHERE participant IN (SELECT number FROM participants {where}) "  # noqa: S608
                "ORDER BY participant, trial",
                values,
            )
        given: dict[int, list[Answer]] = {row["number"]: [] for row in people}
        for row in answers:
            given[row["participant"]].append(_answer(row))
        return [_participant(row, given[row["number"]]) for row in people]

    def erase(self, id: str) -> None:
        """Delete a participant and every answer of theirs. Raises DataError when there is none of this id."""
        with self.database.writing() as run:
            rows = run("SELECT number, code FROM participants WHERE id = ?", (id,))
            if not rows:
                raise DataError(f"no participant has the code {show(id)}; it stands on the last page that they saw")
            run("DELETE FROM answers WHERE participant = ?", (rows[0]["number"],))
            run("DELETE FROM participants WHERE number = ?", (rows[0]["number"],))
            if rows[0]["code"]:
                run("INSERT INTO erased VALUES (?)", (rows[0]["code"],))
        self.database.forget()

    def backup(self, target: Path) -> None:
        """Write all as of one instant into a new file of SQLite, also while answers come in.

        The file is there whole or not at all. Raises StorageError when it cannot be written or is there already.
        """
        draft = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
        try:
            if os.path.lexists(target):
                raise FileExistsError
            with closing(Sqlite(draft)) as copy, closing(database_of(self.folder)) as source:  # so that nobody waits for it
                migrate(copy)
                with source.reading() as read, copy.writing() as write:
                    for table in ("participants", "answers", "erased"):
                        for row in read(f"SELECT * FROM {table}"):  # noqa: S608
                            names, marks = ", ".join(row), ", ".join("?" * len(row))
                            write(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
            os.link(draft, target)  # unlike a rename this replaces nothing
            sync_folder(target.parent)
        except FileExistsError as error:
            raise StorageError(f"{show(target)}: is there already; choose a name that is free") from error
        except (StorageError, OSError, *storage_errors()) as error:  # type: ignore[misc]
            why = reason(error, draft, target)
            raise StorageError(f"{show(target)}: cannot be written ({why}); choose another place") from error
        finally:
            for suffix in ("", "-wal", "-shm"):
                draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _answer(row: Mapping[str, Any]) -> Answer:
    values = {name: row[name] for name in ("trial", "answer", "key", "frame_ms", "response_ms", "views", "received")}
    return Answer(**values, shown_ms=tuple(json.loads(row["shown_ms"])), interrupted=bool(row["interrupted"]))


def _participant(row: Mapping[str, Any], answers: Sequence[Answer]) -> Participant:
    values = {name: row[name] for name in ("number", "id", "method", "language", "consent", "joined")}
    simulated, again = bool(row["simulated"]), bool(row["again"])
    return Participant(**values, simulated=simulated, again=again, trials=plan(row["trials"]), answers=tuple(answers))

"""The database of a study behind one small face: SQLite in its folder, or PostgreSQL by a URL.

Both keep what was acknowledged through a kill or a power failure. SQLite writes ahead (WAL) and waits for the disk at every
commit (synchronous=FULL); PostgreSQL is asked for synchronous commits and refused where its server runs without fsync.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, final
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from diptych.errors import ConfigError, StorageError
from diptych.extras import extra
from diptych.messages import show
from diptych.schemas import read_json

ANSWERS = "answers.sqlite"
ADDRESS = "database.json"  # of a study whose answers are in PostgreSQL


class _Place(TypedDict):
    """What database.json says."""

    url: str
    schema: str


PLACE = TypeAdapter(_Place)
Rows = list[Mapping[str, Any]]
Run = Callable[..., Rows]
"""Runs one statement, whose values stand for its question marks, and returns the rows that it yields."""


class Database(ABC):
    """A database that several threads may use, where reading does not wait for writing.

    ``words`` fill the braces in the statements of migrations.
    """

    words: ClassVar[Mapping[str, str]]
    name: str

    @abstractmethod
    def writing(self) -> AbstractContextManager[Run]:
        """One transaction, alone in writing, that is on the disk when the block ends and undone when it raises."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Run]:
        """One transaction that sees the database as of one instant."""

    @abstractmethod
    def version(self, run: Run) -> int:
        """How many migrations were done."""

    @abstractmethod
    def set_version(self, run: Run, version: int) -> None:
        """Note how many migrations were done, in the transaction of ``run``."""

    @abstractmethod
    def forget(self) -> None:
        """Remove what deleted rows left in the files."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


@final
class Sqlite(Database):
    """A file of SQLite. Raises StorageError when it cannot be opened."""

    words: ClassVar[Mapping[str, str]] = {
        "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "real": "REAL",
        "strict": " STRICT",
        "keyed": " STRICT, WITHOUT ROWID",
        "length": "json_array_length(trials)",
    }

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, show(path)
        self._lock, self._reader_lock = threading.Lock(), threading.Lock()
        try:
            if not path.exists():  # never open a file that SQLite may hold: closing it again would drop SQLite's locks
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db, self._reader = self._connected(), self._connected()
            mode = self._db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            for setting in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {setting}")
            full = self._db.execute("PRAGMA synchronous").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self.name}: cannot be opened ({error}); check the disk and its permissions") from error
        if mode != "wal" or full != 2:
            raise StorageError(f"{self.name}: SQLite cannot write ahead here; put the study on a local disk")

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        db.row_factory = sqlite3.Row
        return db

    @contextmanager
    def writing(self) -> Iterator[Run]:
        with self._lock, _in_sqlite(self._db, "BEGIN IMMEDIATE", "COMMIT") as run:
            yield run

    @contextmanager
    def reading(self) -> Iterator[Run]:
        with self._reader_lock, _in_sqlite(self._reader, "BEGIN", "ROLLBACK") as run:
            yield run

    def version(self, run: Run) -> int:
        return int(run("PRAGMA user_version")[0]["user_version"])

    def set_version(self, run: Run, version: int) -> None:
        run(f"PRAGMA user_version={version}")

    def forget(self) -> None:
        with self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that no copy stays in the write-ahead log

    def close(self) -> None:
        self._reader.close()
        self._db.close()


@contextmanager
def _in_sqlite(db: sqlite3.Connection, begin: str, end: str) -> Iterator[Run]:
    """A transaction that is undone when the block raises."""

    def run(statement: str, values: Sequence[Any] = ()) -> Rows:
        return [dict(row) for row in db.execute(statement, values).fetchall()]

    db.execute(begin)
    try:
        yield run
        db.execute(end)
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@final
class Postgres(Database):
    """A schema of its own in a database of PostgreSQL. A connection that broke is made again at the next use.

    Raises MissingExtraError without psycopg, and StorageError when the database cannot be used.
    """

    words: ClassVar[Mapping[str, str]] = {
        "serial": "INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "real": "DOUBLE PRECISION",
        "strict": "",
        "keyed": "",
        "length": "json_array_length(trials::json)",
    }

    def __init__(self, url: str, schema: str) -> None:
        self._psycopg = extra("psycopg", "postgres", "a study in PostgreSQL")
        self._url, self._schema, self.name = url, schema, f"{url} ({schema})"
        self._connections: dict[str, Any] = {}
        self._locks = {"write": threading.Lock(), "read": threading.Lock()}
        try:
            connection = self._connected("write")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute("CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL)")
            if connection.execute("SHOW fsync").fetchone()["fsync"] != "on":
                raise StorageError(f"{self.name}: this server runs without fsync and can lose answers; set fsync = on")
        except self._psycopg.Error as error:
            raise StorageError(f"{self.name}: cannot be used ({' '.join(str(error).split())}); check the URL") from error

    def _connected(self, purpose: str) -> Any:
        connection = self._connections.get(purpose)
        if connection is None or connection.closed:
            connection = self._connections[purpose] = self._psycopg.connect(
                self._url,
                autocommit=True,
                row_factory=self._psycopg.rows.dict_row,
                connect_timeout=5,
                options=f"-c search_path={self._schema} -c synchronous_commit=on -c client_min_messages=warning",
            )
        return connection

    @contextmanager
    def _transaction(self, purpose: str, begin: str) -> Iterator[Run]:
        with self._locks[purpose]:
            connection = self._connected(purpose)

            def run(statement: str, values: Sequence[Any] = ()) -> Rows:
                cursor = connection.execute(statement.replace("?", "%s"), values)
                return list(cursor.fetchall()) if cursor.description else []

            with connection.transaction():
                connection.execute(begin)
                yield run

    @contextmanager
    def writing(self) -> Iterator[Run]:
        with self._transaction("write", f"SELECT pg_advisory_xact_lock(hashtext('{self._schema}'))") as run:
            yield run

    @contextmanager
    def reading(self) -> Iterator[Run]:
        with self._transaction("read", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY") as run:
            yield run

    def version(self, run: Run) -> int:
        return int(run("SELECT coalesce(max(number), 0) AS number FROM version")[0]["number"])

    def set_version(self, run: Run, version: int) -> None:
        run("INSERT INTO version VALUES (?)", (version,))

    def forget(self) -> None:
        with self._locks["write"]:
            self._connected("write").execute("VACUUM participants, answers")

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def choose_postgres(folder: Path, url: str) -> None:
    """Note that the answers of a study are kept in PostgreSQL, in a schema of its own, and see that it can be used.

    Raises ConfigError for a URL of something else, or one with a password, which every list of processes would show.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # half an address in brackets
        parts = urlsplit("")
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"--database must be like postgresql://user@host/name, found {show(url.partition('@')[2] or url)}")
    if parts.password or "password=" in parts.query:
        raise ConfigError("--database: leave the password out, others can see it in the list of processes; put it into ~/.pgpass")
    schema = f"diptych_{secrets.token_hex(8)}"
    Postgres(url, schema).close()
    with open(os.open(folder / ADDRESS, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump({"url": url, "schema": schema}, file)


def database_of(folder: Path) -> Database:
    """The database of the study in a folder."""
    path = folder / ADDRESS
    if not path.exists():
        return Sqlite(folder / ANSWERS)
    try:
        value = read_json(path, PLACE, "restore it from a backup", StorageError)
        return Postgres(value["url"], value["schema"])
    except (OSError, ValueError) as error:
        raise StorageError(f"{show(path)}: cannot be read ({error}); restore it from a backup") from error


def reason(error: BaseException, draft: Path, target: Path) -> str:
    """Why a draft could not be written, in the system's own words and without the name of the draft of ``target``."""
    if isinstance(error, StorageError) and draft.name in str(error):
        error = error.__cause__ or error
    return str(getattr(error, "strerror", None) or error).replace(draft.name, target.name)


def storage_errors() -> tuple[type[Exception], ...]:
    """What a database raises when it cannot store or read now."""
    psycopg: Any = sys.modules.get("psycopg")  # whose errors come only after it was imported
    return (sqlite3.Error, OSError, *([psycopg.Error] if psycopg else []))

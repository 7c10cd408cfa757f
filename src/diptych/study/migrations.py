"""The tables of a study, one version after another. A kill at any step leaves the version before it, whole."""

from __future__ import annotations

from diptych.errors import ConfigError, StorageError
from diptych.study.database import Database, storage_errors

FIRST = (
    """CREATE TABLE participants (
    number {serial}, id TEXT NOT NULL UNIQUE, method TEXT NOT NULL, trials TEXT NOT NULL,
    language TEXT NOT NULL, consent TEXT NOT NULL, code TEXT UNIQUE, simulated INTEGER NOT NULL, joined {real} NOT NULL
){strict}""",
    """CREATE TABLE answers (
    participant INTEGER NOT NULL REFERENCES participants (number), trial INTEGER NOT NULL, answer TEXT NOT NULL,
    key TEXT NOT NULL, shown_ms TEXT NOT NULL, frame_ms {real} NOT NULL, response_ms {real} NOT NULL,
    interrupted INTEGER NOT NULL, views INTEGER NOT NULL, received {real} NOT NULL, PRIMARY KEY (participant, trial)
){keyed}""",
    "CREATE TABLE erased (code TEXT PRIMARY KEY){keyed}",
)
SECOND = (  # how many trials a participant has, and whether this browser took part before
    "ALTER TABLE participants ADD COLUMN planned INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE participants ADD COLUMN again INTEGER NOT NULL DEFAULT 0",
    "UPDATE participants SET planned = {length}",
)
MIGRATIONS = (FIRST, SECOND)


def migrate(database: Database) -> None:
    """Bring the tables to the newest version, each version in a transaction of its own.

    Raises ConfigError for a database of a newer diptych, and StorageError when it cannot be written.
    """
    try:
        while _next(database):
            pass
    except storage_errors() as error:
        raise StorageError(f"{database.name}: cannot be opened ({error}); check the disk and its permissions") from error


def _next(database: Database) -> bool:
    with database.writing() as run:
        version = database.version(run)
        if version > len(MIGRATIONS):
            raise ConfigError(f"{database.name}: was written by a newer diptych; update diptych to read it")
        if version == len(MIGRATIONS):
            return False
        for statement in MIGRATIONS[version]:
            run(statement.format(**database.words))
        database.set_version(run, version + 1)
    return True

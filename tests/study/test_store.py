"""An answer that was acknowledged is on the disk: once, unchanged, and through kills, backups and full disks."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from diptych.errors import ConfigError, DataError, MissingExtraError, StorageError
from diptych.study.database import choose_postgres, database_of, storage_errors
from diptych.study.group_commit import Refused
from diptych.study.migrations import MIGRATIONS
from diptych.study.protocol import Trial
from diptych.study.statements import id_of_code, least_used
from diptych.study.store import Answer, Store

PLAN = [Trial("trial", ("a", "b"), "left")] * 3
KILLS = 6


def answer(trial: int, word: str = "left", key: str = "key-0000") -> Answer:
    return Answer(trial, word, key, (1000.2, 999.8), 16.7, 512.5, True, 2)


@pytest.fixture
def folder(tmp_path, database):
    """A folder whose answers are kept in one of the databases."""
    if database:
        choose_postgres(tmp_path, database)
    return tmp_path


@pytest.fixture
def store(folder):
    opened = Store(folder)
    yield opened
    opened.close()


@pytest.fixture
def in_sqlite(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


def join(store: Store, id: str = "p", method: str = "m", code: str | None = None, simulated: bool = False, plan=PLAN):
    store.join(id, method, plan, "en", "v1", code=code, simulated=simulated)
    return store.participant(id)


def read(store: Store, question, *words, **more):
    """What a function of a transaction answers."""
    with store.database.reading() as run:
        return question(run, *words, **more)


def test_an_answer_comes_back_as_it_was_given(store):
    person = join(store)
    assert person.trials == tuple(PLAN) and person.answers == () and not person.done
    for trial in range(3):
        store.add(person, answer(trial))
    again = store.participant("p")
    assert [replace(a, received=0.0) for a in again.answers] == [answer(0), answer(1), answer(2)] and again.done
    assert abs(again.answers[0].received - time.time()) < 60
    assert store.participant("q") is None and store.participants() == [again]


def test_the_same_answer_again_changes_nothing_and_another_is_refused(store):
    person = join(store)
    store.add(person, answer(0))
    store.add(person, answer(0))
    with pytest.raises(Refused, match="answered before"):
        store.add(person, answer(0, "right"))
    with pytest.raises(Refused, match="answered before"):
        store.add(person, answer(0, key="key-1111"))
    with pytest.raises(Refused, match="not the next"):
        store.add(person, answer(2))
    assert len(store.participant("p").answers) == 1


def test_a_code_is_used_once_and_stays_used_after_its_participant_is_erased(store):
    store.add(join(store, "p", code="C1"), answer(0))
    with pytest.raises(Refused, match="used before"):
        join(store, "q", code="C1")
    assert read(store, id_of_code, "C1") == "p" and read(store, id_of_code, "C2") is None
    store.erase("p")
    with pytest.raises(Refused, match="used before"):
        join(store, "q", code="C1")
    assert store.participants() == []
    with pytest.raises(DataError, match="no participant has the code p"):
        store.erase("p")


def test_nothing_of_an_erased_participant_stays_in_the_files(in_sqlite):
    in_sqlite.add(join(in_sqlite, "needle-in-the-files"), answer(0, key="another-needle"))
    before = b"".join(file.read_bytes() for file in in_sqlite.folder.iterdir())
    assert b"needle-in-the-files" in before and b"another-needle" in before
    in_sqlite.erase("needle-in-the-files")
    after = b"".join(file.read_bytes() for file in in_sqlite.folder.iterdir())
    assert b"needle" not in after


def test_methods_are_assigned_evenly_and_people_who_left_free_their_place(store, monkeypatch):
    assert read(store, least_used, ["m", "n"]) == ["m", "n"]
    join(store, "p", "m")
    join(store, "s", "n", simulated=True)
    assert read(store, least_used, ["m", "n"]) == ["n"] and read(store, least_used, ["m", "n"], simulated=True) == ["m"]
    now = time.time()
    monkeypatch.setattr("diptych.study.statements.time.time", lambda: now + 3601)
    assert read(store, least_used, ["m", "n"]) == ["m", "n"]  # p left after joining
    for trial in range(3):
        store.add(join(store, "q", "m") if trial == 0 else store.participant("q"), answer(trial))
    monkeypatch.setattr("diptych.study.statements.time.time", lambda: now + 9999)
    assert read(store, least_used, ["m", "n"]) == ["n"]  # q finished, and counts for ever


def test_it_waits_for_the_disk_and_is_the_owners_alone(in_sqlite):
    assert in_sqlite.database._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert in_sqlite.database._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert stat.S_IMODE(in_sqlite.database.path.stat().st_mode) == 0o600


WRITER = """
import sys
from pathlib import Path
from diptych.study.protocol import Trial
from diptych.study.store import Answer, Store
store = Store(Path(sys.argv[1]))
if store.participant("p") is None:
    store.join("p", "m", [Trial("trial", ("a", "b"), "left")] * 5000, "en", "v1", code=None, simulated=False)
person = store.participant("p")
number = len(person.answers)
while True:
    store.add(person, Answer(number, "left", f"key-{number:06}", (1.0, 2.0), 16.7, 500.0))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""


@pytest.mark.slow
def test_a_kill_at_any_instant_loses_and_doubles_nothing(tmp_path):
    rng, acknowledged = random.Random(7), -1
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            first = writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.15))
            writer.send_signal(signal.SIGKILL)
            said = [int(line) for line in (first + writer.stdout.read()).split(b"\n")[:-1]]
        assert said == list(range(said[0], said[-1] + 1)) and said[0] in (acknowledged + 1, acknowledged + 2)
        acknowledged = said[-1]
        store = Store(tmp_path)
        kept = store.participant("p").answers
        assert store.database._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        store.close()
        assert [a.key for a in kept] == [f"key-{n:06}" for n in range(len(kept))]
        assert len(kept) - 1 in (acknowledged, acknowledged + 1)  # one may be stored and not yet acknowledged
    assert acknowledged > KILLS


def test_a_backup_while_answers_come_in_is_whole_and_has_all_that_was_acknowledged_before(store, tmp_path):
    person, acknowledged, stop = join(store, plan=PLAN * 500), [0], threading.Event()

    def vote():
        for trial in range(1500):
            store.add(person, answer(trial))
            acknowledged[0] = trial + 1
            if stop.is_set():
                return

    voting = threading.Thread(target=vote, daemon=True)
    voting.start()
    for number in range(4):
        folder = tmp_path / f"copy{number}"
        folder.mkdir()
        before = acknowledged[0]
        store.backup(folder / "answers.sqlite")
        copy = Store(folder)
        kept = copy.participant("p").answers
        copy.close()
        assert [a.trial for a in kept] == list(range(len(kept))) and before <= len(kept) <= acknowledged[0] + 1
        assert [file.name for file in folder.iterdir() if "tmp" in file.name] == []
    stop.set()
    voting.join(30)
    assert acknowledged[0] > 0
    assert stat.S_IMODE((folder / "answers.sqlite").stat().st_mode) == 0o600
    whole = (folder / "answers.sqlite").read_bytes()
    with pytest.raises(StorageError, match="choose a name that is free"):
        store.backup(folder / "answers.sqlite")
    assert (folder / "answers.sqlite").read_bytes() == whole


KILLER = """
import os, signal, sys
from contextlib import contextmanager, suppress
from pathlib import Path
from diptych.study import database, migrations, store
folder, what = Path(sys.argv[1]), sys.argv[2]
with suppress(ImportError):  # once, before the children
    import psycopg


def die_after(opened, step):
    plain, done = opened.writing, [0]

    @contextmanager
    def writing():
        with plain() as run:
            def counted(*words):
                rows = run(*words)
                done[0] += 1
                if done[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return rows
            yield counted
    opened.writing = writing
    return opened


def backup(step):
    make = store.Sqlite
    opened = store.Store(folder)
    store.Sqlite = lambda path: die_after(make(path), step)
    opened.backup(folder / "copy" / "answers.sqlite")


for line in sys.stdin:
    child = os.fork()
    if not child:
        backup(int(line)) if what == "backup" else migrations.migrate(die_after(database.database_of(folder), int(line)))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Killed:
    """A process whose children do one thing to a study and are killed after a number of statements."""

    def __init__(self, folder, what):
        self.process = subprocess.Popen(
            [sys.executable, "-c", KILLER, str(folder), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def after(self, step: int) -> bool:
        """Whether the child was killed before it was done."""
        self.process.stdin.write(f"{step}\n")
        self.process.stdin.flush()
        return {-signal.SIGKILL: True, 0: False}[int(self.process.stdout.readline())]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


FIRST_ROW = (1, "p", "m", json.dumps([trial.to_json() for trial in PLAN]), "en", "v1", "C1", 0, 1.5)


def first_version(folder) -> None:
    """The database of a study as the first version wrote it, with a participant and an answer."""
    opened = database_of(folder)
    with opened.writing() as run:
        for statement in MIGRATIONS[0]:
            run(statement.format(**opened.words))
        names = "number, id, method, trials, language, consent, code, simulated, joined"
        override = " OVERRIDING SYSTEM VALUE" if opened.name.startswith("postgres") else ""
        run(f"INSERT INTO participants ({names}){override} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", FIRST_ROW)
        run("INSERT INTO answers VALUES (1, 0, 'left', 'key-0000', '[1000.2, 999.8]', 16.7, 512.5, 1, 2, 3.5)")
        opened.set_version(run, 1)
    opened.close()


def version_of(folder) -> int:
    opened = database_of(folder)
    with opened.reading() as run:
        version = opened.version(run)
    opened.close()
    return version


def test_a_kill_at_any_step_of_a_migration_leaves_the_old_version_or_the_new_one(folder):
    first_version(folder)
    statements = len(MIGRATIONS[1]) + 2  # between the question which version it is, and the note of the new one
    with Killed(folder, "migrate") as killed:
        for step in range(1, statements + 1):
            assert killed.after(step) and version_of(folder) == 1
        assert killed.after(statements + 1) and version_of(folder) == 2  # asked again, after the commit
        assert not killed.after(99)
    store = Store(folder)
    (person,) = store.participants()
    assert (person.id, person.trials, person.again, person.joined) == ("p", tuple(PLAN), False, 1.5)
    assert [replace(a, received=0.0) for a in person.answers] == [answer(0)] and person.answers[0].received == 3.5
    store.add(person, answer(1))
    assert len(store.participant("p").answers) == 2
    assert read(store, least_used, ["m", "n"]) == ["n"]
    store.close()


def test_a_kill_at_any_step_of_the_first_tables_leaves_none_or_all(folder):
    with Killed(folder, "migrate") as killed:
        for step in range(1, 6):
            assert killed.after(step) and version_of(folder) == 0
        assert killed.after(6) and version_of(folder) == 1
    store = Store(folder)
    assert store.participants() == [] and version_of(folder) == len(MIGRATIONS)
    store.close()


def test_a_kill_while_a_backup_is_written_leaves_no_half_of_it(folder):
    store = Store(folder)
    store.add(join(store), answer(0))
    store.close()
    (folder / "copy").mkdir()
    with Killed(folder, "backup") as killed:
        step = 1
        while killed.after(step):
            assert not (folder / "copy" / "answers.sqlite").exists()
            step += 3
    assert step > 10
    copy = Store(folder / "copy")
    assert len(copy.participant("p").answers) == 1
    copy.close()


def test_a_crashed_postgres_loses_no_answer_and_is_found_again(postgres, tmp_path):
    choose_postgres(tmp_path, postgres.url)
    store = Store(tmp_path)
    person = join(store)
    store.add(person, answer(0))
    postgres.crash()
    with pytest.raises(storage_errors()):
        store.add(person, answer(1))
    postgres.start()
    store.add(person, answer(1))
    assert [a.trial for a in store.participant("p").answers] == [0, 1]
    store.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/name", "--database must be like postgresql://user@host/name"),
        ("postgresql://[::1", "--database must be like postgresql://user@host/name"),
        ("postgresql://me:secret@host/name", "--database: leave the password out"),
        ("postgresql://host/name?password=secret", "--database: leave the password out"),
    ],
)
def test_addresses_of_other_databases_and_passwords_are_refused(tmp_path, url, message):
    with pytest.raises(ConfigError, match=message) as error:
        choose_postgres(tmp_path, url)
    assert "secret" not in str(error.value)


def test_without_psycopg_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"PostgreSQL: needs psycopg.*pip install 'diptych\[postgres\]'"):
        choose_postgres(tmp_path, "postgresql:///name")


def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_with_space(in_sqlite):
    person = join(in_sqlite)
    in_sqlite.add(person, answer(0))
    pages = in_sqlite.database._db.execute("PRAGMA page_count").fetchone()[0]
    in_sqlite.database._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        in_sqlite.add(person, replace(answer(1), shown_ms=tuple(map(float, range(5000)))))
    in_sqlite.database._db.execute("PRAGMA max_page_count=1000000")
    in_sqlite.add(person, answer(1))
    assert len(in_sqlite.participant("p").answers) == 2


def test_databases_of_newer_versions_and_bad_places_are_refused(in_sqlite, tmp_path):
    in_sqlite.database._db.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigError, match="written by a newer diptych"):
        Store(tmp_path)
    with pytest.raises(StorageError, match="cannot be opened"):
        Store(tmp_path / "missing")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "answers.sqlite").write_text("no database " * 100)
    with pytest.raises(StorageError, match="not a database"):
        Store(tmp_path / "text")
    assert os.path.exists(in_sqlite.database.path)

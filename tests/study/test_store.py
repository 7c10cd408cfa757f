"""An answer that was acknowledged is on the disk: once, unchanged, and through kills, backups and full disks."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from diptych.errors import ConfigError, DataError, StorageError
from diptych.study.protocol import Trial
from diptych.study.store import Answer, Refused, Store

PLAN = [Trial("trial", ("a", "b"), "left")] * 3
KILLS = 12


def answer(trial: int, word: str = "left", key: str = "key-0000") -> Answer:
    return Answer(trial, word, key, (1000.2, 999.8), 16.7, 512.5, True, 2)


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    yield opened
    opened.close()


def join(store: Store, id: str = "p", method: str = "m", code: str | None = None, simulated: bool = False, plan=PLAN):
    store.join(id, method, plan, "en", "v1", code=code, simulated=simulated)
    return store.participant(id)


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
    assert store.id_of_code("C1") == "p" and store.id_of_code("C2") is None
    store.erase("p")
    with pytest.raises(Refused, match="used before"):
        join(store, "q", code="C1")
    assert store.participants() == []
    with pytest.raises(DataError, match="no participant has the code p"):
        store.erase("p")


def test_nothing_of_an_erased_participant_stays_in_the_files(store):
    store.add(join(store, "needle-in-the-files"), answer(0, key="another-needle"))
    before = b"".join(file.read_bytes() for file in store.folder.iterdir())
    assert b"needle-in-the-files" in before and b"another-needle" in before
    store.erase("needle-in-the-files")
    after = b"".join(file.read_bytes() for file in store.folder.iterdir())
    assert b"needle" not in after


def test_methods_are_assigned_evenly_and_people_who_left_free_their_place(store, monkeypatch):
    assert store.least_used(["m", "n"]) == ["m", "n"]
    join(store, "p", "m")
    join(store, "s", "n", simulated=True)
    assert store.least_used(["m", "n"]) == ["n"] and store.least_used(["m", "n"], simulated=True) == ["m"]
    now = time.time()
    monkeypatch.setattr("diptych.study.store.time.time", lambda: now + 3601)
    assert store.least_used(["m", "n"]) == ["m", "n"]  # p left after joining
    for trial in range(3):
        store.add(join(store, "q", "m") if trial == 0 else store.participant("q"), answer(trial))
    monkeypatch.setattr("diptych.study.store.time.time", lambda: now + 9999)
    assert store.least_used(["m", "n"]) == ["n"]  # q finished, and counts for ever


def test_it_waits_for_the_disk_and_is_the_owners_alone(store):
    assert store.database._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store.database._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert stat.S_IMODE(store.database.path.stat().st_mode) == 0o600


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


def test_a_backup_while_answers_come_in_is_whole(store, tmp_path):
    person = join(store, plan=PLAN * 100)
    for trial in range(50):
        store.add(person, answer(trial))
    folder = tmp_path / "copy"
    folder.mkdir()
    store.backup(folder / "answers.sqlite")
    store.add(person, answer(50))
    copy = Store(folder)
    assert len(copy.participant("p").answers) == 50
    copy.close()
    assert stat.S_IMODE((folder / "answers.sqlite").stat().st_mode) == 0o600
    with pytest.raises(StorageError, match="choose a name that is free"):
        store.backup(folder / "answers.sqlite")


def test_on_a_full_disk_nothing_is_acknowledged_and_it_goes_on_with_space(store):
    person = join(store)
    store.add(person, answer(0))
    pages = store.database._db.execute("PRAGMA page_count").fetchone()[0]
    store.database._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.add(person, replace(answer(1), shown_ms=tuple(map(float, range(5000)))))
    store.database._db.execute("PRAGMA max_page_count=1000000")
    store.add(person, answer(1))
    assert len(store.participant("p").answers) == 2


def test_databases_of_newer_versions_and_bad_places_are_refused(store, tmp_path):
    store.database._db.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigError, match="written by a newer diptych"):
        Store(tmp_path)
    with pytest.raises(StorageError, match="cannot be opened"):
        Store(tmp_path / "missing")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "answers.sqlite").write_text("no database " * 100)
    with pytest.raises(StorageError, match="not a database"):
        Store(tmp_path / "text")
    assert os.path.exists(store.database.path)

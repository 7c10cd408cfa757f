"""Writing in groups: what waits while one transaction goes to the disk goes there together in the next one.

A commit waits for the disk, for milliseconds. With one commit for each answer, many participants would queue for it; in groups
they share it. Each still hears of success only after its own commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, final

from diptych.study.database import Database, Run

T = TypeVar("T")
MOST = 100  # jobs of one transaction


class Refused(Exception):
    """An answer or a participation that the rules of the study do not allow. A job raises it before it writes anything."""


@dataclass(frozen=True)
class Job(Generic[T]):
    """A function of a transaction, and what came of it."""

    work: Callable[[Run], T]
    outcome: Future[T] = field(default_factory=Future)


@final
class GroupCommit:
    """Runs jobs that write, one after another, in a thread of its own. ``submit`` and ``close`` may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def submit(self, work: Callable[[Run], T]) -> Future[T]:
        """Run ``work`` in a transaction. The result is there once it is on the disk; an error means that nothing of it is."""
        job = Job(work)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="study-commits", daemon=True)
                self._thread.start()
        self._jobs.put(job)
        return job.outcome

    def close(self) -> None:
        """Finish what was submitted, and end."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            group, ended = [job], False
            with suppress(Empty):
                while len(group) < MOST and not ended:
                    waiting = self._jobs.get_nowait()
                    ended = waiting is None
                    group += [waiting] if waiting else []
            self._commit([each for each in group if each.outcome.set_running_or_notify_cancel()])
            if ended:
                return

    def _commit(self, group: Sequence[Job[Any]]) -> None:
        """One transaction of all jobs. When it fails, each is tried alone, so that none fails for what another did."""
        try:
            with self._database.writing() as run:
                done = [_done(job, run) for job in group]
        except Exception as error:
            if len(group) == 1:
                group[0].outcome.set_exception(error)
            else:
                for job in group:
                    self._commit([job])
            return
        for report in done:
            report()


def _done(job: Job[T], run: Run) -> Callable[[], None]:
    """Do a job; returns what reports its outcome once that is on the disk."""
    try:
        value = job.work(run)
    except Refused as refused:
        error = refused
        return lambda: job.outcome.set_exception(error)
    return lambda: job.outcome.set_result(value)

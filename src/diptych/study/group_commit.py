"""Writing in groups: what comes in while one transaction goes to the disk goes there together, in the next one.

A commit waits for the disk, for milliseconds. With one commit for each answer, many participants would queue for it; in groups
they share it. Each still hears of success only after the commit of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar, final

from diptych.study.database import Database, Run

T = TypeVar("T")
MOST = 100  # jobs of one transaction


class Refused(Exception):
    """An answer or a participation that the rules of the study do not allow. A job raises it before it writes anything."""


@dataclass(frozen=True)
class Job:
    """A function of a transaction, and who waits for what it returns."""

    work: Callable[[Run], Any]
    outcome: asyncio.Future[Any]


@final
class GroupCommit:
    """Runs jobs that write, for one event loop.

    Statements take microseconds and run in the loop itself; a thread would be woken up for each of them. Only the commit, which
    waits for the disk, has a thread.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Job] = []
        self._working: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[Run], T]) -> T:
        """Run ``work`` in a transaction. When this returns it is on the disk; when it raises, nothing of it is."""
        job = Job(work, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._serve())
        return await job.outcome

    async def _serve(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            await self._commit(group)

    async def _commit(self, group: Sequence[Job]) -> None:
        """One transaction of all jobs. When it fails, each is tried alone, so that none fails for what another did."""
        try:
            with ExitStack() as stack:  # undoes what was done, when a job fails
                run = stack.enter_context(self._database.writing())
                reports = [_done(job, run) for job in group]
                await asyncio.to_thread(stack.pop_all().close)
        except Exception as error:
            if len(group) > 1:
                for job in group:
                    await self._commit([job])
            elif not group[0].outcome.done():
                group[0].outcome.set_exception(error)
        else:
            for job, report in zip(group, reports, strict=True):
                if not job.outcome.done():  # whoever asked may have gone
                    report()


def _done(job: Job, run: Run) -> Callable[[], None]:
    """Do a job; returns what reports its outcome, once that is on the disk."""
    try:
        value = job.work(run)
    except Refused as error:
        refused = error
        return lambda: job.outcome.set_exception(refused)
    return lambda: job.outcome.set_result(value)

"""Map a function over items in worker processes, so that a crash of a worker costs one item and not the run."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import cycle
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import Generic, TypeVar

MAX_PENDING = 4  # items per worker that wait or are done: enough to keep it busy, few enough for memory
T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(function: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[tuple[T, R | None]]:
    """Yield each item with its result, in order; the result is None for an item that crashed its process.

    An exception that the function raises is raised here.
    """
    waiting = deque(items)
    workers = [_Worker(function) for _ in range(min(jobs, len(waiting)))]
    turns, order = cycle(workers), deque[_Worker[T, R]]()
    try:
        while waiting or order:
            while waiting and len(order) < MAX_PENDING * jobs:
                order.append(next(turns))
                order[-1].take(waiting.popleft())
            yield order.popleft().next()
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[T, R]):
    """One process that takes items in order, so that the first item without a result is the one that crashed it.

    An executor of many processes cannot say which item crashed it, and can hang when one process starts as another ends.
    """

    def __init__(self, function: Callable[[T], R]) -> None:
        self.function = function
        self.items: deque[T] = deque()
        self.start()

    def start(self) -> None:
        """Start a new process for the pending items. Raises BrokenProcessPool where even an idle process crashes."""
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent)
        self.pool.submit(callable, self.function).result()
        self.futures: deque[Future[R]] = deque(self.pool.submit(self.function, item) for item in self.items)

    def take(self, item: T) -> None:
        """Queue one more item."""
        self.items.append(item)
        with suppress(BrokenProcessPool):  # next() starts a new process for what is left
            self.futures.append(self.pool.submit(self.function, item))

    def next(self) -> tuple[T, R | None]:
        """Return the oldest pending item and its result, None where it crashed the process."""
        if not self.futures:
            self.start()
        try:
            result = self.futures.popleft().result()
            return self.items.popleft(), result
        except BrokenProcessPool:
            self.futures.clear()
            return self.items.popleft(), None

    def stop(self) -> None:
        """Stop the process without waiting for pending items."""
        self.pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: an executor's process waits for its next item for ever."""

    def watch() -> None:
        if parent := parent_process():
            connection.wait([parent.sentinel])
            os._exit(1)

    Thread(target=watch, daemon=True).start()

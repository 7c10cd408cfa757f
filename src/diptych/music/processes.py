"""Work in processes of its own, in order, so that what ends a process costs one item and not the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import cycle
from multiprocessing import get_context
from typing import Generic, TypeVar

MAX_PENDING_PER_WORKER = 4  # items a process that wait or are finished: enough to keep it busy, few enough for memory
T = TypeVar("T")
R = TypeVar("R")


def map_in_processes(function: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[tuple[T, R | None]]:
    """Each item with what the function makes of it, in order; None for one that ended its process.

    What the function raises is raised here.
    """
    waiting = deque(items)
    workers = [_Worker(function) for _ in range(min(jobs, len(waiting)))]
    turns, order = cycle(workers), deque[_Worker[T, R]]()
    try:
        while waiting or order:
            while waiting and len(order) < MAX_PENDING_PER_WORKER * jobs:
                order.append(next(turns))
                order[-1].take(waiting.popleft())
            yield order.popleft().next()
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[T, R]):
    """One process that takes items in order, so that the first without a result is the one that ended it.

    An executor of many processes cannot say which item did, and can wait for ever for one that starts as another ends.
    """

    def __init__(self, function: Callable[[T], R]) -> None:
        self.function = function
        self.items: deque[T] = deque()
        self.start()

    def start(self) -> None:
        """A fresh process for the items that are there. Raises BrokenProcessPool where not even an empty one runs."""
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self.pool.submit(callable, self.function).result()
        self.futures: deque[Future[R]] = deque(self.pool.submit(self.function, item) for item in self.items)

    def take(self, item: T) -> None:
        """One more item to do, after the others."""
        self.items.append(item)
        with suppress(BrokenProcessPool):  # then next() starts it again, with all that are left
            self.futures.append(self.pool.submit(self.function, item))

    def next(self) -> tuple[T, R | None]:
        """The item that was taken first, and its result; None where it ended the process."""
        if not self.futures:
            self.start()
        try:
            result = self.futures.popleft().result()
            return self.items.popleft(), result
        except BrokenProcessPool:
            self.futures.clear()
            return self.items.popleft(), None

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.pool.shutdown(cancel_futures=True)

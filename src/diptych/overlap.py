"""Work that goes on in threads while its results are used: in order, and never far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    depth: int,
    weight: Callable[[Item], int] = lambda item: 0,
    most: int = 0,
) -> Generator[Result, None, None]:
    """The results of work on each item, in the order of the items, which are taken from their iterator by the caller's thread.

    At most ``depth`` items are in work or wait to be taken, and together they weigh at most ``most``, as bytes for example; an
    item that weighs more is alone. What work raises is raised here at its place in the order. However this ends, also by an
    interruption, nothing new is begun, and what has begun is finished first.
    """
    pool, begun = ThreadPoolExecutor(threads), deque[tuple[int, Future[Result]]]()
    try:
        for item in items:
            own = weight(item)
            while begun and own and sum(other for other, _ in begun) + own > most:
                yield begun.popleft()[1].result()
            begun.append((own, pool.submit(work, item)))
            if len(begun) == depth:
                yield begun.popleft()[1].result()
        while begun:
            yield begun.popleft()[1].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

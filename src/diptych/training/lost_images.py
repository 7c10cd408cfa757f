"""Images that cannot be read any more while a training goes on: each is named once, and too many of them end it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from diptych.data.census import TOLERATED_SHARE, Census
from diptych.data.stream import NativeBatch
from diptych.errors import DataError

log = logging.getLogger(__name__)


def saved_when_lost(found: Iterator[NativeBatch], save: Callable[[], None] | None) -> Iterator[NativeBatch]:
    """The same batches; where so many images are gone that none can be made, the training is saved before the error goes on."""
    try:
        yield from found
    except DataError as error:
        if save is None:
            raise
        save()
        raise DataError(f"{error}; the training is saved: restore them, and run the same command to go on") from error


class LostImages:
    """The problems of files since this process began to train, each logged once; the images that others replace."""

    def __init__(self, census: Census) -> None:
        self.total = len({ref.path for ref in (*census.split.a, *census.split.b)})
        self.problems: dict[str, None] = {}

    def note(self, problems: Iterable[str]) -> None:
        """Log what is new among the problems of a batch, which begin with a path."""
        for problem in problems:
            if problem not in self.problems:
                log.warning("skipped from now on: %s", problem)
            self.problems[problem] = None

    @property
    def too_many(self) -> bool:
        """Whether more images are lost than a training may leave out (see diptych.data.census)."""
        return len(self.problems) > TOLERATED_SHARE * self.total

    def __str__(self) -> str:
        lost = len(self.problems)
        last = f"; the last: {next(reversed(self.problems))}" if lost else ""
        return (
            f"{lost:,} of {self.total:,} files can no longer be read, more than {TOLERATED_SHARE:.0%}{last}; the training is "
            "saved: restore them, and run the same command to go on"
        )

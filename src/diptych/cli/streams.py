"""Standard output and error that may be closed or full: what people only watch is dropped, what was asked for is an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from diptych.errors import StorageError

CLOSED = 141  # the exit code of a program that SIGPIPE ended, which shells know


class Stream:
    """A text stream that takes an error of the system as the end of its readers, and writes to nowhere from then on.

    With ``needed`` that error ends the command: silently where the reader went away, as after ``| head``, and as StorageError
    otherwise. Without it the command goes on.
    """

    def __init__(self, stream: TextIO, needed: bool) -> None:
        self.stream, self.needed = stream, needed

    def write(self, text: str) -> int:
        """Write as the stream does."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self._lost(error)
            return len(text)

    def flush(self) -> None:
        """Flush as the stream does."""
        try:
            self.stream.flush()
        except OSError as error:
            self._lost(error)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self.stream, name)

    def _lost(self, error: OSError) -> None:
        with suppress(OSError):  # a stream of Python's own has no file to exchange
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # what is still in the buffer goes there too, also at the end of Python
            os.close(nowhere)
        if self.needed and isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED)
        if self.needed:
            raise StorageError(
                f"standard output: cannot be written ({error.strerror}); free some space, or send it elsewhere"
            ) from error


@contextmanager
def standard_streams() -> Iterator[None]:
    """Exchange sys.stdout and sys.stderr for streams that may be lost, while inside."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:  # for a stream that the shell closed, which is None
        sys.stdout = Stream(before[0] or nowhere, needed=True)
        sys.stderr = Stream(before[1] or nowhere, needed=False)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before

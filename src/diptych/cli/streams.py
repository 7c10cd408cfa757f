"""Standard streams whose reader may go away or whose disk may be full, without a traceback and without ending a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from diptych.errors import StorageError

CLOSED = 141  # 128 + SIGPIPE, the exit code by which shells know a closed pipe


class Stream:
    """A text stream that discards everything after the first write that the system refused.

    If the output is ``needed``, the refusal also ends the command: silently when the reader closed the pipe, as ``| head`` does,
    and with a StorageError otherwise.
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
        with suppress(OSError):  # a stream in memory has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # the rest of the buffer goes there too, when Python ends
            os.close(nowhere)
        if self.needed and isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED)
        if self.needed:
            raise StorageError(
                f"standard output: cannot be written ({error.strerror}); free some space, or send it elsewhere"
            ) from error


@contextmanager
def standard_streams() -> Iterator[None]:
    """Replace sys.stdout and sys.stderr by streams that may be lost, inside the block."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:  # instead of None, for a stream that the shell closed
        sys.stdout = Stream(before[0] or nowhere, needed=True)
        sys.stderr = Stream(before[1] or nowhere, needed=False)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before

"""What a training does when the disk refuses a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from diptych.choices import OnSaveError
from diptych.errors import StorageError

log = logging.getLogger(__name__)


@contextmanager
def tolerated(on_save_error: OnSaveError) -> Iterator[None]:
    """Log that the disk refuses a file and go on, if ``warn`` is asked for; otherwise the StorageError ends the training."""
    try:
        yield
    except StorageError as error:
        if on_save_error == "stop":
            raise
        log.warning("%s; the training goes on, what was saved before is whole, and the next save tries again", error)

"""The errors that a user can cause or meet. Any other exception is a bug and shows its traceback.

    DiptychError                 exit code of the command
    ├── ConfigError              2  a recipe, flag or argument is wrong
    ├── DataError                2  an image, a folder or a pairing is wrong
    ├── MissingExtraError        2  an optional package is not installed
    ├── TrainingError            3  the training itself became unhealthy (NaN ...)
    │   └── OutOfMemory          3  a step needed more memory than there is
    ├── LockedError              4  another process writes the same run
    ├── Interrupted          130, 143  a signal asked to stop; everything is saved
    ├── StorageError             5  the disk refused (full, quota, read-only)
    └── SnapshotError            6  a file is damaged or not a snapshot or state of diptych
        └── WeightsError         6  weights of another tool cannot be used

A message says in one line where the error is, which rule is broken, what was found, and what to do next.
"""

from __future__ import annotations

import re

# What libraries say when memory ran out: torch's allocators, C++, the system, oneDNN, cuDNN, cuBLAS and ONNX Runtime.
OUT_OF_MEMORY = re.compile(
    r"out of memory|can(?:'|no)t allocate memory|bad_alloc|could not create a (?:primitive|memory)|failed to allocate memory"
    r"|CU(?:DNN|BLAS)_STATUS_ALLOC_FAILED|Unable to find an engine to execute|failed to map segment from shared object",
    re.IGNORECASE,
)


class DiptychError(Exception):
    """Base of all errors that diptych raises on purpose."""

    exit_code = 2


class ConfigError(DiptychError):
    """A recipe, flag or argument is wrong."""


class DataError(DiptychError):
    """An image, a folder or a pairing is wrong."""


class MissingExtraError(DiptychError):
    """An optional package is needed but not installed."""


class TrainingError(DiptychError):
    """The training became unhealthy, such as a loss that is not finite."""

    exit_code = 3


class OutOfMemory(TrainingError):
    """A training step needed more memory than there is."""


class LockedError(DiptychError):
    """Another process is writing the same run folder."""

    exit_code = 4


class Interrupted(DiptychError):
    """A signal asked the training to stop. Everything is saved, and the same command resumes from there."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum

    def __reduce__(self) -> tuple[type[Interrupted], tuple[str, int]]:
        """Processes send errors to one another by pickle."""
        return type(self), (str(self), self.exit_code - 128)


class StorageError(DiptychError):
    """The system refused to read or write a file, because of a full disk, a quota, permissions or a read-only disk."""

    exit_code = 5


class SnapshotError(DiptychError):
    """A snapshot or training state is damaged, of a newer version, or not written by diptych."""

    exit_code = 6


class WeightsError(SnapshotError):
    """Weights of another tool have an unknown layout, or published weights are missing or differ from the published file."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device and in whichever library."""
    if isinstance(error, MemoryError):
        return True
    by_library = isinstance(error, RuntimeError | OSError | ImportError) or type(error).__module__.startswith("onnxruntime.")
    return by_library and bool(OUT_OF_MEMORY.search(str(error)))

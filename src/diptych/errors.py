"""The family of errors that a user can cause or meet; anything else is a bug and shows its traceback.

    DiptychError                 exit code of the command
    ├── ConfigError              2  a recipe, flag or argument is wrong
    ├── DataError                2  an image, a folder or a pairing is wrong
    ├── MissingExtraError        2  an optional package is not installed
    ├── TrainingError            3  the training itself became unhealthy (NaN ...)
    │   └── OutOfMemory          3  a step needed more memory than there is
    ├── LockedError              4  another process writes the same run
    ├── Interrupted          130, 143  asked to stop by a signal; what was learnt is saved
    ├── StorageError             5  the disk refused (full, quota, read-only)
    └── SnapshotError            6  a snapshot or state is damaged or not one of ours
        └── WeightsError         6  another tool's weights are not understood, missing, or not the published ones

A message says where, which rule, the value found, and the next step, on one line.
"""


class DiptychError(Exception):
    """Base of all errors that diptych raises on purpose."""

    exit_code = 2


class ConfigError(DiptychError):
    """A recipe, flag or argument is wrong."""


class DataError(DiptychError):
    """An image, a folder or a pairing is wrong."""


class MissingExtraError(DiptychError):
    """An optional package is needed and not installed."""


class TrainingError(DiptychError):
    """The training became unhealthy, such as a loss that is not finite."""

    exit_code = 3


class OutOfMemory(TrainingError):
    """A training step needed more memory than there is."""


class LockedError(DiptychError):
    """Another process is writing the same run folder."""

    exit_code = 4


class Interrupted(DiptychError):
    """A signal asked the training to stop; what was learnt is saved and the same command goes on from there."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StorageError(DiptychError):
    """The disk refused to read or write: full, quota, permission, read-only."""

    exit_code = 5


class SnapshotError(DiptychError):
    """A snapshot or training state is damaged, too new, or not one of ours."""

    exit_code = 6


class WeightsError(SnapshotError):
    """Weights of another tool that are not understood, or published ones that are missing or not the published file."""

"""Optional packages: imported when they are needed, and an error that says what to install where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from diptych.errors import MissingExtraError


def extra(package: str, name: str, what: str) -> Any:
    """Import an optional package, which ``pip install 'diptych[name]'`` brings.

    ``what`` is the feature that needs the package; the error begins with it. Raises MissingExtraError when the package is not
    installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(f"{what}: needs {package}, which is not installed; pip install 'diptych[{name}]'") from error

"""diptych: image-to-image translation, paired (pix2pix) and unpaired (CycleGAN).

>>> snapshot = diptych.train("cyclegan", "runs/x", data=["horses/", "zebras/"], preset="laptop")
>>> diptych.Translator.load(snapshot)(image)
>>> diptych.evaluate("runs/x").value("kid")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.errors import ConfigError as ConfigError
    from diptych.errors import DataError as DataError
    from diptych.errors import DiptychError as DiptychError
    from diptych.errors import SnapshotError as SnapshotError
    from diptych.inference.translator import Translator as Translator
    from diptych.pixels import Domain as Domain
    from diptych.recipe import Recipe as Recipe
    from diptych.scoring.evaluate import evaluate as evaluate
    from diptych.scoring.train import train as train
    from diptych.snapshot import Snapshot as Snapshot

_PUBLIC = {
    "ConfigError": "diptych.errors",
    "DataError": "diptych.errors",
    "DiptychError": "diptych.errors",
    "Domain": "diptych.pixels",
    "Recipe": "diptych.recipe",
    "Snapshot": "diptych.snapshot",
    "SnapshotError": "diptych.errors",
    "Translator": "diptych.inference.translator",
    "evaluate": "diptych.scoring.evaluate",
    "train": "diptych.scoring.train",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `diptych --help` need not wait for torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diptych' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)

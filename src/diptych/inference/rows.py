"""Translate rows of a table that hold image files: the map function for Ray Data, or any tool that maps batches of columns.

Reading, sharing among machines, writing and checkpoints are the tool's; see docs/translate.md.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, final

import numpy as np

from diptych.data.decoders import decode
from diptych.data.formats import refuse_foreign
from diptych.data.kinds import fit
from diptych.errors import DataError
from diptych.inference.translator import Translator
from diptych.messages import show

log = logging.getLogger(__name__)


@final
class TranslateRows:
    """Takes columns ``path`` and ``bytes`` of image files and gives ``path`` and ``image``, arrays (h, w, c) of native pixels.

    Each process that maps makes one, with a snapshot and the options of `Translator.load`. A file that cannot be read gives no
    row, and a warning that names it.
    """

    def __init__(self, snapshot: str | Path, direction: str = "a2b", **how: Any) -> None:
        self.translator = Translator.load(snapshot, direction, **how)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Translate one batch; the images of each are as large as those in the files."""
        paths, images = [], []
        for path, data in zip(batch["path"], batch["bytes"], strict=True):
            try:
                images.append(self._translated(bytes(data)))
                paths.append(str(path))
            except DataError as error:
                log.warning("skipped: %s: %s", show(path), error)
        column = np.empty(len(images), object)  # which holds arrays of several sizes
        for place, image in enumerate(images):
            column[place] = image
        return {"path": np.array(paths, object), "image": column}

    def _translated(self, data: bytes) -> np.ndarray:
        source = self.translator.source
        refuse_foreign(data[:512])
        picture = decode(data, source.reading)
        pixels = np.require(picture.pixels, requirements=["C", "W"])
        return self.translator.pixels(fit(pixels, source, picture.metadata.stored))

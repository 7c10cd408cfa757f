"""Translate rows of a table that hold image files: the map function for Ray Data, or any tool that maps batches of columns.

Reading, sharing among machines, writing and checkpoints are the tool's; see docs/translate.md.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, final

import numpy as np

from diptych.data.carrying import carried
from diptych.data.formats import refuse_foreign
from diptych.data.kinds import fit
from diptych.data.labels import suffix_for, write_as
from diptych.data.untrusted import decode
from diptych.errors import DataError
from diptych.inference.translator import Translator
from diptych.messages import show

log = logging.getLogger(__name__)


@final
class TranslateRows:
    """Takes columns ``path`` and ``bytes`` of image files and gives ``path`` and ``image``, arrays (h, w, c) of native pixels.

    With a folder ``out`` the images are written there as `diptych translate` writes them, under their paths below ``root``, and
    the column ``result`` holds the paths of the results instead. Each process that maps makes one, with a snapshot and the
    options of `Translator.load`. A file that cannot be read gives no row, and a warning that names it.
    """

    def __init__(
        self, snapshot: str | Path, direction: str = "a2b", *, root: str = "", out: str | Path | None = None, **how: Any
    ) -> None:
        self.translator, self.root, self.out = Translator.load(snapshot, direction, **how), root, out

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Translate one batch; the images of each are as large as those in the files."""
        paths: list[str] = []
        made: list[Any] = []
        for path, data in zip(batch["path"], batch["bytes"], strict=True):
            try:
                made.append(self._translated(str(path), bytes(data)))
                paths.append(str(path))
            except DataError as error:
                log.warning("skipped: %s: %s", show(path), error)
        column = np.empty(len(made), object)  # which holds arrays of several sizes
        for place, each in enumerate(made):
            column[place] = each
        return {"path": np.array(paths, object), "image" if self.out is None else "result": column}

    def _translated(self, path: str, data: bytes) -> np.ndarray | str:
        source, target = self.translator.source, self.translator.target
        refuse_foreign(data[:512])
        picture = decode(data, source.reading)
        pixels = np.require(picture.pixels, requirements=["C", "W"])
        translated = self.translator.pixels(fit(pixels, source, picture.metadata.stored))
        if self.out is None:
            return translated
        result = Path(self.out, os.path.relpath(path, self.root) if self.root else Path(path).name)
        result = result.with_suffix(suffix_for(result.suffix, target))
        without = np.isnan(pixels).any(2) if pixels.dtype == np.float32 else None
        translated, metadata = carried(translated, picture.metadata, target, without)
        result.parent.mkdir(parents=True, exist_ok=True)
        write_as(result, translated, target, metadata)
        return str(result)

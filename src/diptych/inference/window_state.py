"""What is known of a translation in windows that was interrupted, so that it goes on behind its last window."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import final

from diptych.errors import SnapshotError
from diptych.inference.maps import Moments, PixelFile, Target
from diptych.inference.norm_statistics import NormStatistics
from diptych.trees import Tree, read_tree, write_tree

SAVE_EVERY = 20.0  # seconds of work that an interruption may lose


@final
class WindowState:
    """The statistics of a sample of an image and the windows that are done, in a file beside the unfinished result.

    ``key`` is a hash of network and image (see `staged.key_of`); a file of another key is not taken up. Without a path, and where
    the result is no PixelFile that was there already, the windows begin anew.
    """

    def __init__(self, path: Path | None, key: str, out: Target) -> None:
        self.path, self.out, self.saved = path, out, time.monotonic()
        state: Tree = {}
        if path is not None:
            try:
                state = read_tree(path)
            except SnapshotError:  # missing or damaged
                state = {}
        self.state: Tree = state if state.get("key") == key else {"key": key}
        if not isinstance(out, PixelFile) or out.fresh:
            self.state.pop("done", None)

    @property
    def norms(self) -> NormStatistics | None:
        """The statistics of the sample, where it was measured."""
        if "layers" not in self.state:
            return None
        return NormStatistics({name: (mean, variance) for name, (mean, variance) in self.state["layers"].items()})

    def measured(self, norms: NormStatistics) -> NormStatistics:
        """Keep the statistics of a sample. The windows that were done with other ones count no more."""
        self.state = {"key": self.state["key"], "layers": {name: list(numbers) for name, numbers in norms.layers.items()}}
        self._save()
        return norms

    @property
    def moments(self) -> dict[str, Moments]:
        """What the norms saw of the windows that are done."""
        return {name: Moments.restored(moments) for name, moments in self.state.get("moments", {}).items()}

    def done(self, side: int) -> int:
        """How many windows of a side are in the result; 0 where they had another side."""
        return int(self.state["done"]) if "done" in self.state and self.state["side"] == side else 0

    def note(self, side: int, done: int, moments: Mapping[str, Moments], last: bool) -> None:
        """Take down that so many windows are in the result, and what norms saw of them.

        It is written every so many seconds and after the last one.
        """
        self.state |= {"side": side, "done": done}
        if last or time.monotonic() - self.saved > SAVE_EVERY:
            self.state["moments"] = {name: found.state() for name, found in moments.items()}
            self._save()

    def _save(self) -> None:
        if self.path is not None:
            if isinstance(self.out, PixelFile):
                self.out.sync()
            write_tree(self.path, self.state)
        self.saved = time.monotonic()

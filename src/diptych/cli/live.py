"""The report of a training that still goes on, written again every few minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time this would import torch, before wrong words are refused
    from diptych.training.progress import Progress

REFRESH = 30  # seconds after which a browser loads the page again


@dataclass
class LivePage:
    """Writes report.html every so many seconds of a training; never, where they are 0."""

    every: float
    written: float = field(default_factory=time.monotonic)

    def due(self, step: Progress) -> bool:
        """Whether the page is to be written at this moment."""
        return bool(self.every) and step.task == "training" and time.monotonic() - self.written >= self.every

    def write(self, run: Path) -> None:
        """Write the page of a run, which a browser that shows it keeps up to date."""
        from diptych.pages.report import write_report

        write_report(run, refresh=REFRESH)
        self.written = time.monotonic()

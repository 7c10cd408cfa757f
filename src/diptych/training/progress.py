"""What a training tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How much of a long task is done; ``epoch`` and ``images_s`` (images per second) are set only while training.

    ``losses`` are means over the last steps, which not every step reports.
    """

    task: str
    done: int
    total: int
    epoch: int = 0
    images_s: float = 0.0
    losses: Mapping[str, float] | None = None


Watch = Callable[[Progress], None]

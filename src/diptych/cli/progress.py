"""Progress on an output that is no terminal: lines by time, so that a log shows within half a minute what to expect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diptych.messages import counted

if TYPE_CHECKING:  # at run time this would import torch, before wrong words are refused
    from diptych.training.progress import Progress as Step

FIRST = 20.0  # seconds until the first line of a task
PAUSES = (40.0, 60.0, 180.0, 300.0)  # seconds between the next lines
LATER = 600.0  # and between all others


@dataclass(frozen=True)
class Count:
    """How much of a task is done, where there is no more to say: a Progress of diptych.training that needs no torch."""

    task: str
    done: int
    total: int
    epoch: int = 0
    images_s: float = 0.0
    losses: None = None


@dataclass
class Pace:
    """When a task began, how much of it was done then, and when its next line is due."""

    began: float
    before: int
    due: float
    lines: int = 0

    def seconds_left(self, step: Step | Count, now: float) -> float | None:
        """The seconds that the rest takes at the pace so far; None before anything was done."""
        done = step.done - self.before
        return (now - self.began) / done * (step.total - step.done) if done > 0 else None


@dataclass
class Lines:
    """Prints a line for a task after 20 seconds, then ever more rarely, and at the end of a training."""

    say: Callable[[str], None]
    paces: dict[str, Pace] = field(default_factory=dict)

    def see(self, step: Step | Count) -> None:
        """Take note of progress, and print a line where one is due."""
        now = time.monotonic()
        if step.task not in self.paces:
            self.paces[step.task] = Pace(now, step.done, now + FIRST)
            if step.task == "training" and step.done < step.total:
                self.say(
                    f"training: {counted(step.total - step.done, 'step')}; how long that takes is said as soon as it is known"
                )
        pace = self.paces[step.task]
        over = step.done == step.total and step.losses is not None
        if not over and (now < pace.due or step.done == step.total):
            return
        pace.lines += 1
        pace.due = now + (PAUSES[pace.lines - 1] if pace.lines <= len(PAUSES) else LATER)
        left = None if over else pace.seconds_left(step, now)
        self.say(
            "  ".join([f"{step.task} {step.done:,}/{step.total:,}", *words(step), *([f"{duration(left)} left"] if left else [])])
        )


def words(step: Step | Count) -> list[str]:
    """Epoch, speed and losses of a step, where they are known."""
    found = [f"epoch {step.epoch}", f"{step.images_s:.3g} images/s"] if step.epoch and step.images_s else []
    return [*found, *(f"{name} {value:.3f}" for name, value in (step.losses or {}).items())]


def duration(seconds: float) -> str:
    """A duration in the two units that matter, such as ``2 h 5 min``."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 24 * 60 else f"{hours // 24} days {hours % 24} h"

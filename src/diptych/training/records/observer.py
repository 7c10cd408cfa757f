"""What is written down while a training goes on: losses, health and validation of a step, and the best snapshot so far."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import torch

from diptych.data.census import Census
from diptych.errors import Interrupted
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training.health.diagnosis import Verdict, diagnose
from diptych.training.health.doctor import Doctor
from diptych.training.records.best import BestScore, Validation, usable_scores
from diptych.training.signals import Interrupts
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)


class Observer:
    """The eyes of one process on its training; only the first process, which has the run folder, writes.

    What is due at a step depends on the step alone, so that a resumed run writes what an uninterrupted one does.
    """

    def __init__(
        self,
        recipe: Recipe,
        census: Census,
        run: Run | None,
        validation: Validation | None,
        validation_steps: Collection[int],
        doctor: Doctor,
        interrupts: Interrupts,
    ) -> None:
        self.recipe, self.census, self.run, self.doctor, self.interrupts = recipe, census, run, doctor, interrupts
        self.lines = run.lines() if run else []
        self.steps = validation_steps if validation else ()
        self.selection = BestScore(validation, self.lines) if validation else None
        self.warned: set[tuple[str, str]] = set()

    def due(self, step: int) -> bool:
        """Whether a step is to be observed for more than its losses."""
        return step in self.steps or self.doctor.due(step)

    def has_line(self, step: int) -> bool:
        """Whether a step needs no line, because it has one or none was taken yet; only the first process knows."""
        return step == 0 or bool(self.lines and self.lines[-1]["step"] >= step)

    def scores(self, trainee: Trainee, step: int) -> dict[str, dict[str, float]]:
        """The validation that is due at a step; every process makes it, so that none waits for another too long.

        Raises Interrupted when a signal asks to stop meanwhile.
        """
        if step not in self.steps or self.selection is None:
            return {}
        validation = self.selection.validation
        snapshot = snapshot_of(trainee, self.recipe, self.census, "a candidate")
        with torch.random.fork_rng([trainee.device] if trainee.device.type == "cuda" else []):
            scores, self.census = usable_scores(validation, snapshot, self.census, self._poll)
        return {"validation": scores} if scores else {}

    def write(self, trainee: Trainee, line: dict[str, Any]) -> None:
        """Write a line of statistics, with the doctor's look where one is due; keep the snapshot if its scores are the best."""
        if self.run is None:
            return
        self.lines.append(line)
        if self.doctor.due(line["step"]):
            line["health"] = self.doctor.look()
            line["verdicts"] = [str(verdict) for verdict in self._verdicts()]
        if self.selection and self.selection.improves(line.get("validation", {})):
            rule = f"{self.selection.validation.rule}, {self.selection.best:.6g}"
            snapshot_of(trainee, self.recipe, self.census, rule).save(self.run.best)
        self.run.add_stats(line)  # last: a line on record has its snapshot too

    def _verdicts(self) -> list[Verdict]:
        """What is wrong by now; each thing is a warning once."""
        verdicts = diagnose(self.lines, self.recipe.to_dict())
        for verdict in verdicts:
            if (verdict.problem, verdict.where) not in self.warned:
                log.warning("%s", verdict)
        self.warned |= {(verdict.problem, verdict.where) for verdict in verdicts}
        return verdicts

    def _poll(self) -> None:
        if self.interrupts.signum:
            raise Interrupted("stopped while validating; run the same command to go on", self.interrupts.signum)


def snapshot_of(trainee: Trainee, recipe: Recipe, census: Census, selection: str) -> Snapshot:
    """The translators as they are now; ``selection`` says in words by what rule they were chosen."""
    size = 0 if recipe.data.resize == "none" else recipe.data.crop_size
    about = {"recipe": recipe.to_dict(), "images": trainee.images, "selection": selection}
    return Snapshot(trainee.translators(), census.a, census.b, size, recipe.method.mode, about)

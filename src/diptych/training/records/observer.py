"""What is written down while a training goes on: losses, health and validation scores, and the best snapshot so far."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diptych.choices import OnSaveError
from diptych.errors import Interrupted
from diptych.methods import Batch
from diptych.recipe_files import without_paths
from diptych.snapshot import Snapshot
from diptych.training.distributed import highest_flag
from diptych.training.execution.speedup import Speedup
from diptych.training.health.diagnosis import Verdict, diagnose
from diptych.training.health.doctor import Doctor
from diptych.training.job import Job, Schedule, evenly_spaced
from diptych.training.progress import Progress, Watch
from diptych.training.random_state import preserved_random_state
from diptych.training.records.best import BestScore, Validation, usable_scores
from diptych.training.records.loggers import Logger, numbers_of
from diptych.training.signals import Interrupts
from diptych.training.storage import tolerated
from diptych.training.trainee import Trainee

log = logging.getLogger(__name__)
GLANCE = 15.0  # seconds between two reports of losses that are not written down: reading them waits for the device


class Observer:
    """Writes one line of statistics for every ``log_every`` steps, every look of the doctor, every validation, and the last step.

    What is due at a step depends on the step alone, so that a resumed run writes the same lines as an uninterrupted one. All
    processes must observe the same steps; only the first one, which has the run folder, writes.
    """

    def __init__(
        self,
        job: Job,
        trainee: Trainee,
        schedule: Schedule,
        interrupts: Interrupts,
        *,
        validation: Validation | None,
        num_validations: int,
        log_every: int,
        watch: Watch,
        patience: int = 0,
        loggers: Sequence[Logger] = (),
        on_save_error: OnSaveError = "stop",
    ) -> None:
        self.job, self.trainee, self.schedule, self.interrupts = job, trainee, schedule, interrupts
        self.log_every, self.watch = log_every, watch
        self.patience, self.loggers, self.on_save_error = patience, loggers, on_save_error
        self.doctor = Doctor(trainee.method, job.recipe, job.census, job.device)
        self.lines = job.run.lines() if job.run else []
        validates = validation is not None and job.census.val is not None
        self.best = BestScore(validation, self.lines) if validation and validates else None
        if patience and self.best is None and job.run:
            log.warning("nothing can end this training early: no images validate it; hold some out, or add a val folder")
        self.validation_steps = evenly_spaced(num_validations, schedule.steps) if validates else set()
        self.warned: set[tuple[str, str]] = set()
        self.speedup: Speedup | None = None
        self._glanced: float | None = None
        self._began = (0.0, 0)
        self._start_clock()

    def due(self, step: int) -> bool:
        """Whether this step gets a line of statistics."""
        regular = step % self.log_every == 0 or step == self.schedule.steps
        return regular or step in self.validation_steps or self.doctor.due(step)

    def has_line(self, step: int) -> bool:
        """Whether a step needs no line, because it has one already or is before the first; only the first process knows."""
        return step == 0 or bool(self.lines and self.lines[-1]["step"] >= step)

    def measure_speedup(self, batch: Batch) -> None:
        """Measure once how fast a single process trains, where several do, so that lines can say whether they are worth it."""
        if self.job.world.size > 1 and self.speedup is None:
            self.speedup = Speedup(self.trainee, batch)
            self._start_clock()

    def tick(self, step: int) -> None:
        """Report a step that may have no line of statistics, with the losses of the last steps now and then."""
        if not self.job.world.first:
            return
        now, images = time.monotonic(), self.trainee.images
        if self._glanced is None:
            self._began, self._glanced = (now, images), now
        losses = None
        if now - self._glanced >= GLANCE and not self.due(step):  # whose losses observe reports
            self._glanced, losses = now, self.trainee.stats.peek()
        seconds, trained = now - self._began[0], images - self._began[1]
        speed = trained / seconds if seconds > 0 else 0.0
        epoch = self.schedule.epoch_at(max(0, images - self.job.recipe.train.batch_size)) + 1
        self.watch(Progress("training", step, self.schedule.steps, epoch, speed, losses))

    def observe(self, step: int) -> None:
        """Write the line of a step: mean losses since the last line, speed, and validation and health where they are due.

        Raises Interrupted in all processes when a signal arrives during the validation of one. Nothing is written then, and the
        losses are kept.
        """
        scores = self._validate(step)
        losses = self.trainee.stats.read(self.job.world)
        images, config = self.trainee.images, self.job.recipe.train
        speed = (images - self._clock_images) / (time.monotonic() - self._clock)
        self._start_clock()
        before = images - config.batch_size
        epoch = self.schedule.epoch_at(before) + 1
        position = {"step": step, "images": images, "epoch": epoch, "lr": self.schedule.lr_at(before)}
        position |= {"lr_d": self.schedule.lr_d_at(before)} if config.lr_d else {}
        pace = {"images_s": round(speed, 3)} | (self.speedup.of(speed) if self.speedup else {})
        self._write(position | {"losses": losses} | pace | scores)
        self.watch(Progress("training", step, self.schedule.steps, epoch, speed, losses))

    @property
    def exhausted(self) -> bool:
        """Whether ``patience`` validations in a row brought no better score; only the first process knows."""
        return bool(self.patience and self.best) and self._stale() >= self.patience

    @property
    def why_exhausted(self) -> str:
        """In words why the training ends early."""
        assert self.best is not None, "only validations exhaust patience"
        rule, stale = self.best.validation.rule, self._stale()
        number = f"{stale} validation{'s' if stale > 1 else ''}"
        return f"no better score in {number} in a row ({rule}, {self.best.value:.4g}, is the best snapshot)"

    def _stale(self) -> int:
        """The number of validations since the best one."""
        assert self.best is not None, "there are no validations without a score"
        best, stale = BestScore(self.best.validation, ()), 0
        for line in self.lines:
            if "validation" in line:
                stale = 0 if best.improves(line["validation"]) else stale + 1
        return stale

    def _start_clock(self) -> None:
        """Count time and images for the speed from here on."""
        self._clock, self._clock_images = time.monotonic(), self.trainee.images

    def _validate(self, step: int) -> dict[str, dict[str, float]]:
        """The validation scores that are due at a step; every process computes them, so that none waits long for another."""
        if step not in self.validation_steps or self.best is None:
            return {}
        candidate = snapshot_of(self.trainee, self.job, "a candidate")
        device = self.job.device
        scores: dict[str, float] = {}
        census, signum = self.job.census, 0
        with preserved_random_state(device):
            try:
                scores, census = usable_scores(self.best.validation, candidate, self.job.census, self._poll)
            except Interrupted as stopped:
                signum = stopped.exit_code - 128
        signum = highest_flag(signum, self.job.world, device)  # a signal to one process stops them all
        if signum:
            raise Interrupted("stopped while validating; run the same command to go on", signum)
        self.job = replace(self.job, census=census)
        return {"validation": scores} if scores else {}

    def _write(self, line: dict[str, Any]) -> None:
        """Write a line of statistics, with the doctor's look where one is due; keep the snapshot if its scores are the best."""
        if self.job.run is None:
            return
        self.lines.append(line)
        if self.doctor.due(line["step"]):
            line["health"] = self.doctor.look()
            line["verdicts"] = [str(verdict) for verdict in self._verdicts()]
        if self.best and self.best.improves(line.get("validation", {})):
            rule = f"{self.best.validation.rule}, {self.best.value:.6g}"
            with tolerated(self.on_save_error):
                snapshot_of(self.trainee, self.job, rule).save(self.job.run.best)
        if self.exhausted:
            line["early_stop"] = self.patience
        for logger in self.loggers:
            logger.line(line["step"], numbers_of(line))
        with tolerated(self.on_save_error):
            self.job.run.add_stats(line)  # comes last, so that the snapshot of a written line exists

    def _verdicts(self) -> list[Verdict]:
        """What is wrong by now; each problem is logged as a warning once."""
        verdicts = diagnose(self.lines, self.job.recipe.to_dict())
        for verdict in verdicts:
            if (verdict.problem, verdict.where) not in self.warned:
                log.warning("%s", verdict)
        self.warned |= {(verdict.problem, verdict.where) for verdict in verdicts}
        return verdicts

    def _poll(self) -> None:
        if self.interrupts.signum:
            raise Interrupted("a signal asked to stop", self.interrupts.signum)


def snapshot_of(trainee: Trainee, job: Job, selection: str) -> Snapshot:
    """The translators as they are now; ``selection`` says in words why this snapshot was kept."""
    recipe, census = job.recipe, job.census
    size = 0 if recipe.data.resize == "none" else recipe.data.crop_size
    about = {"recipe": without_paths(recipe.to_dict()), "images": trainee.images, "selection": selection}
    return Snapshot(trainee.translators(), census.a, census.b, size, recipe.method.mode, about)

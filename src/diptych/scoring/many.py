"""Many trainings one after another or side by side, each in a run folder of its own, interrupted and resumed as one."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch

from diptych.errors import DiptychError, Interrupted, TrainingError
from diptych.recipe import Recipe
from diptych.training.loop import train
from diptych.training.progress import Progress, Watch
from diptych.training.signals import catch_interrupts

TRAINING: dict[str, Any] = {"num_previews": 2}  # what train gets besides recipe, folder and device


class Trial(Protocol):
    """One training of many: what people call it, its recipe, and its run folder."""

    @property
    def name(self) -> str: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def folder(self) -> Path: ...


def devices_of(name: str, jobs: int) -> list[str]:
    """A device for each training that runs at a time: every CUDA device, or one.

    Several ``jobs`` share one device, as ``cpu#0``, ``cpu#1`` ...; of several CUDA devices that many are used, and all for 0.
    """
    if name == "auto" and torch.cuda.device_count() > 1:
        count = torch.cuda.device_count()
        return [f"cuda:{index}" for index in range(min(jobs, count) if jobs else count)]
    return [f"{name}#{index}" for index in range(jobs)] if jobs > 1 else [name]


def train_all(
    trials: Sequence[Trial],
    devices: Sequence[str],
    *,
    watch: Callable[[str], Watch],
    options: dict[str, Any] = TRAINING,
    command: str = "ablate",
) -> None:
    """Train all trials. Complete ones return at once and interrupted ones go on; several devices work side by side.

    ``devices`` are names as pick_device takes them; ``cpu#0``, ``cpu#1`` ... share the processor. ``options`` go to train.
    ``watch`` gives the Watch of a trial by its name, and errors begin with ``command``. Raises what a training raises;
    Interrupted once all are saved.
    """
    if len(devices) == 1:
        for trial in trials:
            train(trial.recipe, trial.folder, device=devices[0], watch=watch(trial.name), **options)
        return
    waiting, running, failed = list(trials), dict[str, _Worker](), list[str]()
    with catch_interrupts() as interrupts:
        while running or (waiting and not failed and not interrupts.signum):
            for device in devices:
                if device not in running and waiting and not failed and not interrupts.signum:
                    running[device] = _Worker(waiting.pop(0), device, len(devices), options)
            if interrupts.signum:
                for worker in running.values():
                    worker.stop()
            time.sleep(0.2)
            for device, worker in list(running.items()):
                if not worker.process.is_alive():
                    del running[device]
                    if (problem := worker.problem()) and not interrupts.signum:
                        failed.append(f"{worker.trial.name}: {problem}")
                    watch(worker.trial.name)(Progress("trained", len(trials) - len(waiting) - len(running), len(trials)))
    if failed:
        raise TrainingError(f"{command}: {'; '.join(failed)}; mend it and run the same command to go on")
    if interrupts.signum:
        raise Interrupted(f"{command}: stopped and saved; run the same command to go on", interrupts.signum)


class _Worker:
    """A process that trains one trial on one device, or on its share of the processor's cores."""

    def __init__(self, trial: Trial, device: str, sharing: int, options: dict[str, Any]) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.trial, self.told = trial, False
        self.answer, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_train_alone, args=(trial, device, sharing, options, theirs))
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        """Ask it once to save and end; a second signal would end it unsaved."""
        if not self.told:
            self.process.terminate()
        self.told = True

    def problem(self) -> str:
        """Why it failed, in one line; nothing when it did not."""
        try:
            return str(self.answer.recv())
        except EOFError:
            return f"its process ended with exit code {self.process.exitcode}"


def _train_alone(trial: Trial, device: str, sharing: int, options: dict[str, Any], answer: Connection) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C on the terminal is the parent's to answer, which tells each worker once
    logging.basicConfig(level=logging.WARNING, format=f"{trial.name}: %(message)s")
    if device.startswith("cpu"):
        torch.set_num_threads(max(1, torch.get_num_threads() // sharing))
    try:
        train(trial.recipe, trial.folder, device=device.partition("#")[0], **options)
    except DiptychError as error:
        answer.send(str(error))
    else:
        answer.send("")


def prefixed(name: str, watch: Watch) -> Watch:
    """A Watch that puts the name of a trial before the name of its task. Previews are no task."""
    return lambda step: watch(step if step.task == "preview" else replace(step, task=f"{name}: {step.task}"))

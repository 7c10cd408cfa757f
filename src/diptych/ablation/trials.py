"""Train every variant with every seed under one budget, each in a run folder of its own, and score them alike."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from diptych.ablation.variants import VARIANTS, Variant, recipe_of
from diptych.data.folders import Split
from diptych.errors import ConfigError, DiptychError, Interrupted, TrainingError
from diptych.evaluation.evaluate import carry_out
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.seen import HELD_OUT, SeenBefore
from diptych.recipe import Recipe
from diptych.run import read_census, write_json
from diptych.scoring.snapshots import Loaded, about_snapshot
from diptych.scoring.task import Task
from diptych.snapshot import Snapshot
from diptych.training.loop import train
from diptych.training.progress import Progress, Watch
from diptych.training.signals import catch_interrupts

TRAINING: dict[str, Any] = {"num_previews": 2}  # what train gets besides recipe, folder and device


@dataclass(frozen=True)
class Trial:
    """One variant with one seed, in its run folder."""

    variant: Variant
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """The name for people: ``l1-cgan, seed 2``."""
        return f"{self.variant.name}, seed {self.seed}"


def trials_of(base: Recipe, names: Sequence[str], num_seeds: int, out: Path) -> list[Trial]:
    """All trials, seed by seed, so that the first table can be read early; no names means all variants of the base's method.

    Raises ConfigError for a method without ablations, or an unknown variant.
    """
    method = base.method.name
    if method not in VARIANTS:
        raise ConfigError(f"ablate: no variants are known of {method}; choose one of {', '.join(VARIANTS)}")
    known = {variant.name: variant for variant in VARIANTS[method]}
    for name in names:
        if name not in known:
            raise ConfigError(f"ablate: {method} has no variant {name!r}; choose among {', '.join(known)}")
    chosen = [known[name] for name in names] if names else list(known.values())
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    return [
        Trial(variant, seed, recipe_of(base, variant, seed), out / variant.name / f"seed-{seed}")
        for seed in seeds
        for variant in chosen
    ]


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
) -> None:
    """Train all trials. Complete ones return at once and interrupted ones go on; several devices work side by side.

    ``devices`` are names as pick_device takes them; ``cpu#0``, ``cpu#1`` ... share the processor. ``options`` go to train.
    ``watch`` gives the Watch of a trial by its name. Raises what a training raises; Interrupted once all are saved.
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
        raise TrainingError(f"ablate: {'; '.join(failed)}; mend it and run the same command to go on")
    if interrupts.signum:
        raise Interrupted("ablate: stopped and saved; run the same command to go on", interrupts.signum)


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


def score(trial: Trial, split: Split, metrics: Sequence[str] | None, tools: Instruments) -> dict[str, Any]:
    """The evaluation of a trained trial as JSON; read from its folder where one of the same identity was kept.

    The identity is that of the whole plan (see diptych.evaluation.plan): snapshot, test images, metrics and all that measures.
    """
    path, snapshot_path = trial.folder / "evaluation.json", trial.folder / "snapshot.safetensors"
    census = read_census(trial.folder)
    snapshot = Snapshot.load(snapshot_path)
    loaded = Loaded.on(snapshot, tools.device)
    subjects = loaded.subjects(split, trial.recipe.data, census.split)
    about = {"snapshot": about_snapshot(snapshot_path, snapshot)}
    # Both, as what is held out differs between seeds, and all trials must be scored on the same images.
    seen = [SeenBefore(census.split, "trained on"), SeenBefore(census.val, HELD_OUT)]
    task = Task(subjects, "test", about, seen, loaded.applied, loaded.batch_size)
    plan = task.plan(metrics, tools)
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if plan.about["identity"] and kept.get("about", {}).get("identity") == plan.about["identity"]:
            return kept
    found = carry_out(plan).to_json()
    write_json(path, found)
    return found

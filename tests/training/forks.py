"""Processes that tests may kill: forked by a server that has imported torch and computed nothing, so that each starts at once."""

from __future__ import annotations

import builtins
import io
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diptych.errors import DiptychError, LockedError
from diptych.methods import Batch, method_config
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.run import Run
from diptych.training import waiting
from diptych.training.distributed import highest_flag, join_processes
from diptych.training.loop import train
from diptych.training.records.best import Validation
from diptych.training.signals import catch_interrupts
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from diptych.trees import write_tree

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch._dynamo", "diptych.training.loop", "diptych.data.decoders"])  # what is slow to import


def start(function: Callable[..., Any], *args: Any) -> multiprocessing.context.ForkServerProcess:
    """A process that runs a function of an importable module and exits with what it returns."""
    process = CONTEXT.Process(target=_run, args=(function, args))
    process.start()
    return process


def _run(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # loader workers start as they do for users on Linux
    sys.exit(function(*args))


# --- training ---


def train_quietly(recipe: dict[str, Any], out: str, log: str, options: dict[str, Any]) -> int:
    """Train as the command does, with the notes in a file; returns the exit code."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the training listens, Ctrl-C ends the process as SIGTERM does
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which is ignored where the tests run under nohup
    try:
        train(Recipe.from_dict(recipe), out, device="cpu", **options)
    except DiptychError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


Case = tuple[str, dict[str, Any]]


def train_as_rank(rank: int, size: int, port: int, cases: list[Case], crop: int, steps: int, folder: str) -> int:
    """Train each case in float64 as one of several processes, each on its share of the same batches, and keep what came out."""
    before = dict(os.environ)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with join_processes(torch.device("cpu")) as here:
            for index, (name, settings) in enumerate(cases):
                torch.manual_seed(7)
                config = method_config(name)(**settings)
                method = config.build(Domain(), Domain(), crop).double()
                recipe = Recipe(config, train=TrainConfig(precision="fp32", ema=0.9))
                trainee = Trainee(method, recipe, torch.device("cpu"), here)
                random = torch.Generator().manual_seed(3)
                for _ in range(steps):
                    sides = (torch.rand(4, 3, crop, crop, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab")
                    train_step(trainee, Batch(*(side.chunk(size)[rank] for side in sides)))
                kept = {"method": dict(method.named_parameters()), "ema": trainee.ema.state_dict()}
                kept["losses"] = trainee.stats.read(here)
                write_tree(Path(folder) / f"case-{index}-rank-{rank}-of-{size}.safetensors", kept)
    finally:
        os.environ.clear()
        os.environ |= before
    return 0


def train_with_another(rank: int, port: int, recipe: dict[str, Any], out: str, signalled: tuple[int, int] | None) -> int:
    """Train as one of two processes that validate four times; return the exit code.

    ``signalled`` is a rank, and the images at which it is told to stop. Notes go to a file for each rank beside the run folder.
    """

    def score(snapshot: Any, census: Any, poll: Callable[[], None]) -> dict[str, float]:
        if signalled == (rank, snapshot.about["images"]):
            os.kill(os.getpid(), signal.SIGTERM)
        poll()
        return {"lpips": 1.0 / snapshot.about["images"]}

    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    options = {"workers": 0, "log_every": 2, "save_every": 1e9, "num_previews": 0, "num_validations": 4}
    return train_quietly(recipe, out, f"{out}-{rank}.log", options | {"validation": Validation(score, "lpips", False)})


def answer_to_a_signal(rank: int, port: int, waits: bool, ready: Any) -> int:
    """Rank 0 of two, which waits for rank 1 in vain or works for two seconds, as a save does; rank 1 does nothing.

    ``ready`` is set by rank 0 when a signal may come. Half a second after it rank 0 is to leave, if it waits.
    """
    waiting.PATIENCE, waiting.STUCK = 0.5, 0.1
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with catch_interrupts() as interrupts, join_processes(torch.device("cpu")) as world:
        if rank:
            time.sleep(60)
        ready.set()
        if waits:
            highest_flag(0, world, torch.device("cpu"))
        end = time.monotonic() + 60
        while not interrupts.signum and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(2)
        os._exit(7)  # not by the barrier at the end, in which rank 1 would be missed


# --- saving ---


def _save_atomic(folder: Path, version: int) -> None:
    write_tree(folder / "snapshot.safetensors", {"version": version, "weights": torch.full((40_000,), float(version))})


def _save_run(folder: Path, version: int) -> None:
    """As a training does: states 1 and 2 are there, 3 is added and 1 dropped, and the remains of an earlier kill swept away."""
    if version == 0:
        (folder / ".state-000000009.safetensors.1.tmp").write_bytes(b"torn")
    for step in (1, 2) if version == 0 else (3,):
        Run(folder).save_state(step, {"weights": torch.full((40_000,), float(step))})


def _save_naively(folder: Path, version: int) -> None:
    """What must not be done: the old file is gone before the new one is whole."""
    data = (folder / "prepared").read_bytes()
    with open(folder / "snapshot.safetensors", "wb") as file:
        file.write(data[:70_000])
        file.write(data[70_000:])


SAVES: dict[str, Callable[[Path, int], None]] = {"atomic": _save_atomic, "run": _save_run, "naive": _save_naively}


def save_when_told(folder: str, how: str, tell: str, die_at: int | None) -> int:
    """Save version 1 in a folder once the file ``tell`` is there; with die_at, die instead of making that call to the system."""
    if die_at is not None:
        _die_at(die_at)
    while not os.path.exists(tell):
        time.sleep(0.002)
    SAVES[how](Path(folder), 1)
    os._exit(0)


def _die_at(step: int) -> None:
    """Die in place of the step-th opening for writing, write, fsync, replace or unlink."""
    left = [step]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def call_or_die(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(99)
            return call(*args, **kwargs)

        return call_or_die

    class Written(io.FileIO):
        def write(self, data: Any) -> int:
            half = len(data) // 2
            for part in (data[:half], data[half:]):
                counted(super().write)(part)
            return len(data)

    real_open = builtins.open

    def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "w" not in mode:
            return real_open(path, mode, *args, **kwargs)
        counted(lambda: None)()
        return Written(path, "w")

    builtins.open = opened
    os.fsync, os.replace, os.unlink = counted(os.fsync), counted(os.replace), counted(os.unlink)


# --- locking ---


def race(folder: str, rounds: int, barrier: Any, results: Any) -> int:
    """Try to open the same run as somebody else, round after round; what came of it goes into a queue."""
    recipe = Recipe.create("pix2pix")
    for k in range(rounds):
        barrier.wait(60)
        try:
            with Run.open(Path(folder) / str(k), recipe):
                results.put((k, "won", os.getpid()))
                barrier.wait(60)  # held until the other has tried
        except LockedError as error:
            results.put((k, str(error), error.exit_code))
            barrier.wait(60)
    return 0


def hold(folder: str, children: int, ready: Any) -> int:
    """Hold a run's lock for ever, with child processes as the loader's workers are."""
    with Run.open(Path(folder), Recipe.create("pix2pix")):
        for _ in range(children):
            multiprocessing.Process(target=time.sleep, args=(60,), daemon=True).start()
        ready.set()
        time.sleep(60)
    return 0

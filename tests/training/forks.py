"""Processes that tests may kill: forked by a server that has imported torch and computed nothing, so that each starts at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diptych.errors import DiptychError
from diptych.files import write_tree
from diptych.methods import Batch, method_config
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.training.distributed import world
from diptych.training.loop import train, train_step
from diptych.training.trainee import Trainee

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "diptych.training.loop", "diptych.data.decoders"]
)  # what takes seconds to import


def start(function: Callable[..., Any], *args: Any) -> multiprocessing.context.ForkServerProcess:
    """A process that runs a function of an importable module and exits with what it returns."""
    process = CONTEXT.Process(target=_run, args=(function, args))
    process.start()
    return process


def _run(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # loader workers start as they do for users on Linux
    sys.exit(function(*args))


def train_quietly(recipe: dict[str, Any], out: str, log: str, options: dict[str, Any]) -> int:
    """Train as the command does, with the notes in a file; returns the exit code."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(Recipe.from_dict(recipe), out, device="cpu", **options)
    except DiptychError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def train_as_rank(
    rank: int, size: int, port: int, cases: list[tuple[str, dict[str, Any]]], crop: int, steps: int, folder: str
) -> int:
    """Train each case in float64 as one of several processes, each on its share of the same batches, and keep what came out."""
    before = dict(os.environ)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with world(torch.device("cpu")) as here:
            for index, (name, settings) in enumerate(cases):
                torch.manual_seed(7)
                config = method_config(name)(**settings)
                method = config.build(Domain(), Domain(), crop).double()
                trainee = Trainee(method, Recipe(config, train=TrainConfig(precision="fp32", ema=0.9)), torch.device("cpu"), here)
                random = torch.Generator().manual_seed(3)
                for _ in range(steps):
                    sides = (torch.rand(4, 3, crop, crop, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab")
                    train_step(trainee, Batch(*(side.chunk(size)[rank] for side in sides)))
                kept = {
                    "method": dict(method.named_parameters()),
                    "ema": trainee.ema.state_dict(),
                    "losses": trainee.stats.read(here),
                }
                write_tree(Path(folder) / f"case-{index}-rank-{rank}-of-{size}.safetensors", kept)
    finally:
        os.environ.clear()
        os.environ |= before
    return 0

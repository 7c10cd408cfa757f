"""Folders that two processes write, that a wrong clock dates, and whose translation is killed."""

import hashlib
import logging
import os
import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from diptych.cli import main
from diptych.recipe import Recipe
from diptych.run import Run
from tests.torture.tiny import trained
from tests.training.forks import CONTEXT, race, start


def raced(chance: Random, folder: Path) -> str | None:
    """Two processes open one folder at the same moment; one wins, and the other names it."""
    barrier, results = CONTEXT.Barrier(2), CONTEXT.Queue()
    both = [start(race, str(folder), 1, barrier, results) for _ in range(2)]
    found = sorted((results.get(timeout=120) for _ in both), key=lambda result: result[1] == "won")
    for process in both:
        process.join(60)
    (_, message, code), (_, won, pid) = found
    if won != "won" or code != 4 or f"pid {pid} on " not in message:
        return f"{found}"
    Recipe.load(folder / "0" / "recipe.json")
    return None


def clock(chance: Random, folder: Path) -> str | None:
    """Times of files from any year, in any order, and a clock that jumps while states are saved."""
    run, steps = Run(folder), sorted(chance.sample(range(1, 10**6), 4))
    real = time.time
    try:
        for step in steps:
            shift = chance.uniform(-3e8, 3e8)
            time.time = lambda shift=shift: real() + shift
            run.save_state(step, {"weights": torch.full((3,), float(step))})
            for path in run.states():
                when = chance.uniform(0, 4e9)
                os.utime(path, (when, when))
    finally:
        time.time = real
    state, problems = run.load_state()
    return None if state["step"] == steps[-1] and len(run.states()) == 2 and not problems else f"{steps}: {problems}"


def translate_quietly(words: list[str], log: str) -> int:
    """The command in a process of its own."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.disable(logging.NOTSET)
    return main(words)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.png")}


def translated(chance: Random, folder: Path, images: int = 60, kills: int = 3) -> str | None:
    """Killed again and again: no partial file at any time, and in the end what an undisturbed run writes."""
    inputs, noise = folder / "in", np.random.default_rng(chance.randrange(1000))
    inputs.mkdir()
    for k in range(images):
        Image.fromarray(noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(inputs / f"{k}.png")
    how = ["--backend", "torch", "--precision", "fp32", "--batch", "1", "--device", "cpu"]
    snapshot = str(trained()[1] / "snapshot.safetensors")
    whole, torn = (["translate", snapshot, str(inputs), "--out", str(folder / name), *how] for name in ("whole", "torn"))
    process = start(translate_quietly, whole, str(folder / "log"))
    process.join(300)
    expected = contents(folder / "whole")
    if len(expected) != images:
        return (folder / "log").read_text()[-500:]
    for _ in range(kills):
        process, target = start(translate_quietly, torn, str(folder / "log")), chance.randrange(images)
        while process.exitcode is None and len(contents(folder / "torn")) < target:
            time.sleep(0.002)
        process.kill()
        process.join()
        if wrong := [name for name, digest in contents(folder / "torn").items() if digest != expected[name]]:
            return f"partial: {wrong}"
    for path in (folder / "torn").glob(".*.tmp"):
        os.utime(path, (0, 0))  # as if it were found another day
    process = start(translate_quietly, torn, str(folder / "log"))
    process.join(300)
    left = [path.name for path in (folder / "torn").iterdir() if path.suffix == ".tmp"]
    if process.exitcode or contents(folder / "torn") != expected or left:
        return f"exit code {process.exitcode}, left {left}: {(folder / 'log').read_text()[-500:]}"
    return None

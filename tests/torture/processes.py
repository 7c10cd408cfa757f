"""Trainings in processes of their own: killed, asked to stop, and several of them under torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import torch

from diptych.run import Run
from diptych.trees import read_tree
from tests.contract.test_methods import assert_equal_trees
from tests.torture.tiny import lines_of, recipe, trained
from tests.training.forks import start, train_quietly

OPTIONS = {"workers": 0, "log_every": 2, "save_every": 0.0, "num_previews": 0}
LONG = {"epochs": 10}


@cache
def undisturbed() -> tuple[Path, Path]:
    root = Path(mkdtemp(prefix="torture-long-"))
    once(root / "run").join(300)
    return trained()[0], root / "run"


def once(out: Path, **options):
    return start(train_quietly, recipe(trained()[0], **LONG).to_dict(), str(out), f"{out}.log", OPTIONS | options)


def differs(out: Path) -> str | None:
    """How a run differs from an undisturbed one: in weights, optimizers, random state or losses."""
    expected = undisturbed()[1]
    try:
        for name in ("snapshot.safetensors", Run(expected).states()[0].name):
            assert_equal_trees(read_tree(out / name), read_tree(expected / name))
        losses = [[line["losses"] for line in lines_of(run)] for run in (out, expected)]
        assert losses[0] == losses[1], "other losses"
    except Exception as error:
        return f"{error!r}; {Path(f'{out}.log').read_text()[-500:]}"
    return None


def killed(chance: Random, folder: Path) -> str | None:
    out = folder / "run"
    undisturbed()
    for _ in range(chance.randrange(2, 7)):
        process, lines = once(out), chance.randrange(20)
        deadline = time.monotonic() + 120
        while process.exitcode is None and len(Run(out).lines()) < lines and time.monotonic() < deadline:
            time.sleep(chance.uniform(0, 0.01))
        process.kill()
        process.join()
    once(out).join(300)
    return differs(out)


def asked_to_stop(chance: Random, folder: Path) -> str | None:
    out, signum = folder / "run", chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
    undisturbed()
    process, lines = once(out, save_every=1e9), chance.randrange(20)
    lock, deadline = out / ".lock", time.monotonic() + 120
    while process.exitcode is None and time.monotonic() < deadline:
        listens = lock.exists() and f"pid {process.pid} on" in lock.read_text() and (out / "census.json").exists()
        if listens and len(Run(out).lines()) >= lines:
            break
        time.sleep(chance.uniform(0, 0.005))
    began = time.monotonic()
    if process.exitcode is None:
        os.kill(process.pid, signum)
    process.join(60)
    lost = Run(out).lines() and not Run(out).states()  # before the first step there is nothing to save
    if process.exitcode not in (0, 128 + signum) or time.monotonic() - began > 10 or lost:
        return f"{signal.Signals(signum).name}: exit code {process.exitcode} after {time.monotonic() - began:.1f} s"
    once(out).join(300)
    return differs(out)


def torchrun(out: Path, images: Path) -> subprocess.Popen:
    words = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "3", "-m", "diptych", "train", out.parent / "recipe.json"]
    (out.parent / "recipe.json").write_text(json.dumps(recipe(images, epochs=8, batch_size=2).to_dict()))
    options = ["--out", out, "--previews", "0", "--validations", "0", "--no-test", "--save-every", "0", "--log-every", "2"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *map(str, words),
            *map(str, options),
            "--cache",
            "off",
            "--device",
            "cpu",
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=open(f"{out}.log", "w"),
        stderr=subprocess.STDOUT,
    )


@cache
def undisturbed_pair() -> Path:
    root = Path(mkdtemp(prefix="torture-pair-"))
    torchrun(root / "run", trained()[0]).wait(600)
    return root / "run"


def ranks_of(process: subprocess.Popen) -> list[int]:
    """The processes that torchrun started, by the list that Linux keeps of its children."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:
        return []


def rank_lost(chance: Random, folder: Path) -> str | None:
    out, expected = folder / "run", undisturbed_pair()
    process, signum = torchrun(out, trained()[0]), chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
    lines, deadline = chance.randrange(1, 8), time.monotonic() + 300
    while process.poll() is None and len(Run(out).lines()) < lines and time.monotonic() < deadline:
        time.sleep(0.02)
    ranks = ranks_of(process)
    if len(ranks) == 2:
        os.kill(chance.choice(ranks), signum)
    code = process.wait(600)
    log, what = Path(f"{out}.log").read_text(), f"{signal.Signals(signum).name} after {lines} lines"
    if code:
        return f"{what}: exit code {code}: {log[-800:]}"
    for rank in ranks:
        if Path(f"/proc/{rank}").exists():
            return f"{what}: process {rank} was left"
    found, whole = (read_tree(run / "snapshot.safetensors")["generators"] for run in (out, expected))
    same = all(torch.equal(a, b) for a, b in zip(*(t["a2b"]["weights"].values() for t in (found, whole)), strict=True))
    return None if same else f"{what}: other weights"

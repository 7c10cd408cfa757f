"""A disk that refuses, and memory that runs out."""

import errno
import os
import resource
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from unittest.mock import patch

import torch

from diptych.errors import OutOfMemory, StorageError
from diptych.run import Run
from diptych.training.loop import train
from diptych.trees import read_tree
from tests.torture.tiny import copy_of_run, lines_of, pictures, recipe, trained, tried

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EACCES)
CALLS = ("fsync", "replace", "chmod", "unlink", "mkdir", "scandir")


@contextmanager
def refusing(call: str, nth: int, code: int):
    """Let the n-th call of one kind fail, as a disk does; the calls after it work."""
    real, left = getattr(os, call), [nth]

    def refuse(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(code, os.strerror(code), str(args[0]))
        return real(*args, **kwargs)

    with patch.object(os, call, refuse):
        yield


@contextmanager
def small_files(most: int):
    """As after `ulimit -f`: no file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused(chance: Random, folder: Path) -> str | None:
    run = Run(copy_of_run(folder))
    before = {path.name: path.read_bytes() for path in run.states()}
    limit = chance.random() < 0.3
    call, nth, code = chance.choice(CALLS), chance.randrange(1, 5), chance.choice(CODES)
    what = "ulimit -f" if limit else f"{call} number {nth}, {errno.errorcode[code]}"
    with ExitStack() as stack:
        stack.enter_context(small_files(chance.randrange(1, 60) * 1000) if limit else refusing(call, nth, code))
        try:
            run.save_state(99, {"weights": torch.zeros(chance.randrange(20_000, 40_000))})
        except StorageError as error:
            if "\n" in str(error) or str(run.folder) not in str(error):
                return f"{what}: {error}"
        except OSError as error:  # which the command says in one line, with the path, and exit code 5
            if not error.filename or not error.strerror:
                return f"{what}: {error!r}"
    if left := [path.name for path in run.folder.glob(".*.tmp")]:
        return f"{what}: left {left}"
    kept = {path.name: path.read_bytes() for path in run.states()}
    if not any(kept.get(name) == data for name, data in before.items()):
        return f"{what}: no state of before is left"
    for path in run.states():
        read_tree(path)
    return None


def out_of_memory(chance: Random, folder: Path) -> str | None:
    """An allocation that fails at a random step ends in one line, keeps the states, and leaves a run that goes on."""
    images, run = pictures(folder / "images"), folder / "run"
    step, real, at = [0], torch.nn.functional.leaky_relu, chance.randrange(20, 60)

    def hungry(*args, **kwargs):
        step[0] += 1
        if step[0] == at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
        return real(*args, **kwargs)

    with patch("torch.nn.functional.leaky_relu", hungry):
        try:
            train(recipe(images), run, device="cpu", workers=0, save_every=0.0, num_previews=0, log_every=2)
        except OutOfMemory as error:
            if "\n" in str(error) or "crop" not in str(error):
                return str(error)
        else:
            return f"allocation {at} never came" if step[0] >= at else None
    message = tried(lambda: train(recipe(images), run, device="cpu", workers=0, save_every=0.0, num_previews=0, log_every=2))
    if message or lines_of(run)[-1]["losses"] != lines_of(trained()[1])[-1]["losses"]:
        return message or "went on otherwise"
    return None

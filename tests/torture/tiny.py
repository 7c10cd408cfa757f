"""A tiny training, its images, and commands run in this process: what most parts attack."""

import contextlib
import io
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from PIL import Image

from diptych.cli import main
from diptych.errors import DiptychError
from diptych.recipe import Recipe
from diptych.training.loop import train

SETTINGS = {
    "method": {"name": "pix2pix", "ngf": 2, "ndf": 2, "generator": "unet_5"},
    "train": {"epochs": 2, "decay_epochs": 0, "seed": 3, "precision": "fp32"},
}


def recipe(folder: Path, **changes) -> Recipe:
    values = {name: dict(part) for name, part in SETTINGS.items()}
    values["train"] |= changes
    return Recipe.from_dict(values | {"data": {"source": [str(folder)], "load_size": 36, "crop_size": 32}})


def pictures(folder: Path, count: int = 4) -> Path:
    noise = np.random.default_rng(0)
    for side in ("trainA", "trainB"):
        (folder / side).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(noise.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / side / f"{k}.png")
    return folder


@cache
def trained() -> tuple[Path, Path]:
    """The folder of the images and a run of 8 steps that is finished; copy it before changing it."""
    torch.set_num_threads(1)
    root = Path(mkdtemp(prefix="torture-tiny-"))
    images = pictures(root / "images")
    train(recipe(images), root / "run", device="cpu", workers=0, save_every=0.0, num_previews=0, log_every=2)
    return images, root / "run"


def copy_of_run(folder: Path) -> Path:
    shutil.copytree(trained()[1], folder / "run")
    return folder / "run"


def command(*words) -> tuple[int, str]:
    """The exit code of a command and what it said; an exception other than the house's own is raised."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([str(word) for word in words])
    return code, said.getvalue()


def one_line(words, code_and_text) -> str | None:
    """What is wrong with how a command ended: it must succeed, or say in one line what is wrong."""
    code, text = code_and_text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if code in (0, 1) or (code in (2, 3, 5, 6) and len(errors) == 1):
        return None
    return f"{words}: exit code {code}, {text[-500:]}"


def tried(function, *arguments) -> str:
    """The message of the house's own error that a call ends in; empty where it succeeds. Other exceptions are raised."""
    try:
        function(*arguments)
    except DiptychError as error:
        assert "\n" not in str(error), f"more than a line: {error}"  # noqa: PT017
        return str(error)
    return ""


def lines_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]

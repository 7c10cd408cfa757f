"""Tiny synthetic images, folders of them, and the settings that train on them in a second."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.cli import main

SHORT = ["--train.epochs", 1, "--train.decay_epochs", 0, "--train.precision", "fp32", "--previews", 1, "--device", "cpu"]
SMALL = ["--data.load_size", 34, "--data.crop_size", 32, "--method.ngf", 4, "--method.ndf", 4, "--method.num_layers", 1]
PIX2PIX = [*SHORT, *SMALL, "--method.generator", "unet_5"]
CYCLEGAN = [*SHORT, *SMALL, "--method.generator", "resnet_1"]


def diptych(*words: object) -> int:
    """The exit code of a command line, run in this process."""
    return main([str(word) for word in words])


def pixels(seed: int, height: int = 32, width: int = 32, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    """A coloured ramp with a bright block, (h, w, c), different for every seed; float32 lies in 0..1."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    unit = random.random(channels) * y[..., None] / height + random.random(channels) * x[..., None] / width
    unit[: height // 3, : width // 3] = random.random(channels) * 2
    return (unit / 2 * {"uint8": 255, "uint16": 4095, "float32": 1}[dtype]).astype(dtype)


def picture(path: Path, seed: int = 0, height: int = 32, width: int = 32, channels: int = 3) -> Path:
    """One 8-bit image file of gray or RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = pixels(seed, height, width, channels)
    Image.fromarray(array[..., 0] if channels == 1 else array).save(path)
    return path


def folder(path: Path, count: int = 2, *, seed: int = 0, height: int = 32, width: int = 32, channels: int = 3) -> Path:
    """A folder of PNGs 0.png, 1.png ..."""
    for i in range(count):
        picture(path / f"{i}.png", seed + i, height, width, channels)
    return path


def size_of(path: Path) -> tuple[str, int, int]:
    """Mode, height and width of a written image."""
    with Image.open(path) as image:
        return image.mode, image.height, image.width


def digest(path: Path) -> str:
    """The SHA-256 of a file: equal snapshots are equal bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

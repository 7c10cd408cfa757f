"""Statistics and previews for TensorBoard and Weights & Biases, beside the run's own files. Both packages are optional."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from PIL import Image

from diptych.choices import LoggerName
from diptych.extras import extra


class Logger(Protocol):
    """Receives every line of statistics and every preview of a training; ``close`` comes last."""

    def line(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take the numbers of a step, by names such as ``losses/G/l1``."""

    def picture(self, step: int, png: bytes) -> None:
        """Take a preview, as the bytes of a PNG."""

    def close(self) -> None:
        """Write what is left."""


def open_loggers(names: Sequence[LoggerName], folder: Path, recipe: Mapping[str, Any]) -> list[Logger]:
    """Open loggers for a run folder. Raises MissingExtraError where the package of one is not installed."""
    makers: dict[LoggerName, type[TensorBoard] | type[WeightsAndBiases]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
    return [makers[name](folder, recipe) for name in dict.fromkeys(names)]


def numbers_of(line: Mapping[str, Any]) -> dict[str, float]:
    """All finite numbers of a line of statistics by their path in it, such as ``validation/kid``; but not the step."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{key}": number for key, number in numbers_of(value).items()}
        elif name != "step" and isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return found


@final
class TensorBoard:
    """Event files in ``RUN/tensorboard``, for ``tensorboard --logdir runs``."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        extra("tensorboard", "tensorboard", "--log tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def line(self, step: int, numbers: Mapping[str, float]) -> None:
        """See Logger."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def picture(self, step: int, png: bytes) -> None:
        """See Logger."""
        self.writer.add_image("preview", _pixels(png), step, dataformats="HWC")

    def close(self) -> None:
        """See Logger."""
        self.writer.close()


@final
class WeightsAndBiases:
    """A run of Weights & Biases, named after the run folder; a training that is resumed goes on in the same one."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self.wandb = extra("wandb", "wandb", "--log wandb")
        identity = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.run: Any = self.wandb.init(
            project="diptych", name=folder.name, id=identity, resume="allow", dir=str(folder), config=dict(recipe)
        )

    def line(self, step: int, numbers: Mapping[str, float]) -> None:
        """See Logger."""
        self.run.log(dict(numbers), step=step)

    def picture(self, step: int, png: bytes) -> None:
        """See Logger."""
        self.run.log({"preview": self.wandb.Image(_pixels(png))}, step=step)

    def close(self) -> None:
        """See Logger."""
        self.run.finish()


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))

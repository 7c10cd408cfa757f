"""Choose what translates a job fastest within a stated error: backend, precision and batch, measured on its first images."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from diptych.data.datasets import read_as
from diptych.device import pick_precision
from diptych.errors import ConfigError, DataError, out_of_memory
from diptych.inference.backends import Backend, ComputingPrecision, installed
from diptych.inference.manifest import Job
from diptych.inference.translator import Translator, WorkingSize
from diptych.pixels import Domain

PREFERENCE: tuple[Backend, ...] = ("openvino", "onnx", "torch")  # jobs too small for a measurement take the last one
JUDGED_IMAGES = 2  # are compared with their translations by torch in fp32
BATCHES = {"cpu": (1, 4), "cuda": (1, 4, 16)}  # numbers of images at once that are tried
CALLS = {"cpu": 2, "cuda": 4}  # measurements of each, of which the fastest counts, since the first ones choose kernels
SMALL_JOB, SHORT_JOB = 16, 5.0  # images and seconds, below which measuring takes longer than it saves
BATCH_VALUES = 2**22  # numbers in a batch that was not asked for; more of them only take more memory

Pair = tuple[Backend, ComputingPrecision]


@dataclass(frozen=True)
class ChosenTranslator:
    """A translator, how many images it takes at once, and how many numbers these may hold together.

    ``error`` is its mean absolute difference to torch in fp32 over ``judged`` images, in 255ths of the range; None where it was
    not measured. ``allowed`` is the greatest error that was asked for.
    """

    translator: Translator
    batch: int = 1
    batch_values: int | None = None
    error: float | None = None
    judged: int = 0
    allowed: float | None = None

    def __str__(self) -> str:
        chosen = f"{self.translator.backend} {self.translator.precision}, batch {self.batch}"
        if self.error is None or (self.translator.backend, self.translator.precision) == ("torch", "fp32"):
            return chosen
        images = "1 image" if self.judged == 1 else f"the first {self.judged} images"
        above = "" if self.allowed is None or self.error <= self.allowed else f", above --max-error {self.allowed:g}"
        return f"{chosen}; mean difference to torch fp32 {self.error:.2f}/255 on {images}{above}"


def choose_translator(
    make: Callable[[Backend, ComputingPrecision], Translator],
    jobs: Sequence[Job],
    *,
    at: WorkingSize = "native",
    backend: Backend | Literal["auto"] = "auto",
    precision: ComputingPrecision | Literal["auto"] = "auto",
    batch: int | None = None,
    max_error: float = 1.0,
) -> ChosenTranslator:
    """Decide what is ``auto`` (for batch: None), from what is installed and what the hardware computes in.

    The fastest way in bf16 whose error (see `ChosenTranslator`) is at most ``max_error`` is taken, else the fastest such way in
    fp32, else the most exact one. Nothing is measured where everything is told, and for small jobs, which take torch in fp32
    unless told otherwise. Raises ConfigError when max_error is no number or negative.
    """
    if not max_error >= 0:
        raise ConfigError(f"--max-error must be at least 0, found {max_error:g}; the default is 1, of 255 levels")
    plain = make("torch", "fp32")
    if not jobs:
        return ChosenTranslator(plain)
    batch = 1 if plain.depends_on_batch else batch  # so that no image changes another
    values = None if batch else BATCH_VALUES
    tiers = candidates(plain, backend, precision)
    measured = _reference(plain, jobs, at) if sum(map(len, tiers)) > 1 or not batch else None
    if not measured:
        return ChosenTranslator(make(*tiers[-1][-1]), batch or 1, values)
    images, reference = measured
    sizes = [batch] if batch else _batches(plain.device, images)
    refused: list[tuple[float, ChosenTranslator]] = []
    for tier in tiers:
        found: list[tuple[float, ChosenTranslator]] = []
        for pair in tier:
            translator = plain if pair == ("torch", "fp32") else make(*pair)
            judged = _timed(translator, images[: len(reference)], 1)
            error = difference(judged[0], reference, plain.target) if judged else math.inf  # too little memory
            chosen = ChosenTranslator(translator, sizes[0], values, error, len(reference), max_error)
            if error <= max_error:
                found += _timed_batches(chosen, images, sizes)
            refused.append((math.inf if math.isnan(error) else error, chosen))
        if found:
            return min(found, key=lambda timed: timed[0])[1]
    return min(refused, key=lambda judged: judged[0])[1]


def agreed(
    computed_by: Counter[Pair | None],
    backend: Backend | Literal["auto"],
    precision: ComputingPrecision | Literal["auto"],
    *,
    shared: bool,
) -> tuple[Backend | Literal["auto"], ComputingPrecision | Literal["auto"]]:
    """Decide what is ``auto`` where a measurement could give another answer than it gave for other results of the same folder.

    What made most of the earlier results (see `Manifest.computed_by`) is taken, if it agrees with what is told. Where there are
    none, the processes that have a share each, and cannot know of each other's measurements, take torch and fp32. Otherwise
    ``auto`` stays.
    """
    for pair, _ in computed_by.most_common():
        if pair and backend in ("auto", pair[0]) and precision in ("auto", pair[1]):
            return pair
    if not shared:
        return backend, precision
    return "torch" if backend == "auto" else backend, "fp32" if precision == "auto" else precision


def candidates(
    plain: Translator, backend: Backend | Literal["auto"], precision: ComputingPrecision | Literal["auto"]
) -> list[list[Pair]]:
    """List the pairs of backend and precision that are possible here.

    Each precision has a list of its own, the faster one first; in each the backend with the fewest needs is last.
    """
    graphs = plain.device.type == "cpu" and not (plain.depends_on_batch or plain.draws_noise)
    backends = [b for b in PREFERENCE if b == "torch" or (graphs and installed(b))] if backend == "auto" else [backend]
    fast = pick_precision("auto", plain.device) == "bf16"
    precisions: list[ComputingPrecision] = (["bf16", "fp32"] if fast else ["fp32"]) if precision == "auto" else [precision]
    told = backend != "auto" and precision != "auto"
    tiers = [[(b, p) for b in backends if told or (b, p) != ("onnx", "bf16")] for p in precisions]
    return [tier for tier in tiers if tier]


def difference(out: Tensor, reference: Tensor, domain: Domain) -> float:
    """Compute the mean absolute difference of native pixels, in 255ths of the domain's range; of labels, another class is 255."""
    return float(differences(out, reference, domain).mean())


def differences(out: Tensor, reference: Tensor, domain: Domain) -> Tensor:
    """Compute the absolute difference of every native value that is there, in the units of `difference`, without their places."""
    if domain.classes:
        return (out != reference).any(1).double().flatten() * 255
    apart = (out.double() - reference.double()).abs()
    apart = apart[~reference.isnan()] if domain.masked else apart
    return apart.flatten() * 255 / (domain.high - domain.low)


def _reference(plain: Translator, jobs: Sequence[Job], at: WorkingSize) -> tuple[list[Shaped[Tensor, "c h w"]], Tensor] | None:
    """Read images to measure on and translate the first few by torch in fp32. Returns None where measuring does not pay."""
    images = _images_of_one_size(jobs, plain, at, max(BATCHES[_kind(plain.device)])) if len(jobs) >= SMALL_JOB else []
    judged = images[:JUDGED_IMAGES]
    if plain.device.type == "cuda" and judged:
        _timed(plain, judged, 1)  # starts CUDA, which takes longer than translating
    measured = _timed(plain, judged, 1) if judged else None
    if measured is None or measured[1] / len(judged) * len(jobs) < SHORT_JOB:
        return None
    return images, measured[0]


def _kind(device: torch.device) -> str:
    return "cuda" if device.type == "cuda" else "cpu"


def _batches(device: torch.device, images: Sequence[Tensor]) -> list[int]:
    """List the numbers of images at once that are tried with such images."""
    most = min(len(images), BATCH_VALUES // images[0].numel())
    return [size for size in BATCHES[_kind(device)] if size == 1 or size <= most]


def _timed_batches(
    chosen: ChosenTranslator, images: Sequence[Tensor], sizes: Sequence[int]
) -> Iterator[tuple[float, ChosenTranslator]]:
    """Measure the seconds that an image takes in batches of each size for which there is enough memory."""
    for size in sizes:
        shown = images[: max(size, JUDGED_IMAGES)]
        calls = [_timed(chosen.translator, shown, size) for _ in range(CALLS[_kind(chosen.translator.device)])]
        seconds = [call[1] for call in calls if call]
        if seconds:
            yield min(seconds) / len(shown), replace(chosen, batch=size)


def _images_of_one_size(
    jobs: Sequence[Job], translator: Translator, at: WorkingSize, wanted: int
) -> list[Shaped[Tensor, "c h w"]]:
    """Read up to ``wanted`` images of one size among the first few jobs, leaving out those that cannot be read."""
    images: list[Tensor] = []
    for job in itertools.islice(jobs, 4 * wanted):
        try:
            image = translator.prepare(read_as(job.ref, translator.source), at)
            if not translator.fits(*image.shape[1:]):  # what is translated by stages takes no part in the choice
                continue
        except (DataError, MemoryError):  # the outcome of this job will say so
            continue
        if len(images) < wanted and (not images or image.shape == images[0].shape):
            images.append(image)
    return images


def _timed(translator: Translator, images: Sequence[Tensor], batch: int) -> tuple[Tensor, float] | None:
    """Translate images and measure the seconds. Returns None where there is too little memory."""
    began = time.perf_counter()
    try:
        out = [translator.tensors(torch.stack(list(images[i : i + batch]))) for i in range(0, len(images), batch)]
        return torch.cat(out), time.perf_counter() - began
    except Exception as error:
        if not out_of_memory(error):
            raise
        return None

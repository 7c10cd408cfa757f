"""Which backend, precision and batch translate a job fastest within a stated error, measured on the job's first images."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from diptych.data.datasets import read_as
from diptych.data.folders import Ref
from diptych.device import pick_precision
from diptych.errors import DataError
from diptych.inference.backends import Backend, Exactness, installed
from diptych.inference.batch import Job
from diptych.inference.translator import At, Translator
from diptych.pixels import Domain

ORDER: tuple[Backend, ...] = ("openvino", "onnx", "torch")  # the last is what a job too small for a probe takes
JUDGED, PROBE, BATCHES = 2, 4, (1, 4)  # images that are compared, and that are read; batches
FEW, SHORT = 16, 5.0  # images and seconds: below either, choosing takes longer than it saves
LARGEST = 2**22  # pixels in one batch: larger ones fill the hardware alone, and memory soon


@dataclass(frozen=True)
class Choice:
    """A translator, how many images it takes at once, and its mean difference to torch in fp32, in 255ths, where measured."""

    translator: Translator
    batch: int = 1
    error: float | None = None

    def __str__(self) -> str:
        chosen = f"{self.translator.backend} {self.translator.precision}, batch {self.batch}"
        return chosen if self.error is None else f"{chosen}; mean difference to torch fp32 {self.error:.2f}/255"


def choose(
    make: Callable[[Backend, Exactness], Translator],
    jobs: Sequence[Job],
    *,
    at: At = "native",
    backend: Backend | Literal["auto"] = "auto",
    precision: Exactness | Literal["auto"] = "auto",
    batch: int | None = None,
    max_error: float = 1.0,
) -> Choice:
    """Decide what is ``auto`` (for batch: None), from what is installed and what the hardware computes in.

    fp32 is only looked at where no bf16 stays within ``max_error``, the mean absolute difference to torch in fp32, in 255ths of
    the target's range. What is told is not judged; small jobs take torch in fp32 without a probe, where that is not ruled out.
    """
    plain = make("torch", "fp32")
    tiers = candidates(plain, backend, precision)
    simplest = tiers[-1][-1]
    if sum(map(len, tiers)) == 1 and (batch or plain.alone):
        return Choice(make(*simplest), batch or 1)
    images = _alike(jobs, plain, at) if len(jobs) >= FEW else []
    if not images:
        return Choice(make(*simplest), batch or 1)
    reference, seconds = _timed(plain, images[:JUDGED], 1)
    if seconds / len(reference) * len(jobs) < SHORT:
        return Choice(make(*simplest), batch or 1)
    batches = [size for size in BATCHES if size == 1 or (size * images[0][0].numel() <= LARGEST and not plain.alone)]
    for tier in tiers:
        found: list[tuple[float, Choice]] = []
        for pair in tier:
            translator = plain if pair == ("torch", "fp32") else make(*pair)
            error = difference(_timed(translator, images[:JUDGED], 1)[0], reference, plain.target)  # and it is warm then
            if error > max_error and tier is not tiers[-1]:
                continue
            for size in [batch] if batch else batches:
                shown = images[: max(size, JUDGED)]
                seconds = min(_timed(translator, shown, size)[1] for _ in range(2))  # the first of a size also prepares for it
                found.append((seconds / len(shown), Choice(translator, size, error)))
        if found:
            return min(found, key=lambda timed: timed[0])[1]
    raise AssertionError("the last tier is never refused")


def candidates(
    plain: Translator, backend: Backend | Literal["auto"], precision: Exactness | Literal["auto"]
) -> list[list[tuple[Backend, Exactness]]]:
    """Pairs of backend and precision that can be had, the faster precision first, in each the simplest backend last."""
    graphs = plain.device.type == "cpu" and not plain.alone
    backends = [b for b in ORDER if b == "torch" or (graphs and installed(b))] if backend == "auto" else [backend]
    fast = pick_precision("auto", plain.device) == "bf16"
    precisions: list[Exactness] = (["bf16", "fp32"] if fast else ["fp32"]) if precision == "auto" else [precision]
    told = backend != "auto" and precision != "auto"
    tiers = [[(b, p) for b in backends if told or (b, p) != ("onnx", "bf16")] for p in precisions]
    return [tier for tier in tiers if tier]


def difference(out: Tensor, reference: Tensor, domain: Domain) -> float:
    """Mean absolute difference of native pixels, in 255ths of the domain's range."""
    return float((out.double() - reference.double()).abs().mean()) * 255 / (domain.high - domain.low)


def _alike(jobs: Sequence[Job], translator: Translator, at: At) -> list[Shaped[Tensor, "c h w"]]:
    """The first images that can be read and have one size, up to PROBE of them, among the first few jobs."""
    images: list[Tensor] = []
    for job in itertools.islice(jobs, 4 * PROBE):
        try:
            image = translator.prepare(read_as(Ref(job.source), translator.source), at)
        except DataError:  # its outcome will say so
            continue
        if len(images) < PROBE and (not images or image.shape == images[0].shape):
            images.append(image)
    return images


def _timed(translator: Translator, images: Sequence[Tensor], batch: int) -> tuple[Tensor, float]:
    began = time.perf_counter()
    out = [translator.tensors(torch.stack(list(images[i : i + batch]))) for i in range(0, len(images), batch)]
    return torch.cat(out), time.perf_counter() - began

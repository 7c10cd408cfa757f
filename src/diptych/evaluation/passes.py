"""The passes of an evaluation over its images: training images, real images, then the outputs, shown to meters batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from diptych.errors import DataError
from diptych.evaluation.offers import too_small
from diptych.evaluation.plan import Part, Plan, needed_trained
from diptych.evaluation.results import METRICS
from diptych.evaluation.set_meters import FeatureMeter, LabMeter
from diptych.evaluation.setups import MeterSetup
from diptych.evaluation.subject import Subject, real_images, translated

Pass = Literal["trained", "real", "outputs"]
MAX_KEPT = 256  # translations in memory, so that examples need not be translated again


def num_images(subject: Subject, names: Sequence[str]) -> int:
    """How many images the passes over a subject read."""
    return sum(passes_of(subject, names, len(needed_trained(subject, names))).values())


def passes_of(subject: Subject, names: Sequence[str], num_trained: int) -> dict[Pass, int]:
    """The passes over a subject in their order, and how many images each has. Pairs need no pass over the real images."""
    reals = not subject.paired and any(METRICS[name].looks in ("sets", "style", "classes") for name in names)
    return {"trained": num_trained, "real": len(subject.targets) if reals else 0, "outputs": len(subject.names)}


def part_passes(part: Part) -> dict[Pass, int]:
    """The passes over a part of a plan in their order, and how many images each has."""
    return passes_of(part.subject, part.metrics, len(part.trained))


def measure(
    part: Part, meters: list[MeterSetup], plan: Plan, left_out: dict[str, str], outputs: list[Tensor] | None
) -> Iterator[int]:
    """Show every image to every meter, translating each once; the arguments are those of ``show``."""
    for which, count in part_passes(part).items():
        yield from show(part, which, range(count), meters, plan, left_out, outputs)


def show(
    part: Part,
    which: Pass,
    images: range,
    meters: list[MeterSetup],
    plan: Plan,
    left_out: dict[str, str],
    outputs: list[Tensor] | None = None,
) -> Iterator[int]:
    """Show some successive images of a pass to meters; yields the number of images after every batch.

    The first of ``images`` is a multiple of the batch size, so that the batches are those of the whole pass. Translations are
    added to ``outputs`` where there are at most MAX_KEPT; finished images can be read again. Where images turn out too small for
    a metric, its meter is removed and the reason goes into ``left_out``; a metric that was asked for raises DataError instead.
    """
    subject, device, batch_size = part.subject, torch.device(plan.tools.device), plan.batch_size
    if which == "trained":
        for batch in real_images(subject, batch_size, device, part.trained[images.start : images.stop]):
            for meter, _ in meters:
                if isinstance(meter, FeatureMeter | LabMeter):
                    meter.trained(batch)
            yield len(batch)
    elif which == "real":
        for batch in real_images(subject, batch_size, device, subject.targets[images.start : images.stop]):
            for meter, _ in meters:
                meter.real(batch)
            yield len(batch)
    else:
        for outcome in translated(subject, batch_size, device, images):
            side = min(outcome.y.shape[2:])
            for setup in list(meters):
                meter = setup.meter
                metric = metric_of(setup)
                if side < METRICS[metric].smallest:
                    if plan.asked:
                        raise DataError(f"{metric}: {too_small(metric, side)}")
                    left_out[metric] = too_small(metric, side)
                    meters.remove(setup)
                    continue
                meter.see(outcome)
                if outcome.t is not None:
                    meter.real(outcome.t)
            if outputs is not None and not subject.outputs and len(subject.names) <= MAX_KEPT:
                outputs += outcome.y.cpu().split(1)
            yield len(outcome.y)


def metric_of(setup: MeterSetup) -> str:
    """The metric whose least size of images a meter has; those of families have none, as PSNR has none."""
    return getattr(setup.meter, "metric", "psnr")

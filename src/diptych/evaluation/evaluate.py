"""Scores of translators, or of images that any tool made, against real images, in one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.data.datasets import DataConfig
from diptych.data.splits import Split
from diptych.errors import DataError
from diptych.evaluation.class_meters import LabelMeter
from diptych.evaluation.examples import pick
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.offers import too_small
from diptych.evaluation.plan import Part, Plan, needed_trained, plan_evaluation
from diptych.evaluation.protocol import protocol_id
from diptych.evaluation.results import METRICS, Evaluation, Result
from diptych.evaluation.seen import SeenBefore
from diptych.evaluation.set_meters import FeatureMeter, LabMeter
from diptych.evaluation.setups import MeterSetup
from diptych.evaluation.subject import Subject, Translate, real_images, translated
from diptych.metrics.set_differences import SetScore
from diptych.pixels import Domain

Watch = Callable[[int, int], None]
MAX_KEPT = 256  # translations in memory, so that examples need not be translated again


def score_translators(
    translators: Mapping[str, Translate],
    split: Split,
    a: Domain,
    b: Domain,
    config: DataConfig,
    *,
    metrics: Sequence[str] | None = None,
    tools: Instruments | None = None,
    train: Split | None = None,
    selected_on: Split | None = None,
    split_name: str = "test",
    allow_doubles: bool = False,
    allow_seen: bool = False,
    applied: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    about: Mapping[str, Any] | None = None,
    watch: Watch = lambda done, total: None,
    offered: Sequence[str] = tuple(METRICS),
) -> Evaluation:
    """Score translators, by direction, on a split of real images of the domains a and b that they never saw.

    A translator is any function of native pixels (n, c, h, w) to native pixels. It gets images as ``config`` brings them to the
    size of training, ``batch_size`` of one size together. ``metrics`` are names in METRICS; None takes all of ``offered`` that
    the data, ``tools`` and the files on this machine allow, and ``left_out`` of the result gives the reason for the others.

    ``train`` is what the translators were trained on, and ``selected_on`` what chose the snapshot: equal images and near copies
    of either are left out, or with ``allow_seen`` scored and noted beside every number (diptych.evaluation.seen). The mean colour
    of train's targets is a baseline. ``applied`` says how the translators work (mode, seed ...) and is part
    of the protocol; ``about`` goes into the result as it is. ``watch`` gets (done, total) images after every batch, and may
    raise to stop.

    Raises DataError for sets that must not be scored (diptych.evaluation.refusals) and for metrics that they do not allow,
    ConfigError for unknown metrics, and WeightsError for weights that are missing or not the published ones.

    >>> test = find_data(["facades/"], paired=True).test
    >>> score_translators({"a2b": function}, test, Domain(), Domain(), DataConfig()).value("psnr")
    """
    subjects = subjects_of(translators, split, a, b, config, train)
    seen = [SeenBefore(train, "trained on"), SeenBefore(selected_on, "used to choose this snapshot")]
    return score_subjects(
        subjects, metrics, tools, seen, split_name, allow_doubles, allow_seen, applied, batch_size, about, watch, offered
    )


def subjects_of(
    translators: Mapping[str, Translate], split: Split, a: Domain, b: Domain, config: DataConfig, train: Split | None
) -> list[Subject]:
    """One subject for each direction. ``train`` gives the targets whose mean colour is a baseline."""
    subjects = []
    for direction, translate in translators.items():
        forward = direction == "a2b"
        here, domains = (split, (a, b)) if forward else (split.swapped(), (b, a))
        trained = ((), ()) if train is None else (train.a, train.b) if forward else (train.b, train.a)
        back = translators.get("b2a" if forward else "a2b")
        parts: dict[str, Any] = {"translate": translate, "back": back, "config": config}
        parts |= {"train_inputs": trained[0], "train_targets": trained[1]}
        subjects.append(Subject(direction, *domains, here.a, here.b, here.paired, **parts))
    return subjects


def score_subjects(
    subjects: Sequence[Subject],
    metrics: Sequence[str] | None = None,
    tools: Instruments | None = None,
    seen: Sequence[SeenBefore] = (),
    split_name: str = "test",
    allow_doubles: bool = False,
    allow_seen: bool = False,
    applied: Mapping[str, Any] | None = None,
    batch_size: int = 1,
    about: Mapping[str, Any] | None = None,
    watch: Watch = lambda done, total: None,
    offered: Sequence[str] = tuple(METRICS),
) -> Evaluation:
    """Score subjects, which may also be images that any tool made; the arguments are those of score_translators.

    ``seen`` are images that were used before: those to score that equal one, or nearly, are left out, unless ``allow_seen``.
    ``split_name`` becomes part of the protocol.
    """
    plan = plan_evaluation(
        subjects, metrics, tools, seen, split_name, allow_doubles, allow_seen, applied, batch_size, about, offered
    )
    return carry_out(plan, watch)


def carry_out(plan: Plan, watch: Watch = lambda done, total: None) -> Evaluation:
    """Measure what is planned; ``watch`` gets (done, total) images after every batch, and may raise to stop."""
    found: list[Result] = []
    protocols: dict[str, Mapping[str, Any]] = {}
    examples, images, left_out = [], {}, dict(plan.left_out)
    total, done = sum(num_images(part.subject, part.metrics) for part in plan.parts), 0
    sets: dict[str, dict[str, SetScore]] = {}
    classes: dict[str, list[dict[str, Any]]] = {}
    for part in plan.parts:
        subject, meters = part.subject, list(part.meters)
        outputs: list[Tensor] = []
        for count in measure(part, meters, plan, left_out, outputs):
            done += count
            watch(done, total)
        scores: dict[str, list[float]] = {}
        for setup in meters:
            for row in setup.meter.rows():
                kind, protocol = METRICS[row.metric], part.protocol(setup, row.metric, row.of)
                key = protocol_id(protocol)
                protocols[key] = protocol
                note = ", ".join(filter(None, [row.note, part.note]))
                found.append(
                    Result(row.metric, subject.direction, row.of, row.estimate, kind.unit, kind.better, key, note, row.p)
                )
            scores |= setup.meter.image_scores()
            if isinstance(setup.meter, FeatureMeter | LabelMeter):
                sets.setdefault(subject.direction, {}).update(setup.meter.sets())
            if isinstance(setup.meter, LabelMeter):
                classes[subject.direction] = setup.meter.classes()
        images[subject.direction] = [
            {"name": name} | {metric: values[i] for metric, values in scores.items()} for i, name in enumerate(subject.names)
        ]
        examples += pick(subject, scores, outputs)
    plan.tools.cache.trim()
    order = list(METRICS)
    results = sorted(found, key=lambda r: (r.direction, order.index(r.metric)))
    return Evaluation(tuple(results), protocols, tuple(examples), left_out, images, plan.about, sets, classes)


def num_images(subject: Subject, names: Sequence[str]) -> int:
    """How many images a pass over a subject reads."""
    reals = len(subject.targets) if needs_reals(subject, names) else 0
    return len(subject.names) + reals + len(needed_trained(subject, names))


def needs_reals(subject: Subject, names: Sequence[str]) -> bool:
    """Whether real images are read in a pass of their own, which pairs do not need."""
    return not subject.paired and any(METRICS[name].looks in ("sets", "style", "classes") for name in names)


def measure(
    part: Part,
    meters: list[MeterSetup],
    plan: Plan,
    left_out: dict[str, str],
    outputs: list[Tensor],
) -> Iterator[int]:
    """Show every image to every meter, translating each once; yields the number of images after every batch.

    Translations are added to ``outputs`` where there are at most MAX_KEPT; finished images can be read again. Where images turn
    out too small for a metric, its meter is removed and the reason goes into ``left_out``; a metric that was asked for raises
    DataError instead.
    """
    subject, device, batch_size = part.subject, torch.device(plan.tools.device), plan.batch_size
    for images in real_images(subject, batch_size, device, part.trained) if part.trained else ():
        for meter, _ in meters:
            if isinstance(meter, FeatureMeter | LabMeter):
                meter.trained(images)
        yield len(images)
    if needs_reals(subject, part.metrics):
        for images in real_images(subject, batch_size, device):
            for meter, _ in meters:
                meter.real(images)
            yield len(images)
    for batch in translated(subject, batch_size, device):
        side = min(batch.y.shape[2:])
        for setup in list(meters):
            meter = setup.meter
            metric = getattr(meter, "metric", "psnr")  # those of families have no least size
            if side < METRICS[metric].smallest:
                if plan.asked:
                    raise DataError(f"{metric}: {too_small(metric, side)}")
                left_out[metric] = too_small(metric, side)
                meters.remove(setup)
                continue
            meter.see(batch)
            if batch.t is not None:
                meter.real(batch.t)
        if not subject.outputs and len(subject.names) <= MAX_KEPT:
            outputs += batch.y.cpu().split(1)
        yield len(batch.y)

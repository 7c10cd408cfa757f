"""Scores of translators, or of images that any tool made, against real images, in one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from diptych.data.datasets import DataConfig
from diptych.data.splits import Split
from diptych.evaluation.class_meters import LabelMeter
from diptych.evaluation.examples import pick
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.passes import measure, part_passes
from diptych.evaluation.plan import Part, Plan, plan_evaluation
from diptych.evaluation.protocol import protocol_id
from diptych.evaluation.results import METRICS, Evaluation, Result
from diptych.evaluation.seen import SeenBefore
from diptych.evaluation.set_meters import FeatureMeter
from diptych.evaluation.setups import MeterSetup
from diptych.evaluation.subject import Subject, Translate
from diptych.metrics.set_differences import SetScore
from diptych.pixels import Domain

Watch = Callable[[int, int], None]
Fill = Callable[[Part, list[MeterSetup], Plan, dict[str, str], list[Tensor]], Iterator[int]]
"""Fills the meters of a part, as diptych.evaluation.passes.measure does."""


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


def carry_out(plan: Plan, watch: Watch = lambda done, total: None, fill: Fill = measure) -> Evaluation:
    """Measure what is planned; ``watch`` gets (done, total) images after every batch, and may raise to stop.

    ``fill`` gives the meters what they keep of every image: by showing the images to them, unless that was done before.
    """
    found: list[Result] = []
    protocols: dict[str, Mapping[str, Any]] = {}
    examples, images, left_out = [], {}, dict(plan.left_out)
    total, done = sum(sum(part_passes(part).values()) for part in plan.parts), 0
    sets: dict[str, dict[str, SetScore]] = {}
    classes: dict[str, list[dict[str, Any]]] = {}
    for part in plan.parts:
        subject, meters = part.subject, list(part.meters)
        outputs: list[Tensor] = []
        for count in fill(part, meters, plan, left_out, outputs):
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

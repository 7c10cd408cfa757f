"""Scores of translators, or of images that any tool made, against real images, in one pass over the images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diptych.data.datasets import DataConfig
from diptych.data.splits import Split
from diptych.errors import DataError
from diptych.evaluation.examples import pick
from diptych.evaluation.instruments import Instruments, MeterSetup, build_meters, choose_metrics, too_small
from diptych.evaluation.protocol import list_sum, protocol_id, versions
from diptych.evaluation.refusals import refuse_wrong_sets
from diptych.evaluation.results import METRICS, Evaluation, Result
from diptych.evaluation.seen import SeenBefore, Sighting, find_seen, seen_images, without_seen
from diptych.evaluation.subject import Subject, Translate, real_images, translated
from diptych.pixels import Domain
from diptych.sheets import spread

log = logging.getLogger(__name__)
Watch = Callable[[int, int], None]
MAX_KEPT = 256  # outputs in memory, so that examples need not be translated again
MAX_FOR_MEAN = 200  # training targets, evenly chosen, that give the mean colour


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
        targets = () if train is None else train.b if forward else train.a
        back = translators.get("b2a" if forward else "a2b")
        parts: dict[str, Any] = {"translate": translate, "back": back, "train_targets": targets, "config": config}
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
    tools = tools or Instruments()
    looks = {ref: look for subject in subjects for ref, look in refuse_wrong_sets(subject, allow_doubles=allow_doubles).items()}
    sightings = find_seen(looks, seen)
    counted = {subject.direction: seen_images(subject, sightings) for subject in subjects}
    subjects = subjects if allow_seen else [without_seen(subject, sightings) for subject in subjects]
    said = say_seen(next(iter(counted.values()), []), allow_seen)
    chosen, left_out = choose_metrics(metrics, subjects, tools, offered)
    found: list[Result] = []
    protocols: dict[str, Mapping[str, Any]] = {}
    examples, images = [], {}
    total, done = sum(num_images(subject, chosen[subject.direction]) for subject in subjects), 0
    for subject in subjects:
        num_seen = len(counted[subject.direction])
        names = chosen[subject.direction]
        meters = build_meters(names, subject, tools, mean_colour(subject) if subject.paired else None)
        outputs: list[Tensor] = []
        for count in measure(subject, meters, names, metrics is not None, left_out, tools, batch_size, outputs):
            done += count
            watch(done, total)
        common = {
            "split": split_name,
            "paired": subject.paired,
            "seen": {"left_out": 0 if allow_seen else num_seen, "scored": num_seen if allow_seen else 0} if known(seen) else None,
            "inputs": [len(subject.names), list_sum(subject.inputs, looks) if subject.inputs else None],
            "targets": [len(subject.targets), list_sum(subject.targets, looks)],
            "resize": subject.config.resize if subject.config else "native",
            "size": subject.config.crop_size if subject.config else None,
            "domains": [str(subject.source), str(subject.target)],
            "outputs": {"finished": True} if subject.outputs else {"batch_size": batch_size, **(applied or {})},
            "interval": {"coverage": 0.95, "seed": tools.seed, "resamples": tools.resamples},
            "versions": versions(),
        }
        scores: dict[str, list[float]] = {}
        for meter, details in meters:
            for row in meter.rows():
                kind, protocol = METRICS[row.metric], common | {"metric": row.metric} | details
                key = protocol_id(protocol)
                protocols[key] = protocol
                note = ", ".join(filter(None, [row.note, f"{num_seen} seen before" if allow_seen and num_seen else ""]))
                found.append(Result(row.metric, subject.direction, row.of, row.estimate, kind.unit, kind.better, key, note))
            scores |= meter.image_scores()
        images[subject.direction] = [
            {"name": name} | {metric: values[i] for metric, values in scores.items()} for i, name in enumerate(subject.names)
        ]
        examples += pick(subject, scores, outputs)
    tools.cache.trim()
    order = list(METRICS)
    results = sorted(found, key=lambda r: (r.direction, order.index(r.metric)))
    here = {"device": tools.device, "seed": tools.seed, "seen": said} | dict(about or {})
    return Evaluation(tuple(results), protocols, tuple(examples), left_out, images, here)


def known(seen: Sequence[SeenBefore]) -> bool:
    """Whether any images are known that were seen before, so that those to score could be compared with them."""
    return any(before.split is not None for before in seen)


def say_seen(sightings: Sequence[Sighting], allowed: bool) -> list[str]:
    """Log what was seen before and whether it was left out; returns a line for each image."""
    if sightings:
        what = "scored all the same, which flatters the numbers" if allowed else "left out; --allow-seen scores them"
        log.warning("seen before: %d of the images to score, %s; the first is %s", len(sightings), what, sightings[0])
    return list(map(str, sightings))


def num_images(subject: Subject, names: Sequence[str]) -> int:
    """How many images a pass over a subject reads."""
    return len(subject.names) + (len(subject.targets) if needs_reals(subject, names) else 0)


def needs_reals(subject: Subject, names: Sequence[str]) -> bool:
    """Whether real images are read in a pass of their own, which pairs do not need."""
    return not subject.paired and any(METRICS[name].looks in ("sets", "style", "classes") for name in names)


def measure(
    subject: Subject,
    meters: list[MeterSetup],
    names: Sequence[str],
    asked: bool,
    left_out: dict[str, str],
    tools: Instruments,
    batch_size: int,
    outputs: list[Tensor],
) -> Iterator[int]:
    """Show every image to every meter, translating each once; yields the number of images after every batch.

    The outputs are added to ``outputs`` where there are at most MAX_KEPT. Where images turn out too small for a metric, its
    meter is removed and the reason goes into ``left_out``; a metric that was ``asked`` for raises DataError instead.
    """
    device = torch.device(tools.device)
    if needs_reals(subject, names):
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
                if asked:
                    raise DataError(f"{metric}: {too_small(metric, side)}")
                left_out[metric] = too_small(metric, side)
                meters.remove(setup)
                continue
            meter.see(batch)
            if batch.t is not None:
                meter.real(batch.t)
        if len(subject.names) <= MAX_KEPT:
            outputs += batch.y.cpu().split(1)
        yield len(batch.y)


def mean_colour(subject: Subject) -> Float[Tensor, " c"] | None:
    """The mean colour in [-1, 1] of up to MAX_FOR_MEAN evenly chosen training targets; None where none are known or there."""
    chosen = spread([ref for ref in subject.train_targets if ref.path.exists()], MAX_FOR_MEAN)
    if not chosen:
        return None
    target = subject.target
    return torch.stack([target.encode(subject.load(ref, target)).mean(dim=(0, 2, 3)) for ref in chosen]).mean(0)

"""What an evaluation is going to measure, and how: known before any image is translated, as protocols and one identity."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diptych.data.archives import is_there
from diptych.data.splits import Ref
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.offers import choose_metrics
from diptych.evaluation.protocol import list_sum, versions
from diptych.evaluation.refusals import refuse_wrong_sets
from diptych.evaluation.results import METRICS, Of
from diptych.evaluation.seen import SeenBefore, Sighting, digests_of, find_seen, seen_images, without_seen
from diptych.evaluation.setups import MeterSetup, build_meters
from diptych.evaluation.subject import Subject, trained_images
from diptych.metrics.estimate import COVERAGE
from diptych.metrics.judges import UNKNOWN
from diptych.sheets import spread

log = logging.getLogger(__name__)
MAX_FOR_MEAN = 200  # training targets, evenly chosen, that give the mean colour


@dataclass(frozen=True)
class Part:
    """One direction of a plan: its subject without what was seen before, its metrics, and its meters.

    ``common`` are the entries that all of its protocols share, and ``given`` those of outputs, inputs, random draws and the
    mean colour, which only some numbers depend on. ``trained`` are training images that outputs and floors are compared with.
    ``note`` stands beside every number. ``images`` is a hash of the names and pixels of all images that are scored.
    """

    subject: Subject
    metrics: Sequence[str]
    meters: Sequence[MeterSetup]
    common: Mapping[str, Any]
    given: Mapping[str, Mapping[str, Any]]
    note: str
    trained: Sequence[Ref] = ()
    images: str = ""

    def protocol(self, setup: MeterSetup, metric: str, of: Of) -> dict[str, Any]:
        """Everything that determines a number, and nothing that does not: each baseline depends on what it is made of."""
        translated = of == "model" and not self.subject.outputs
        looks_at_inputs = translated or of == "copy" or METRICS[metric].looks == "labels"
        entries = [self.common, {"of": of, "metric": metric}, setup.protocol]
        entries += [self.given["inputs"]] if looks_at_inputs else []
        floor = of == "truth" and METRICS[metric].looks == "sets"
        entries += [self.given["draws"]] if metric in ("kid", "mind") or (floor and not self.trained) else []
        entries += [self.given["trained"]] if metric == "nearest" or floor else []
        entries += [self.given[key] for key, whose in (("outputs", "model"), ("mean", "mean")) if of == whose]
        return {key: value for entry in entries for key, value in entry.items()}


@dataclass(frozen=True)
class Plan:
    """What is to be measured. ``asked`` says whether the metrics were named; the others are those of score_subjects."""

    parts: Sequence[Part]
    tools: Instruments
    asked: bool
    left_out: Mapping[str, str]
    about: Mapping[str, Any]
    batch_size: int = 1


def plan_evaluation(
    subjects: Sequence[Subject],
    metrics: Sequence[str] | None,
    tools: Instruments | None,
    seen: Sequence[SeenBefore],
    split_name: str,
    allow_doubles: bool,
    allow_seen: bool,
    applied: Mapping[str, Any] | None,
    batch_size: int,
    about: Mapping[str, Any] | None,
    offered: Sequence[str],
) -> Plan:
    """Refuse wrong sets, leave out what was seen before, choose metrics, and load what measures them.

    The arguments are those of score_subjects. ``about`` of the plan holds its ``identity``: a hash of all protocols and of what
    is scored, which is equal only for evaluations that give equal numbers, and empty where something has no hash.
    """
    tools = tools or Instruments()
    digests: dict[Ref, bytes] = {}
    for subject in subjects:
        digests |= refuse_wrong_sets(subject, allow_doubles=allow_doubles)
    sightings = find_seen(digests, seen)
    counted = {subject.direction: seen_images(subject, sightings) for subject in subjects}
    subjects = subjects if allow_seen else [without_seen(subject, sightings) for subject in subjects]
    said = _say_seen(next(iter(counted.values()), []), allow_seen)
    chosen, left_out = choose_metrics(metrics, subjects, tools, offered)
    parts = []
    for subject in subjects:
        number, names = len(counted[subject.direction]), chosen[subject.direction]
        found = {"left_out": 0 if allow_seen else number, "scored": number if allow_seen else 0}
        known = any(before.split is not None for before in seen)
        trained = needed_trained(subject, names)
        mean = _mean_colour(subject) if subject.paired else None
        common = {"split": split_name, "seen": found if known else None, "batch_size": batch_size}
        common |= _entries(subject, digests)
        given = {
            "outputs": {"outputs": {"finished": True} if subject.outputs else dict(applied or {})},
            "inputs": _inputs(subject, digests),
            "draws": {"draws": {"seed": tools.seed, "resamples": tools.resamples}},
            "trained": {"trained": [len(trained), list_sum(trained, digests_of(trained))] if trained else "halves"},
            "mean": {} if mean is None else {"mean_colour": mean.tolist()},
        }
        note = f"{number} seen before" if allow_seen and number else ""
        meters, images = build_meters(names, subject, tools, mean), _images_sum(subject, digests)
        parts.append(Part(subject, names, meters, common, given, note, trained, images))
    here = {"device": tools.device, "seed": tools.seed, "seen": said} | dict(about or {})
    return Plan(parts, tools, metrics is not None, left_out, here | {"identity": _identity(parts, here)}, batch_size)


def needed_trained(subject: Subject, names: Sequence[str]) -> list[Ref]:
    """The training images that metrics compare with: all that there are for the nearest, as many as outputs for a floor."""
    if not any(METRICS[name].looks == "sets" for name in names):
        return []
    return trained_images(subject) if "nearest" in names else trained_images(subject, len(subject.names))


def _entries(subject: Subject, digests: Mapping[Ref, bytes]) -> dict[str, Any]:
    """The entries of the protocol that all metrics of a subject share."""
    return {
        "paired": subject.paired,
        "images": len(subject.names),
        "targets": [len(subject.targets), list_sum(subject.targets, digests)],
        "resize": subject.config.resize if subject.config else "native",
        "size": subject.config.crop_size if subject.config else None,
        "target_domain": str(subject.target),
        "coverage": COVERAGE,
        "versions": versions(),
    }


def _images_sum(subject: Subject, digests: Mapping[Ref, bytes]) -> str:
    """One hash of the names of a subject and of the pixels of its outputs, inputs and targets."""
    lists = [list_sum(refs, digests) for refs in (subject.outputs, subject.inputs, subject.targets)]
    return hashlib.sha256(json.dumps([subject.names, lists]).encode()).hexdigest()


def _inputs(subject: Subject, digests: Mapping[Ref, bytes]) -> dict[str, Any]:
    if not subject.inputs:
        return {}
    return {"inputs": [len(subject.inputs), list_sum(subject.inputs, digests)], "source_domain": str(subject.source)}


def _identity(parts: Sequence[Part], about: Mapping[str, Any]) -> str:
    """One hash of every protocol of a plan, remarks included, and of what is scored; none where a judge has no hash itself."""
    rows: list[Any] = [
        [part.subject.direction, list(part.metrics), dict(part.common), part.given, [setup.protocol for setup in part.meters]]
        for part in parts
    ]
    text = json.dumps([rows, about], sort_keys=True, default=str)
    return "" if json.dumps({"sha256": UNKNOWN})[1:-1] in text else hashlib.sha256(text.encode()).hexdigest()


def _say_seen(sightings: Sequence[Sighting], allowed: bool) -> list[str]:
    """Log what was seen before and whether it was left out; returns a line for each image."""
    if sightings:
        what = "scored all the same, which flatters the numbers" if allowed else "left out; --allow-seen scores them"
        log.warning("seen before: %d of the images to score, %s; the first is %s", len(sightings), what, sightings[0])
    return list(map(str, sightings))


def _mean_colour(subject: Subject) -> Float[Tensor, " c"] | None:
    """The mean colour in [-1, 1] of up to MAX_FOR_MEAN evenly chosen training targets; None where none are known or there."""
    chosen = spread([ref for ref in subject.train_targets if is_there(ref.path)], MAX_FOR_MEAN)
    if not chosen:
        return None
    target = subject.target
    return torch.stack([target.encode(subject.load(ref, target)).mean(dim=(0, 2, 3)) for ref in chosen]).mean(0)

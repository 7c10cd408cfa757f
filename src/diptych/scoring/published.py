"""Protocols of published tables, and the numbers that they printed, so that a number of ours can be placed beside them.

A preset scores the whole test set at the published size, images that were trained on included, as the papers did. Numbers of such
small sets are biased, which every FID beside them says; they compare with the published numbers and with nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.data.datasets import DataConfig
from diptych.evaluation.subject import Subject
from diptych.metrics.segmentation import Palette
from diptych.recipe import Recipe

if TYPE_CHECKING:  # a task knows protocols
    from diptych.scoring.task import Task

log = logging.getLogger(__name__)
ProtocolName = Literal["cyclegan2017", "cut2020", "mmagic"]
Numbers = Mapping[str, float]
"""Published values by the name of the method."""


@dataclass(frozen=True)
class PublishedProtocol:
    """How a publication scored, and what it found.

    ``size`` is the side of the squares that images are resized to. ``fid`` are its FIDs by data set and direction of that data
    set, and ``fcn`` its FCN-scores of Cityscapes by task: per-pixel accuracy, per-class accuracy and class IoU by method.
    """

    source: str
    metrics: tuple[str, ...]
    size: int = 256
    fid: Mapping[tuple[str, str], Numbers] = field(default_factory=dict)
    fcn: Mapping[str, Mapping[str, tuple[float, float, float]]] = field(default_factory=dict)


FCN = ("fcn_native_pixel", "fcn_native_class", "fcn_native_iou")
TEST_IMAGES = {"horse2zebra": (120, 140), "summer2winter": (309, 238), "facades": (106, 106), "cityscapes": (500, 500)}
PROTOCOLS: dict[str, PublishedProtocol] = {
    "cyclegan2017": PublishedProtocol(
        "Zhu et al. 2017, tables 2 and 3",
        FCN,
        fcn={
            "labels to photos": {"CycleGAN": (0.52, 0.17, 0.11), "pix2pix": (0.71, 0.25, 0.18)},
            "photos to labels": {"CycleGAN": (0.58, 0.22, 0.16), "pix2pix": (0.85, 0.40, 0.32)},
        },
    ),
    "cut2020": PublishedProtocol(
        "Park et al. 2020, table 1",
        ("fid",),
        fid={
            ("horse2zebra", "a2b"): {"CycleGAN": 77.2, "CUT": 45.5, "FastCUT": 73.4},
            ("cat2dog", "a2b"): {"CycleGAN": 85.9, "CUT": 76.2, "FastCUT": 94.0},
            ("cityscapes", "b2a"): {"CycleGAN": 76.3, "CUT": 56.4, "FastCUT": 68.8},
        },
    ),
    "mmagic": PublishedProtocol(
        "MMagic's configs/cyclegan/README.md; the authors' weights, and its own, without identity loss as id0",
        ("fid",),
        fid={
            ("horse2zebra", "a2b"): {"authors": 62.111, "authors id0": 77.202, "MMagic": 64.5225, "MMagic id0": 74.777},
            ("horse2zebra", "b2a"): {"authors": 138.646, "authors id0": 137.05, "MMagic": 141.1571, "MMagic id0": 134.3728},
            ("summer2winter", "a2b"): {"authors": 77.342, "authors id0": 76.773, "MMagic": 83.7177, "MMagic id0": 83.1418},
            ("summer2winter", "b2a"): {"authors": 72.631, "authors id0": 74.239, "MMagic": 72.8025, "MMagic id0": 73.5001},
        },
    ),
}


def as_published(config: DataConfig, name: ProtocolName) -> DataConfig:
    """The same data at the size of a published protocol."""
    size = PROTOCOLS[name].size
    return replace(config, resize="square", load_size=size, crop_size=size)


def published_numbers(
    name: ProtocolName, subjects: Sequence[Subject], sources: Sequence[str | Path], labels: str | None, palette: Palette | None
) -> list[dict[str, Any]]:
    """The published numbers of the same task: the data set by the name of its folder, the direction, and the metric must match.

    Each is a metric, a direction, ``text`` and ``source``. The log says where there are none, and where the number of test
    images is another than that of the published data set.
    """
    protocol, found = PROTOCOLS[name], list[dict[str, Any]]()
    folders = folder_words(sources)
    data = next((known for known in TEST_IMAGES | {"cat2dog": ()} if known in folders), "")
    for subject in subjects:
        way = way_of(subject.direction, subject.config.direction if subject.config else "a2b")
        expected = TEST_IMAGES.get(data)
        counts = (len(subject.names), len(subject.targets))
        if expected and counts != (expected if way == "a2b" else expected[::-1]):
            log.warning("%s: has %d and %d test images, %s has %d and %d", subject.direction, *counts, data, *expected)
        if numbers := protocol.fid.get((data, way)):
            found.append(_entry("fid", subject.direction, numbers, protocol.source))
        if data == "cityscapes" and palette is not None and labels and protocol.fcn:
            task = "labels to photos" if subject.direction[0] == labels else "photos to labels"
            for i, metric in enumerate(FCN):
                values = {method: scores[i] for method, scores in protocol.fcn[task].items()}
                found.append(_entry(metric, subject.direction, values, protocol.source))
    if not found:
        log.warning("--protocol %s: printed no number of this task on data of this name; ours are scored its way", name)
    return found


def folder_words(sources: Sequence[str | Path]) -> str:
    """The names of the folders and of those that they lie in, by which a published data set is known."""
    return " ".join(part for source in sources for part in Path(source).resolve().parts[-2:]).lower()


def way_of(direction: str, of_data: str) -> str:
    """A translator's direction in terms of its data set, whose sides ``data.direction`` b2a exchanges."""
    return {"a2b": "b2a", "b2a": "a2b"}[direction] if of_data == "b2a" else direction


def beside_published(
    name: ProtocolName, task: Task, data: Sequence[str | Path], labels: str | None, palette: Palette | None
) -> Task:
    """The same task with the published numbers of its protocol; ``data`` are the folders named, if any."""
    sources = data
    if not sources and task.folder is not None:
        sources = Recipe.load(task.folder / "recipe.json").data.source
    found = published_numbers(name, task.subjects, sources, labels, palette)
    return replace(task, about=dict(task.about) | {"published": found, "protocol": name})


def _entry(metric: str, direction: str, numbers: Numbers, source: str) -> dict[str, Any]:
    text = ", ".join(f"{method} {value:g}" for method, value in numbers.items())
    return {"metric": metric, "direction": direction, "text": text, "source": source}
